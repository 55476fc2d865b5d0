//! Maps files into memory. No other module does.

use std::{fs::File, io, ops::Range, path::Path};

use memmap2::Mmap;

/// Maps a file. It must not be cut short while it is mapped, as everywhere.
///
/// # Errors
/// When it cannot be opened or mapped.
pub fn map_file(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    #[expect(
        unsafe_code,
        reason = "mapping has no safe form: whoever cuts a mapped file short ends the process, and nobody here does"
    )]
    let map = unsafe { Mmap::map(&file) }?;
    Ok(map)
}

/// Releases the pages of a part of a mapped file; a later access reads them again. Bytes outside the map are ignored.
/// Does nothing where the system has no such advice.
pub fn release_mapped(map: &Mmap, range: Range<usize>) {
    let range = range.start.min(map.len())..range.end.min(map.len());
    #[cfg(unix)]
    if !range.is_empty() {
        #[expect(
            unsafe_code,
            reason = "pages of a read-only map of a file come back from the file, with the same bytes"
        )]
        // Advice that is not taken does no harm.
        let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_bytes_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let map = map_file(&path).unwrap();
        assert_eq!(&map[..], bytes);
        release_mapped(&map, 5000..200_000);
        release_mapped(&map, 7..7);
        assert_eq!(&map[..], bytes);
    }
}
