//! Notes in a bundle's metadata: what a program cannot say, under keys `dev.mlreg.<topic>` in the model's user-defined
//! metadata.
//!
//! A note is a type that knows its topic, how it is written and how it is read. Adding one: its type in this file.

use std::collections::BTreeMap;

use super::Chunk;

/// What all keys start with.
const PREFIX: &str = "dev.mlreg.";

/// A note of one topic.
pub trait Note: Sized {
    /// The key, without its prefix.
    const TOPIC: &'static str;

    /// The value in the metadata.
    fn text(&self) -> String;

    /// Reads a value; `None` where it is not of this topic's form.
    fn parse(text: &str) -> Option<Self>;
}

/// The notes of one bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<String, String>);

impl Notes {
    /// The notes among a model's user-defined metadata.
    pub fn of_metadata(user_defined: &BTreeMap<String, String>) -> Self {
        let own =
            user_defined.iter().filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?.to_owned(), text.clone())));
        Self(own.collect())
    }

    /// As user-defined metadata.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(topic, text)| (format!("{PREFIX}{topic}"), text.clone())).collect()
    }

    /// Adds a note, in the place of an earlier one of its topic.
    pub fn add<N: Note>(&mut self, note: &N) {
        self.0.insert(N::TOPIC.to_owned(), note.text());
    }

    /// These notes, and one more.
    #[must_use]
    pub fn with<N: Note>(mut self, note: &N) -> Self {
        self.add(note);
        self
    }

    /// The note of a topic, where there is one that can be read.
    pub fn get<N: Note>(&self) -> Option<N> {
        self.0.get(N::TOPIC).and_then(|text| N::parse(text))
    }

    /// Whether there is a note of a topic.
    pub fn has<N: Note>(&self) -> bool {
        self.0.contains_key(N::TOPIC)
    }
}

/// Token that a translator's decoder starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartToken(pub u64);

impl StartToken {
    /// The id, as tokenizers have it.
    pub fn id(self) -> Option<u32> {
        u32::try_from(self.0).ok()
    }
}

impl Note for StartToken {
    const TOPIC: &'static str = "start-token";

    fn text(&self) -> String {
        self.0.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }
}

/// Tokens that end a generated text, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndTokens(pub Vec<u64>);

impl EndTokens {
    /// The ids, as tokenizers have them.
    pub fn ids(&self) -> Vec<u32> {
        self.0.iter().filter_map(|&id| u32::try_from(id).ok()).collect()
    }
}

impl Note for EndTokens {
    const TOPIC: &'static str = "end-token";

    fn text(&self) -> String {
        self.0.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self(text.split(',').filter_map(|id| id.trim().parse().ok()).collect()))
    }
}

/// Names of the labels that logits score, in their order: a JSON list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(pub Vec<String>);

impl Note for Labels {
    const TOPIC: &'static str = "labels";

    fn text(&self) -> String {
        serde_json::Value::from(self.0.clone()).to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }
}

/// Which run of the model's layers the bundle holds, e.g. `2/4`.
impl Note for Chunk {
    const TOPIC: &'static str = "chunk";

    fn text(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, count) = text.split_once('/')?;
        Some(Self { number: number.parse().ok()?, count: count.parse().ok()? })
    }
}

/// Notes that are sentences for people.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident = $topic:literal,)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub String);

        impl Note for $name {
            const TOPIC: &'static str = $topic;

            fn text(&self) -> String {
                self.0.clone()
            }

            fn parse(text: &str) -> Option<Self> {
                Some(Self(text.to_owned()))
            }
        }
    )+};
}

sentences! {
    /// How token vectors become the vector of a sentence.
    Pooling = "pooling",
    /// `problem_type` of a classifier's configuration.
    ProblemType = "problem-type",
    /// How a cross-encoder's score follows from its logits.
    Score = "score",
    /// Which of LongRoPE's two tables the positions come from.
    LongRope = "longrope",
    /// By how much residual sums are scaled in float16.
    ResidualScale = "residual-scale",
    /// Keys of `config.json` that the package manifest tells mlreg to ignore.
    IgnoredConfig = "ignored-config",
    /// How the checkpoint was quantized.
    Quantization = "quantization",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_metadata() {
        let chunk = Chunk { number: 2, count: 4 };
        let notes = Notes::default().with(&EndTokens(vec![2, 7])).with(&chunk).with(&Labels(vec!["a\"b".to_owned()]));
        let mut metadata = notes.to_metadata();
        assert_eq!(metadata["dev.mlreg.end-token"], "2,7");
        assert_eq!(metadata["dev.mlreg.chunk"], "2/4");
        metadata.insert("com.example.other".to_owned(), "x".to_owned());
        let read = Notes::of_metadata(&metadata);
        assert_eq!(read, notes);
        assert_eq!(read.get::<EndTokens>().unwrap().ids(), [2, 7]);
        assert_eq!(read.get::<Chunk>(), Some(chunk));
        assert_eq!(read.get::<Labels>().unwrap().0, ["a\"b"]);
        assert!(!read.has::<StartToken>());
    }

    #[test]
    fn ids_that_no_tokenizer_has_are_left_out() {
        assert_eq!(EndTokens::parse(" 3, x,4294967296").unwrap().ids(), [3]);
    }
}
