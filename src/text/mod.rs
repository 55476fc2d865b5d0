//! Text and tokens: tokenizers in the formats that checkpoints have, and the search for the next tokens. Knows no model: whoever has one gives
//! scores ([`NextToken`]).

mod chat;
mod error;
mod generate;
mod sampling;
mod sentencepiece;
mod tokenizer;

pub use chat::ChatTemplate;
pub use error::TextError;
pub use generate::{Generated, Limits, NextToken, Strategy, generate};
pub use sampling::Sampling;
pub use tokenizer::Tokenizer;
