//! Text and tokens: tokenizers in the formats that checkpoints have, and the search for the next tokens. Knows no
//! model: whoever has one gives scores ([`NextToken`]).

mod chat;
mod error;
mod files;
mod generate;
mod local_time;
mod sampling;
mod settings;
mod tokenizer;

pub use chat::{ChatTemplate, Message, Role};
pub(crate) use error::FORMS;
pub use error::TextError;
pub use files::TokenizerFiles;
pub use generate::{Generated, Limits, NextToken, Strategy, generate};
pub use local_time::LocalTime;
pub use sampling::Sampling;
pub use tokenizer::{Refusal, Tokenizer};
