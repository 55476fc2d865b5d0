//! Runs of a model's layers, each of which is a component by itself.

use std::{fmt, ops::Range};

/// What the names of chunks end in, before their numbers.
const CHUNK: &str = "chunk-";

/// One of the runs that a model's layers are split into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chunk {
    /// Which run, from 1 to `count`.
    pub number: u32,
    /// How many runs there are.
    pub count: u32,
}

impl Chunk {
    /// The only chunk of a model whose layers stay together.
    pub const WHOLE: Self = Self { number: 1, count: 1 };

    /// Indices of its layers, of `layers` in all: as even as possible, the longer runs first.
    pub fn layers(self, layers: u64) -> Range<u64> {
        let count = u64::from(self.count);
        let (least, longer) = (layers / count, layers % count);
        let start = |index: u64| index * least + index.min(longer);
        let index = u64::from(self.number) - 1;
        start(index)..start(index + 1)
    }

    /// Whether it holds the embedding.
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Whether it holds the head.
    pub fn is_last(self) -> bool {
        self.number == self.count
    }
}

/// `2/4`.
impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

/// Name of a chunk's component: `chunk-2`, or `lm-chunk-2` where several components of a package are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkName<'a> {
    /// What the chunks of one model share: empty, or `lm-`.
    pub family: &'a str,
    /// Which chunk, from 1 on.
    pub number: u32,
}

impl<'a> ChunkName<'a> {
    /// Reads a component's name; `None` where it is no chunk's.
    pub fn parse(component: &'a str) -> Option<Self> {
        let (family, number) = component.rsplit_once(CHUNK)?;
        Some(Self { family, number: number.parse().ok()? })
    }

    /// The name of chunk `number` of a component; `component` is `None` where the package splits no other.
    pub fn of(component: Option<&str>, number: u32) -> String {
        let family = component.map_or_else(String::new, |component| format!("{component}-"));
        format!("{family}{CHUNK}{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_evenly_and_the_longer_runs_come_first() {
        let runs = |layers: u64, count: u32| {
            (1..=count).map(|number| Chunk { number, count }.layers(layers)).collect::<Vec<_>>()
        };
        assert_eq!(runs(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(runs(4, 1), vec![0..4; 1]);
    }

    #[test]
    fn names_and_numbers_of_chunks_agree() {
        assert_eq!(ChunkName::of(None, 2), "chunk-2");
        assert_eq!(ChunkName::of(Some("lm"), 12), "lm-chunk-12");
        assert_eq!(ChunkName::parse("lm-chunk-12"), Some(ChunkName { family: "lm-", number: 12 }));
        assert_eq!(ChunkName::parse("chunk-2"), Some(ChunkName { family: "", number: 2 }));
        assert_eq!(ChunkName::parse("decoder"), None);
    }
}
