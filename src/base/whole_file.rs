//! Reads files from beginning to end: hashed, compared, or in pieces of which the next is read while the last one is
//! used.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{BlobHasher, HashedBytes};

/// Number of bytes that are read, hashed and written in one step.
pub(crate) const PIECE: usize = 2 << 20;

/// Reads `source` to its end and passes each piece of at most [`PIECE`] bytes to `absorb` while the next one is read.
///
/// # Errors
/// What the file system or `absorb` reports.
pub(crate) fn pump(source: &mut File, mut absorb: impl FnMut(&[u8]) -> io::Result<()> + Send) -> io::Result<()> {
    let (mut current, mut next) = (Vec::new(), Vec::new());
    read_piece(source, &mut current)?;
    while current.len() == PIECE {
        let (absorbed, read) = rayon::join(|| absorb(&current), || read_piece(source, &mut next));
        absorbed?;
        read?;
        std::mem::swap(&mut current, &mut next);
    }
    if current.is_empty() { Ok(()) } else { absorb(&current) }
}

fn read_piece(source: &mut File, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    if buffer.capacity() == 0 {
        // Small files ask for little; the one byte more lets the reader see the end without growing.
        buffer.reserve(source.metadata()?.len().min(PIECE as u64) as usize + 1);
    }
    source.take(PIECE as u64).read_to_end(buffer)?;
    Ok(())
}

/// Hashes `source` from its current position to its end. `seen` receives the number of bytes of each piece.
///
/// # Errors
/// What the file system reports.
pub(crate) fn hash_rest(source: &mut File, seen: &(dyn Fn(u64) + Sync)) -> io::Result<HashedBytes> {
    let mut hasher = BlobHasher::default();
    pump(source, |bytes| {
        hasher.update(bytes);
        seen(bytes.len() as u64);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// Hashes the file `path`. `seen` receives the number of bytes of each piece.
///
/// # Errors
/// What the file system reports.
pub(crate) fn hash_file(path: &Path, seen: &(dyn Fn(u64) + Sync)) -> io::Result<HashedBytes> {
    hash_rest(&mut File::open(path)?, seen)
}

/// Whether two files have the same bytes.
///
/// # Errors
/// What the file system reports of either file.
pub(crate) fn same_bytes(left: &Path, right: &Path) -> io::Result<bool> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        read_piece(&mut left, &mut ours)?;
        read_piece(&mut right, &mut theirs)?;
        if ours != theirs {
            return Ok(false);
        }
        if ours.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_length_hash_like_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1] {
            let (path, bytes) = (folder.path().join(length.to_string()), vec![7; length]);
            std::fs::write(&path, &bytes).unwrap();
            let seen = std::sync::atomic::AtomicU64::new(0);
            let count = |bytes| _ = seen.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(hash_file(&path, &count).unwrap(), BlobHasher::hash(&bytes));
            assert_eq!(seen.into_inner(), length as u64);
        }
    }
}
