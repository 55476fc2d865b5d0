//! What can be wrong with a checkpoint.

use std::{io, path::PathBuf};

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system says no.
    #[error("cannot read {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// Nothing there that holds weights.
    #[error("{path} holds no weights: expected .safetensors, .bin, .pth, .pt or .ckpt files")]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// Several files that could be meant.
    #[error("{path} holds several weight files: {}", .candidates.join(", "))]
    Ambiguous {
        /// The folder.
        path: PathBuf,
        /// Their names.
        candidates: Vec<String>,
    },
    /// A Git LFS pointer in place of the file.
    #[error("{path} is a Git LFS pointer, not the file itself")]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// A damaged or hostile safetensors header.
    #[error("{path} is not a valid safetensors file: {problem}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: HeaderProblem,
    },
    /// An index that does not fit its shards.
    #[error("{path}: {problem}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        problem: IndexProblem,
    },
    /// A JSON document that cannot be read.
    #[error("{path} is not valid JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A pickle that the restricted reader does not take.
    #[error("{path} is not a torch checkpoint that can be read without running code")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: candle_core::Error,
    },
    /// A pickle without tensors.
    #[error("{path} holds no tensors: expected a state dict, or one below {}", .keys.join(", "))]
    NoStateDict {
        /// The file.
        path: PathBuf,
        /// The keys that were looked at.
        keys: Vec<&'static str>,
    },
    /// A tensor that two files hold.
    #[error("tensor `{name}` is in {first} and in {second}")]
    Repeated {
        /// The tensor.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A tensor that nobody holds.
    #[error("there is no tensor `{name}`")]
    NoTensor {
        /// Its name.
        name: String,
    },
}

impl CheckpointError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LfsPointer { .. } => Some("fetch the real file, for example with `git lfs pull`".to_owned()),
            Self::Ambiguous { candidates, .. } => Some(format!("name one of them, e.g. checkpoint = \".../{}\"", candidates.first()?)),
            Self::Pickle { .. } => Some("save the weights as safetensors".to_owned()),
            _ => None,
        }
    }
}

/// What is wrong with a safetensors header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// Too short to hold a header.
    #[error("{length} bytes cannot hold a header")]
    TooShort {
        /// Length of the file.
        length: u64,
    },
    /// A header longer than the file or the limit.
    #[error("the header claims {claimed} bytes, at most {limit} fit")]
    Length {
        /// Claimed length.
        claimed: u64,
        /// What fits.
        limit: u64,
    },
    /// Not the JSON that it should be.
    #[error("the header is not the JSON it should be: {0}")]
    Json(String),
    /// A dtype that nobody knows.
    #[error("tensor `{tensor}` has the dtype `{dtype}`, which mlreg does not know")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: String,
    },
    /// A range that is reversed or outside the file.
    #[error("tensor `{tensor}` claims the bytes {begin}..{end}, the file has {available} bytes of data")]
    Range {
        /// The tensor.
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
        /// The tensor.
        tensor: String,
        /// Bytes of dtype and shape; `None` on overflow.
        expected: Option<u64>,
        /// Bytes of the range.
        found: u64,
    },
    /// Ranges that overlap.
    #[error("tensor `{tensor}` begins at byte {begin}, inside the tensor before it, which ends at {previous_end}")]
    Overlap {
        /// The tensor.
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
pub enum IndexProblem {
    /// No `weight_map` of strings.
    #[error("expected a `weight_map` from tensor names to file names")]
    NoMap,
    /// A shard name that is no plain file name.
    #[error("tensor `{tensor}` is said to be in `{shard}`, which is no plain file name")]
    Name {
        /// The tensor.
        tensor: String,
        /// The name.
        shard: String,
    },
    /// A shard that is not there.
    #[error("shard `{0}` is not there")]
    Missing(String),
    /// A tensor that its shard does not hold.
    #[error("tensor `{tensor}` is said to be in `{shard}`, which does not hold it")]
    Absent {
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
}
