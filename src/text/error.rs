//! What can be wrong with a tokenizer.

use std::{io, path::PathBuf};

/// Why text does not become tokens.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file that is no tokenizer.
    #[error("`{}` is no tokenizer that mlreg reads", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A sentencepiece model of another kind.
    #[error("`{}` is a sentencepiece model of kind {found}, expected unigram", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
        /// The kind's number.
        found: i32,
    },
    /// A text that cannot be tokenized, or ids that are no text.
    #[error("the tokenizer fails")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A chat template that is damaged, or that refuses a conversation.
    #[error("the chat template fails")]
    Template(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A token that the vocabulary does not have.
    #[error("the tokenizer has no token `{token}`")]
    NoToken {
        /// Which.
        token: String,
    },
}

impl TextError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template(_) => Some("without --chat the model goes on with the text as it stands".to_owned()),
            Self::Kind { .. } => Some("use the checkpoint's tokenizer.json".to_owned()),
            _ => None,
        }
    }
}
