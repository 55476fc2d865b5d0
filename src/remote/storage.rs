//! Storages: named objects in a folder, behind a web server, later in a bucket. A registry's layout is written over any
//! of them.
//!
//! Paths are relative and `/`-separated. Objects appear whole or not at all.

use std::{collections::BTreeSet, fmt::Debug, path::Path};

use super::{Answer, RemoteError, Sent, Sink};
use crate::{
    base::{ByteRange, Digest},
    manifest::release::Blob,
};

/// Identifies the content of an object: a digest or an ETag. Only versions of the same storage can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion(pub String);

/// A whole object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its version.
    pub version: ObjectVersion,
}

/// Whether an object may come from a cache between here and the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The object never changes; a cached copy will do.
    Cached,
    /// The object is replaced from time to time; caches are told to look again.
    Current,
}

/// When a [`Storage::put`] is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is no object of that name.
    Absent,
    /// The object still has this version.
    Unchanged(&'a ObjectVersion),
}

/// Named objects. Dropping a future leaves nothing visible that is not whole.
pub trait Storage: Debug + Send + Sync {
    /// The address of an object for messages, without credentials.
    fn shown(&self, path: &str) -> String;

    /// Reads a whole object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], [`RemoteError::TooLarge`], and what the storage says.
    fn get<'a>(&'a self, path: &'a str, limit: u64, freshness: Freshness) -> Answer<'a, Object>;

    /// Gives exactly `range.length()` bytes of an object of `size` bytes to `sink`, in order, or fails. Where the
    /// storage answers with the whole object although a range was asked for, the bytes from the range's end to `until`
    /// may follow.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], [`RemoteError::WrongSize`], and what the storage says.
    fn read<'a>(&'a self, path: &'a str, size: u64, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()>;

    /// Whether ranges save bytes, as far as the answers have shown.
    fn has_ranges(&self) -> bool {
        true
    }

    /// The length of an object in bytes; `None` where there is none.
    fn head<'a>(&'a self, path: &'a str) -> Answer<'a, Option<u64>>;

    /// The names directly below a folder (empty: the root) that do not begin with a dot. `None` where the storage
    /// cannot list.
    fn list<'a>(&'a self, _folder: &'a str) -> Answer<'a, Option<BTreeSet<String>>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether objects can be put.
    fn is_writable(&self) -> bool {
        false
    }

    /// Puts a small object if the condition holds. `false`: it does not, and nothing was changed.
    ///
    /// # Errors
    /// [`RemoteError::ReadOnly`], and what the storage says.
    fn put<'a>(&'a self, _path: &'a str, _bytes: &'a [u8], _condition: Condition<'a>) -> Answer<'a, bool> {
        read_only(self.shown(""))
    }

    /// Copies the file `source`, whose content is `blob`, unless an object of that length exists. Both digests are
    /// checked on the way. On success the numbers given to `sent` add up to the length.
    ///
    /// # Errors
    /// [`RemoteError::WrongContent`], [`RemoteError::WrongManifest`], [`RemoteError::ReadOnly`], and what the storage
    /// says.
    fn put_file<'a>(
        &'a self,
        _path: &'a str,
        _source: &'a Path,
        _blob: &'a Digest,
        _known: &'a Blob,
        _sent: Sent<'a>,
    ) -> Answer<'a, ()> {
        read_only(self.shown(""))
    }
}

fn read_only<'a, T>(url: String) -> Answer<'a, T> {
    Box::pin(async move { Err(RemoteError::ReadOnly { url }) })
}
