//! What the file system records of a file, by which an unchanged file is recognized without reading it.

use std::{fs::Metadata, time::UNIX_EPOCH};

/// Length, modification time and inode of a file. A file for which these are unchanged is taken to have the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStat {
    pub(crate) size: u64,
    /// Nanoseconds since 1970; 0 where the system has no such time.
    pub(crate) modified: i64,
    /// 0 where the system has no inodes.
    pub(crate) inode: u64,
}

impl FileStat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            size: metadata.len(),
            modified: modified.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0),
            inode: inode(metadata),
        }
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
