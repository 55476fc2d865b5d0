//! Temporary files and folders of this process, so that a program that ends on a signal can remove them: nothing is
//! dropped then.
//!
//! Off until [`watch_temporaries`] is called, so that a library user pays nothing. Paths are never forgotten: one that
//! got its final name or was removed is not there any more, and temporary names are not used twice.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

static MADE: OnceLock<Mutex<Vec<PathBuf>>> = OnceLock::new();

/// Remembers temporary files and folders from now on.
pub fn watch_temporaries() {
    MADE.get_or_init(Mutex::default);
}

/// Remembers that `path` is a temporary file or folder of this process.
pub fn note_temporary(path: &Path) {
    if let Some(made) = MADE.get() {
        made.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }
}

/// Removes every temporary file and folder that was noted and is still there. What cannot be removed stays.
pub fn remove_temporaries() {
    let Some(made) = MADE.get() else { return };
    let paths = std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner));
    // The last first: what lies in a folder before the folder.
    for path in paths.iter().rev() {
        let _ = remove(path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noted_files_and_folders_go_and_nothing_else() {
        watch_temporaries();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("staging/bundle")).unwrap();
        for name in ["staging/bundle/weights", "file", "other"] {
            fs::write(path(name), b"x").unwrap();
        }
        ["staging", "file", "gone"].iter().for_each(|name| note_temporary(&path(name)));
        remove(&path("file")).unwrap();
        remove(&path("staging")).unwrap();
        assert!(remove(&path("gone")).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let noted = MADE.get().unwrap().lock().unwrap();
        assert!(["staging", "file", "gone"].iter().all(|name| noted.contains(&path(name))));
    }
}
