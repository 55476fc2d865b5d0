//! Atomic files: they appear complete or not at all.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::temporary::note_temporary;

/// Prefix and suffix of the names of unfinished files.
const PREFIX: &str = ".mlreg-";
const SUFFIX: &str = ".tmp";
/// Older unfinished files belong to a run that was killed.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);
/// A longer chain of links is a loop; the limit is that of Linux.
const MOST_LINKS: usize = 40;
const USUAL_MODE: u32 = 0o644;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// `InvalidData` for a longer file, `InvalidInput` for anything but a regular file, and errors of the file system.
pub fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let found = metadata.len();
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has {found} bytes, expected at most {limit}"),
        ));
    }
    Ok(bytes)
}

/// A file written beside its final place and renamed there by [`AtomicFile::commit`]; dropped without that, it leaves
/// nothing.
///
/// The bytes are synced before the rename, so that a power loss cannot show a name without its content.
#[derive(Debug)]
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
    mode: u32,
}

impl AtomicFile {
    /// Creates the temporary file that becomes `path`, and missing parent folders.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let temporary = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(parent)?;
        note_temporary(temporary.path());
        Ok(Self { temporary, path: path.to_owned(), mode: USUAL_MODE })
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Gives the file another mode than 0644, where the system has modes.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Makes the file visible under its name and replaces an existing one. The mode is 0644 unless another was set.
    ///
    /// # Errors
    /// Errors of the file system; the file is not visible then.
    pub fn commit(self) -> io::Result<()> {
        set_mode(self.temporary.as_file(), self.mode)?;
        self.temporary.as_file().sync_all()?;
        self.temporary.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }

    /// Like [`commit`](Self::commit), but keeps an existing file and returns `Ok(false)`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn commit_new(self) -> io::Result<bool> {
        set_mode(self.temporary.as_file(), self.mode)?;
        self.temporary.as_file().sync_all()?;
        match self.temporary.persist_noclobber(&self.path) {
            Ok(_) => Ok(true),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.error),
        }
    }

    /// Writes `bytes` to `path` atomically.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = Self::create(path)?;
        file.file().write_all(bytes)?;
        file.commit()
    }

    /// Writes `bytes` as a file that people keep and may have linked to: symbolic links stay, and the file that they
    /// lead to is written, whole or not at all. A file that was there keeps its mode. Unfinished files that killed runs
    /// left beside it are removed.
    ///
    /// # Errors
    /// What the file system says, also for links that lead in a circle.
    pub fn write_through_links(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = destination(path)?;
        remove_left_behind(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        let mode = fs::metadata(&path).map_or(USUAL_MODE, |metadata| mode_of(&metadata));
        let mut file = Self::create(&path)?.with_mode(mode);
        file.file().write_all(bytes)?;
        file.commit()
    }
}

/// The file that a chain of links leads to, whether it exists or not.
fn destination(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().map_or_else(|| to.clone(), |parent| parent.join(&to)),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("its symbolic links lead in a circle"))
}

/// Removes unfinished files of killed runs from a folder: those of an [`AtomicFile`] that nobody touched for an hour.
/// What cannot be removed stays.
pub fn remove_left_behind(folder: &Path) {
    let now = SystemTime::now();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        let is_old = |metadata: fs::Metadata| {
            let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
            metadata.is_file() && age.is_some_and(|age| age > LEFT_BEHIND)
        };
        if is_ours && entry.metadata().is_ok_and(is_old) {
            // Another run may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(unix)]
fn mode_of(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
}

#[cfg(not(unix))]
fn mode_of(_: &fs::Metadata) -> u32 {
    USUAL_MODE
}

#[cfg(unix)]
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

/// Makes a rename in `path`'s folder durable, where the system can.
///
/// # Errors
/// What the file system says.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Removes a folder and its content. A missing one is no error.
///
/// # Errors
/// What the file system says.
pub fn remove_dir_all_writable(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let mut file = AtomicFile::create(&path).unwrap();
        file.file().write_all(b"half").unwrap();
        drop(file);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 0);
        AtomicFile::write(&path, b"one").unwrap();
        assert!(!AtomicFile::create(&path).unwrap().commit_new().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }
    #[cfg(unix)]
    #[test]
    fn links_stay_and_modes_are_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/file"), "old").unwrap();
        fs::set_permissions(at("real/file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("real/file", at("middle")).unwrap();
        symlink(at("middle"), at("link")).unwrap();
        symlink("real/new", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        AtomicFile::write_through_links(&at("link"), b"new").unwrap();
        AtomicFile::write_through_links(&at("dangling"), b"new").unwrap();
        assert!(
            fs::symlink_metadata(at("link")).unwrap().is_symlink()
                && fs::symlink_metadata(at("dangling")).unwrap().is_symlink()
        );
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((fs::read(at("real/file")).unwrap(), mode("real/file")), (b"new".to_vec(), 0o600));
        assert_eq!((fs::read(at("real/new")).unwrap(), mode("real/new")), (b"new".to_vec(), 0o644));
        assert!(AtomicFile::write_through_links(&at("circle"), b"new").is_err());
    }

    #[test]
    fn only_old_unfinished_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let old = SystemTime::now() - 2 * LEFT_BEHIND;
        for (name, is_old) in
            [(".mlreg-a.tmp", true), (".mlreg-b.tmp", false), (".mlreg.json", true), ("mlreg-c.tmp", true)]
        {
            let file = File::create(folder.path().join(name)).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        AtomicFile::write_through_links(&folder.path().join("x"), b"x").unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".mlreg-b.tmp", ".mlreg.json", "mlreg-c.tmp", "x"]);
    }
}
