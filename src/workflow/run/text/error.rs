//! What can go wrong between text and text.

use std::{io, path::PathBuf};

use crate::{
    eval::EvalError,
    text::{FORMS, TextError},
};

/// Why a package cannot be run on text.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, thiserror::Error)]
pub enum TextRunError {
    /// The file of texts.
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A package without the bundles that make text from text.
    #[error("`{package}` has no {missing}")]
    Missing { package: String, missing: &'static str },
    /// A package without a tokenizer.
    #[error("`{package}` has no tokenizer: expected a plain file {}", FORMS)]
    NoTokenizer { package: String },
    /// A tokenizer that wants to know the languages.
    #[error("the tokenizer marks languages, but none are given")]
    NoLanguages,
    /// A decoder that does not say where texts begin and end.
    #[error("`{bundle}` does not say with which tokens texts begin and end")]
    NoTokens { bundle: String },
    /// A package that nobody can talk with.
    #[error("`{package}` has no language model, and only those take part in conversations")]
    NoLanguageModel { package: String },
    /// A package without a chat template.
    #[error(
        "`{package}` has no chat template: expected a plain file `chat_template.jinja`, or one in \
         `tokenizer_config.json`"
    )]
    NoChatTemplate { package: String },
    /// A prompt that is longer than what the model can read.
    #[error("text {} has {tokens} tokens, and the longest prompt of `{package}` has {most}", index + 1)]
    TooLong {
        package: String,
        /// Which text, from 0 on.
        index: usize,
        tokens: usize,
        most: usize,
    },
    /// A tokenizer.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A bundle that fails.
    #[error("cannot run `{bundle}`")]
    Run {
        bundle: String,
        #[source]
        source: EvalError,
    },
    /// A tensor that cannot be made or looked at.
    #[error("cannot use a tensor of `{bundle}`")]
    Tensor {
        bundle: String,
        #[source]
        source: candle_core::Error,
    },
}

impl TextRunError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoTokenizer { .. } => Some(
                "add a component with `files = [\"tokenizer.json\"]` to the package, or name one with --tokenizer"
                    .to_owned(),
            ),
            Self::NoLanguages => Some("add --source-language and --target-language, e.g. en and de".to_owned()),
            Self::NoLanguageModel { .. } => Some("leave out --chat".to_owned()),
            Self::NoChatTemplate { .. } => {
                Some("add the file beside tokenizer.json to the package, or leave out --chat".to_owned())
            }
            Self::TooLong { .. } => Some("shorten the text, or build a variant with a longer context".to_owned()),
            Self::Text(error) => error.hint(),
            _ => None,
        }
    }
}
