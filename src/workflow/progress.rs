//! How verbs say what they are doing, without knowing who listens.

use std::fmt::Debug;

/// How much a task has to do, and in which unit it advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many things.
    Items(u64),
    /// Nobody knows; it advances in things.
    Unknown,
}

/// Somebody who watches tasks.
pub trait Progress: Debug + Send + Sync {
    /// A task begins. `name` is a verb and a thing, e.g. `fetching flux-1-tae@1.0.0`. Several may run at once.
    fn begin(&self, name: &str, total: Amount) -> Box<dyn ProgressTask>;

    /// Something that whoever reads the result should know, e.g. that weights are random.
    fn warning(&self, _text: &str) {}
}

/// A task under way. Dropped without [`finish`](Self::finish), it was given up.
pub trait ProgressTask: Debug + Send + Sync {
    /// So many more bytes or things are done.
    fn advance(&self, amount: u64);

    /// It is done. `summary` is a line for those who want every detail, e.g. `fetched 3 blobs`.
    fn finish(self: Box<Self>, summary: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Amount) -> Box<dyn ProgressTask> {
        Box::new(Silent)
    }
}

impl ProgressTask for Silent {
    fn advance(&self, _: u64) {}

    fn finish(self: Box<Self>, _: &str) {}
}
