//! The bytes of a large object that is uploaded.

use std::path::PathBuf;

use bytes::Bytes;

/// Where the bytes of an object are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A whole file.
    File(PathBuf),
    /// Bytes in memory.
    Memory(Bytes),
}
