//! What can be wrong with a checkpoint.

use std::{io, path::PathBuf};

use super::pickle::PickleProblem;

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum CheckpointError {
    /// The file system says no.
    #[error("cannot read {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Nothing there that holds weights.
    #[error("{path} holds no weights: expected .safetensors, .bin, .pth, .pt or .ckpt files")]
    NoWeights { path: PathBuf },
    /// Several files that could be meant.
    #[error("{path} holds several weight files: {}", .candidates.join(", "))]
    Ambiguous { path: PathBuf, candidates: Vec<String> },
    /// A Git LFS pointer in place of the file.
    #[error("{path} is a Git LFS pointer, not the file itself")]
    LfsPointer { path: PathBuf },
    /// A damaged or hostile safetensors header.
    #[error("{path} is not a valid safetensors file")]
    Header {
        path: PathBuf,
        #[source]
        problem: HeaderProblem,
    },
    /// An index that does not fit its shards.
    #[error("{path} does not fit its shards")]
    Index {
        path: PathBuf,
        #[source]
        problem: IndexProblem,
    },
    /// A JSON document that cannot be read.
    #[error("{path} is not the JSON that it should be")]
    Json {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A JSON document longer than any that is meant.
    #[error("{path} has {length} bytes, at most {limit} are read")]
    TooLong { path: PathBuf, length: u64, limit: u64 },
    /// A torch checkpoint that cannot be read without running code.
    #[error("{path} is not a torch checkpoint that can be read without running code")]
    Pickle {
        path: PathBuf,
        #[source]
        problem: PickleProblem,
    },
    /// A name that is no text.
    #[error("the name of {path} is not UTF-8")]
    Name { path: PathBuf },
    /// A tensor that two files hold.
    #[error("tensor `{name}` is in {first} and in {second}")]
    Repeated { name: String, first: PathBuf, second: PathBuf },
    /// A tensor that nobody holds.
    #[error("there is no tensor `{name}`")]
    NoTensor { name: String },
}

impl CheckpointError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LfsPointer { .. } => Some("fetch the real file, for example with `git lfs pull`".to_owned()),
            Self::Ambiguous { path, candidates } => {
                Some(format!("name one of them: checkpoint = \"{}\"", path.join(candidates.first()?).display()))
            }
            Self::Pickle { problem, .. } => problem.hint(),
            Self::Index { problem: IndexProblem::Missing(_), .. } => {
                Some("download the checkpoint again, with all of its shards".to_owned())
            }
            _ => None,
        }
    }
}

/// What is wrong with a safetensors header.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum HeaderProblem {
    /// Too short to hold a header.
    #[error("{length} bytes cannot hold a header")]
    TooShort { length: u64 },
    /// A header longer than the file or the limit.
    #[error("the header claims {claimed} bytes, at most {limit} fit")]
    Length { claimed: u64, limit: u64 },
    /// Not the JSON that it should be.
    #[error("the header is not the JSON it should be: {0}")]
    Json(#[source] serde_json::Error),
    /// Not the brace that every header begins with.
    #[error("the header {}, expected it to begin with `{{`", .found.map_or("is empty".to_owned(), |b| format!("begins with `{}`", b.escape_ascii())))]
    Start {
        /// Its first byte; `None` where there is none.
        found: Option<u8>,
    },
    /// A name that is there twice.
    #[error("`{name}` is there twice")]
    Repeated { name: String },
    /// A dtype that nobody knows.
    #[error("tensor `{tensor}` has the dtype `{dtype}`, which mlreg does not know")]
    Dtype { tensor: String, dtype: String },
    /// A range that is reversed or outside the file.
    #[error("tensor `{tensor}` claims the bytes {begin}..{end}, the file has {available} bytes of data")]
    Range {
        tensor: String,
        /// First byte.
        begin: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes of data in the file.
        available: u64,
    },
    /// A range whose length is not what dtype and shape need.
    #[error("tensor `{tensor}` has {found} bytes, its dtype and shape need {}", .expected.map_or("more than fit".to_owned(), |n| n.to_string()))]
    Size {
        tensor: String,
        /// Bytes of dtype and shape; `None` on overflow.
        expected: Option<u64>,
        /// Bytes of the range.
        found: u64,
    },
    /// Ranges that overlap.
    #[error("tensor `{tensor}` begins at byte {begin}, inside the tensor before it, which ends at {previous_end}")]
    Overlap {
        tensor: String,
        /// Its first byte.
        begin: u64,
        /// End of the one before.
        previous_end: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("the bytes {begin}..{end} belong to no tensor")]
    Gap {
        /// First byte.
        begin: u64,
        /// One past the last byte.
        end: u64,
    },
}

/// What is wrong with an index of shards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum IndexProblem {
    /// A tensor with two places.
    #[error("tensor `{tensor}` is said to be in `{first}` and in `{second}`")]
    Repeated { tensor: String, first: String, second: String },
    /// A shard name that is no plain file name.
    #[error("tensor `{tensor}` is said to be in `{shard}`, which is no plain file name")]
    Name { tensor: String, shard: String },
    /// A shard that is not there.
    #[error("shard `{0}` is not there")]
    Missing(String),
    /// A tensor that its shard does not hold.
    #[error("tensor `{tensor}` is said to be in `{shard}`, which does not hold it")]
    Absent { tensor: String, shard: String },
}
