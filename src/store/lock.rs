//! The lock between writers and `gc`: advisory, released by the system when a process dies.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::StoreError;

/// Keeps `gc` away while it lives. Clones count as one.
#[derive(Debug, Clone)]
pub struct WriteGuard {
    _held: Arc<File>,
}

/// Nobody writes while it lives.
#[derive(Debug)]
pub(super) struct ExclusiveGuard {
    _held: File,
}

/// The lock file of one store, opened at first need; the guards of one instance share a handle.
#[derive(Debug)]
pub(super) struct StoreLock {
    path: PathBuf,
    held: Mutex<Weak<File>>,
}

impl StoreLock {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, held: Mutex::new(Weak::new()) }
    }

    /// Waits for a running `gc`.
    pub(super) fn shared(&self) -> Result<WriteGuard, StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = held.upgrade() {
            return Ok(WriteGuard { _held: file });
        }
        let file = open_lock(&self.path)?;
        file.lock_shared().map_err(StoreError::io("lock", &self.path))?;
        let file = Arc::new(file);
        *held = Arc::downgrade(&file);
        Ok(WriteGuard { _held: file })
    }

    /// Does not wait: `None` says that somebody writes, here or in another process.
    pub(super) fn try_exclusive(&self) -> Result<Option<ExclusiveGuard>, StoreError> {
        let file = open_lock(&self.path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(ExclusiveGuard { _held: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(StoreError::io("lock", &self.path)(source)),
        }
    }
}

/// Waits until nobody else holds the lock file `path`.
pub(super) fn exclusive(path: &Path) -> Result<ExclusiveGuard, StoreError> {
    let file = open_lock(path)?;
    file.lock().map_err(StoreError::io("lock", path))?;
    Ok(ExclusiveGuard { _held: file })
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
    let opened = open().or_else(|error| match path.parent() {
        Some(parent) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(parent).and_then(|()| open())
        }
        _ => Err(error),
    });
    opened.map_err(StoreError::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_share_and_gc_excludes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home/lock");
        let (one, two) = (StoreLock::new(path.clone()), StoreLock::new(path));
        let guards = (one.shared().unwrap(), one.shared().unwrap(), two.shared().unwrap());
        assert!(one.try_exclusive().unwrap().is_none());
        drop(guards);
        let exclusive = two.try_exclusive().unwrap();
        assert!(exclusive.is_some() && one.try_exclusive().unwrap().is_none());
    }
}
