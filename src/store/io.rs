//! Reading and writing at positions, and reading ahead while something else happens with the bytes.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::Path,
    time::UNIX_EPOCH,
};

use crate::base::{BlobHasher, HashedBytes};

/// How many bytes are read, hashed and written in one step.
pub(super) const PIECE: usize = 2 << 20;

/// Reads `source` to its end and hands every piece to `absorb` while the next is read.
pub(super) fn pump(source: &mut File, mut absorb: impl FnMut(&[u8]) -> io::Result<()> + Send) -> io::Result<()> {
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

/// Both digests and the length of everything from the file's current position on.
pub(super) fn hash_rest(source: &mut File, seen: &(dyn Fn(u64) + Sync)) -> io::Result<HashedBytes> {
    let mut hasher = BlobHasher::default();
    pump(source, |bytes| {
        hasher.update(bytes);
        seen(bytes.len() as u64);
        Ok(())
    })?;
    Ok(hasher.finish())
}

/// Both digests and the length of the file `path`.
pub(super) fn hash_path(path: &Path, seen: &(dyn Fn(u64) + Sync)) -> io::Result<HashedBytes> {
    hash_rest(&mut File::open(path)?, seen)
}

/// Whether two files have the same bytes.
pub(super) fn same_bytes(left: &Path, right: &Path) -> io::Result<bool> {
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

/// What tells a file that was touched from one that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    /// Nanoseconds since 1970; 0 where the system has no such time.
    pub(super) modified: i64,
    pub(super) inode: u64,
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
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

/// Number of names that the file has; 1 where the system does not say.
#[cfg(unix)]
pub(super) fn links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
pub(super) fn links(_: &Metadata) -> u64 {
    1
}

/// Makes the file read-only for everybody.
pub(super) fn make_read_only(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    #[cfg(not(unix))]
    let permissions = {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        permissions
    };
    file.set_permissions(permissions)
}

#[cfg(unix)]
use std::os::unix::fs::FileExt;

/// Fills `buffer` from `offset` on.
#[cfg(unix)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

/// Writes all of `bytes` from `offset` on.
#[cfg(unix)]
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Fills `buffer` from `offset` on.
#[cfg(windows)]
pub(super) fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => (buffer, offset) = (&mut buffer[count..], offset + count as u64),
        }
    }
    Ok(())
}

/// Writes all of `bytes` from `offset` on.
#[cfg(windows)]
pub(super) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let count = file.seek_write(bytes, offset)?;
        (bytes, offset) = (&bytes[count..], offset + count as u64);
    }
    Ok(())
}
