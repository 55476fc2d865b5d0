//! A file's range read on a blocking thread, step by step, for async code: bounded memory, and it ends when the receiver is gone.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use tokio::sync::mpsc;

use super::RemoteError;
use crate::base::ByteRange;

/// Bytes that are read or copied in one step.
pub(super) const STEP: usize = 1 << 20;
/// Steps that may wait for the receiver.
pub(super) const WAITING: usize = 2;

/// Sends a blob's range step by step, until the receiver is gone.
pub(super) fn send_range(path: &Path, size: u64, range: ByteRange, sender: &mpsc::Sender<Vec<u8>>) -> Result<(), RemoteError> {
    let read_failed = |source| RemoteError::File { action: "read", path: path.to_owned(), source };
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
