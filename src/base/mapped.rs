//! Files mapped into memory: what keeps memory flat where files are large. The one place that maps.

use std::{fs::File, io, path::Path};

use memmap2::Mmap;

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
