//! What can go wrong in the store. Rules: every variant says what and where; what was expected and found are values,
//! not text.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::base::{Blake3, ClashKind, Digest, FolderError, PackageName};

use super::segments::SegmentError;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A blob that is not here.
    #[error("blob {digest} is not in the store")]
    MissingBlob { digest: Digest },
    /// A blob whose bytes are not those of its name.
    #[error("blob `{}` is damaged: expected sha256:{expected}, found sha256:{found}", path.display())]
    DamagedBlob {
        path: PathBuf,
        expected: Digest,
        /// The sha256 of its bytes.
        found: Digest,
    },
    /// A blob larger than the caller wants to hold in memory.
    #[error("blob {digest} has {size} bytes; at most {limit} are expected here")]
    TooLarge { digest: Digest, size: u64, limit: u64 },
    /// Segments or cuts that do not fit the bytes.
    #[error("the segments of `{what}` are wrong")]
    Segments {
        /// The blob's digest or the file's path.
        what: String,
        #[source]
        source: SegmentError,
    },
    /// Bytes beyond the end of a download.
    #[error("{length} bytes at {offset} are outside blob {digest} of {size} bytes")]
    OutOfBounds {
        digest: Digest,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        size: u64,
    },
    /// A download that was finished before every byte arrived.
    #[error("blob {digest} is not complete: {missing} of {size} bytes are missing")]
    Incomplete {
        digest: Digest,
        /// Number of bytes that never arrived.
        missing: u64,
        size: u64,
    },
    /// A download whose bytes are wrong.
    #[error("digest mismatch: expected sha256:{expected}, received sha256:{received}; the partial file was discarded")]
    WrongBytes { expected: Digest, received: Digest },
    /// A manifest whose size or BLAKE3 is not that of the blob it names.
    #[error(
        "the description of blob {digest} is wrong: expected {expected_size} bytes with BLAKE3 {expected}, found {found_size} with {found}"
    )]
    WrongDescription {
        digest: Digest,
        expected_size: u64,
        /// BLAKE3 by the manifest.
        expected: Blake3,
        found_size: u64,
        /// True BLAKE3.
        found: Blake3,
    },
    /// Bytes on this machine that are not what the index says.
    #[error("the bytes at {offset} of blob {digest} are not the segment {expected}: found {found}")]
    StaleLocation {
        digest: Digest,
        /// First byte.
        offset: u64,
        /// The segment that was wanted.
        expected: Blake3,
        /// The BLAKE3 of what is there.
        found: Blake3,
    },
    /// Bytes that are not a release manifest.
    #[error("the release manifest cannot be read")]
    InvalidRelease {
        #[source]
        source: serde_json::Error,
    },
    /// A version that exists with other content.
    #[error("`{package}@{version}` exists with other content: expected {existing}, received {new}")]
    ReleaseConflict {
        package: PackageName,
        version: Box<semver::Version>,
        /// The release that is here.
        existing: Digest,
        /// The one that was to replace it.
        new: Digest,
    },
    /// A manifest, origin or placement that is not as it was written.
    #[error("`{}` is damaged: {why}", path.display())]
    DamagedRecord { path: PathBuf, why: RecordDamage },
    /// A placement whose folder cannot be a key.
    #[error("`{}` cannot be recorded as a placement: expected an absolute path in Unicode", path.display())]
    PlacementPath { path: PathBuf },
    /// A record that has no JSON form.
    #[error("cannot encode `{}`", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A link in the place of a folder of the store.
    #[error(transparent)]
    Folder(FolderError),
    /// A version whose file would be that of another one on some file system.
    #[error("`{package}@{version}` cannot be stored beside `{package}@{existing}`: {why}")]
    VersionClash {
        package: PackageName,
        /// The version that is here.
        existing: Box<semver::Version>,
        version: Box<semver::Version>,
        why: ClashKind,
    },
    /// Somebody writes, so nothing can be collected.
    #[error("the store `{}` is in use: another mlreg is writing to it", home.display())]
    Busy { home: PathBuf },
}

/// How a small file of the store is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordDamage {
    /// Its bytes do not have the digest that was recorded.
    #[error("expected {expected}, found {found}")]
    Digest {
        expected: String,
        /// What the bytes have.
        found: String,
    },
    /// It has not the form in which the store writes it.
    #[error("expected {expected}")]
    Form { expected: &'static str },
}

impl StoreError {
    /// Wraps an IO error with what was tried, for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DamagedBlob { .. } => {
                Some("the file is fetched or built again when it is needed; `mlreg verify` checks all others".into())
            }
            Self::MissingBlob { .. } => Some("fetch or build the release again".into()),
            Self::WrongBytes { .. } => Some("fetch again; if it happens twice, check the remote with `mlreg verify URL`".into()),
            Self::ReleaseConflict { .. } => {
                Some("published versions never change: raise the version, or remove the release that is here with `mlreg rm`".into())
            }
            Self::DamagedRecord { path, .. } => Some(format!("remove `{}` and fetch or build again", path.display())),
            Self::Folder(error) => error.hint(),
            Self::VersionClash { .. } => Some("give it a version that differs in more than the case of letters".into()),
            Self::Busy { .. } => Some("run it again when the other command has ended".into()),
            _ => None,
        }
    }
}
