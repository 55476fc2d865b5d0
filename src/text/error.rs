//! What can be wrong with a tokenizer.

use std::{io, path::PathBuf};

use super::Refusal;

/// The files that a tokenizer may be.
pub(crate) const FORMS: &str =
    "`tokenizer.json`, a sentencepiece model (`*.model`), `vocab.txt`, or `vocab.json` with `merges.txt`";

fn templates(names: &[String]) -> String {
    match names {
        [] => "`chat_template` is neither a text nor a list of names and templates".to_owned(),
        names => format!("there are several chat templates and none is called `default`: {}", names.join(", ")),
    }
}

/// Why text does not become tokens.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum TextError {
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file that is no tokenizer.
    #[error("`{}` is no tokenizer that mlreg reads", path.display())]
    Form {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tokenizer that asks for something that cannot be done.
    #[error("cannot make a tokenizer of `{}`", path.display())]
    Refused {
        path: PathBuf,
        #[source]
        source: Refusal,
    },
    /// A file of another kind.
    #[error("`{}` is {found}, not a tokenizer", path.display())]
    NotTokenizer { path: PathBuf, found: &'static str },
    /// A folder without a tokenizer.
    #[error("`{}` has no tokenizer: expected {}", path.display(), FORMS)]
    NoTokenizer { path: PathBuf },
    /// A text that cannot be tokenized, or ids that are no text.
    #[error("the tokenizer fails")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A chat template that is damaged, or that refuses a conversation.
    #[error("the chat template fails")]
    Template(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Several chat templates, of which none is the default.
    #[error("{}", templates(names))]
    Templates {
        /// Their names; empty where the key is of another type.
        names: Vec<String>,
    },
    /// A token that the vocabulary does not have.
    #[error("the tokenizer has no token `{token}`")]
    NoToken { token: String },
}

impl TextError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template(_) => Some("without --chat the model goes on with the text as it stands".to_owned()),
            Self::Templates { .. } => {
                Some("add the template that is meant as `chat_template.jinja` to the package's files".to_owned())
            }
            Self::Refused { source, .. } => source.hint(),
            Self::NotTokenizer { .. } => Some(format!("expected {FORMS}")),
            _ => None,
        }
    }
}
