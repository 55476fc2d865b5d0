//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file written beside its final place and renamed there by [`AtomicFile::commit`]; dropped without that, it leaves nothing.
///
/// The bytes are synced before the rename, so that a power loss cannot show a name without its content.
#[derive(Debug)]
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will be `path`; its parent folders are made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let temporary = tempfile::Builder::new().prefix(".mlreg-").suffix(".tmp").tempfile_in(parent)?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// The open file.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Makes the file visible under its name, replacing what is there. Mode 0644.
    ///
    /// # Errors
    /// What the file system says; then nothing is visible.
    pub fn commit(self) -> io::Result<()> {
        set_mode(self.temporary.as_file(), 0o644)?;
        self.temporary.as_file().sync_all()?;
        self.temporary.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }

    /// Like [`commit`](Self::commit), but an existing file stays: `Ok(false)` says that there was one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn commit_new(self) -> io::Result<bool> {
        set_mode(self.temporary.as_file(), 0o644)?;
        self.temporary.as_file().sync_all()?;
        match self.temporary.persist_noclobber(&self.path) {
            Ok(_) => Ok(true),
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.error),
        }
    }

    /// Writes `bytes` as `path`, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = Self::create(path)?;
        file.file().write_all(bytes)?;
        file.commit()
    }
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

/// Removes a folder and what is in it; a missing one is fine.
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
}
