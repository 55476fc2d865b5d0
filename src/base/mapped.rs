//! Files mapped into memory: what keeps memory flat where files are large. The one place that maps.

use std::{fs::File, io, path::Path};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

/// Maps a file. It must not be cut short while it is mapped, as everywhere.
///
/// # Errors
/// When it cannot be opened or mapped.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    #[expect(unsafe_code, reason = "mapping has no safe form: whoever cuts a mapped file short ends the process, and nobody here does")]
    let map = unsafe { Mmap::map(&file) }?;
    Ok(map)
}

/// Gives back the memory of what was read of a mapped file, which may be read again all the same: its pages come back from the file.
pub fn release(map: &Mmap) {
    #[cfg(unix)]
    {
        #[expect(
            unsafe_code,
            reason = "only pages of private memory would lose their content, and this is a shared mapping that nobody writes"
        )]
        // It is advice: memory stays taken where the system does not know it.
        let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
    }
    #[cfg(not(unix))]
    let _ = map;
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_released_can_be_read_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        file.write_all(&bytes).unwrap();
        let map = map_file(file.path()).unwrap();
        for _ in 0..2 {
            assert!(map[..] == bytes[..]);
            release(&map);
        }
    }
}
