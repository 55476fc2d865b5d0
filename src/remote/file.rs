//! Files on this machine: ranges read step by step for async code, and copies that are hashed on their way. Memory is
//! bounded, and work ends when its receiver is gone.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use tokio::sync::mpsc;

use super::RemoteError;
use crate::{
    base::{BlobHasher, ByteRange, Digest},
    manifest::release::Blob,
};

/// Bytes that are read or copied in one step.
pub(super) const STEP: usize = 1 << 20;
/// Steps that may wait for the receiver.
pub(super) const WAITING: usize = 2;

/// A failed operation on a file or folder.
pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> RemoteError {
    RemoteError::File { action, path: path.to_owned(), source }
}

/// Sends a blob's range step by step, until the receiver is gone.
pub(super) fn send_range(
    path: &Path,
    size: u64,
    range: ByteRange,
    sender: &mpsc::Sender<Vec<u8>>,
) -> Result<(), RemoteError> {
    let read_failed = |source| failed("read", path, source);
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RemoteError::NotFound { url: path.display().to_string() },
        _ => read_failed(source),
    })?;
    let found = file.metadata().map_err(read_failed)?.len();
    if found != size {
        return Err(RemoteError::WrongSize { url: path.display().to_string(), expected: size, found: Some(found) });
    }
    file.seek(SeekFrom::Start(range.offset())).map_err(read_failed)?;
    let mut left = range.length();
    while left > 0 {
        // At most STEP, which fits.
        let mut bytes = vec![0; left.min(STEP as u64) as usize];
        file.read_exact(&mut bytes).map_err(read_failed)?;
        left -= bytes.len() as u64;
        if sender.blocking_send(bytes).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads the file `source`, gives its bytes to `step` in order, and checks that they are those of a blob. A `step` that
/// returns `false` ends the reading, and the result is `false`.
///
/// # Errors
/// [`RemoteError::WrongContent`], [`RemoteError::WrongManifest`], and what `step` and the file system say.
pub(super) fn read_checked(
    source: &Path,
    blob: &Digest,
    known: &Blob,
    mut step: impl FnMut(&[u8]) -> Result<bool, RemoteError>,
) -> Result<bool, RemoteError> {
    let mut input = File::open(source).map_err(|error| failed("read", source, error))?;
    let (mut hasher, mut buffer) = (BlobHasher::default(), vec![0; STEP]);
    loop {
        let count = input.read(&mut buffer).map_err(|error| failed("read", source, error))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        if !step(&buffer[..count])? {
            return Ok(false);
        }
    }
    let found = hasher.finish();
    if found.sha256 != *blob {
        return Err(RemoteError::WrongContent { path: source.to_owned(), expected: *blob, found: found.sha256 });
    }
    // The sha256 fits, so the manifest is wrong about these bytes.
    if known.describes(&found) { Ok(true) } else { Err(RemoteError::WrongManifest { blob: *blob }) }
}

/// Checks that a file has the content of a blob.
///
/// # Errors
/// As [`read_checked`].
pub(super) fn check_file(source: &Path, blob: &Digest, known: &Blob) -> Result<(), RemoteError> {
    read_checked(source, blob, known, |_| Ok(true)).map(|_| ())
}
