//! The sha256 of a checkpoint's files. Long files are hashed while the build goes on, and waited for where the digest counts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{
    base::Digest,
    store::{Store, StoreError},
};

/// Bytes from which on a file is hashed beside other work.
const LONG: u64 = 64 << 20;

/// Files that are being hashed, each once.
#[derive(Debug)]
pub(super) struct Hashing {
    store: Store,
    pending: Mutex<BTreeMap<PathBuf, Arc<Pending>>>,
}

/// A digest that is known or on its way.
#[derive(Debug, Clone)]
pub(super) enum FileDigest {
    Known(Digest),
    Pending(Arc<Pending>),
}

#[derive(Debug)]
pub(super) struct Pending {
    store: Store,
    path: PathBuf,
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Waiting,
    Done(Digest),
    Failed,
}

impl Hashing {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), pending: Mutex::default() }
    }

    /// The digest of a file: at once where it is remembered or quickly found.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn digest(&self, path: &Path) -> Result<FileDigest, StoreError> {
        let (remembered, size) = self.store.remembered_digest(path)?;
        match remembered {
            Some(digest) => Ok(FileDigest::Known(digest)),
            None if size < LONG => Ok(FileDigest::Known(self.store.file_digest(path)?.0)),
            None => Ok(FileDigest::Pending(self.begin(path))),
        }
    }

    fn begin(&self, path: &Path) -> Arc<Pending> {
        let mut all = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || {
            let (store, path) = (self.store.clone(), path.to_owned());
            let pending = Arc::new(Pending { store, path, state: Mutex::new(State::Waiting), done: Condvar::new() });
            let work = Arc::clone(&pending);
            // On rayon's threads, so that no more files are hashed at once than there are processors.
            rayon::spawn(move || work.hash());
            pending
        };
        Arc::clone(all.entry(path.to_owned()).or_insert_with(begin))
    }
}

impl Pending {
    fn hash(&self) {
        let digest = self.store.file_digest(&self.path);
        *self.state() = digest.map_or(State::Failed, |(digest, _)| State::Done(digest));
        self.done.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileDigest {
    /// Whether nobody has to wait for it.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Self::Known(_) => true,
            Self::Pending(pending) => !matches!(*pending.state(), State::Waiting),
        }
    }

    /// The digest, waited for. Not for rayon's threads, which may have to compute it.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn get(&self) -> Result<Digest, StoreError> {
        let pending = match self {
            Self::Known(digest) => return Ok(*digest),
            Self::Pending(pending) => pending,
        };
        let waiting = |state: &mut State| matches!(state, State::Waiting);
        let state = *pending.done.wait_while(pending.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        match state {
            State::Done(digest) => Ok(digest),
            // Tried again, for the reason.
            State::Waiting | State::Failed => Ok(pending.store.file_digest(&pending.path)?.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn long_files_are_hashed_beside_other_work_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("home")).unwrap();
        let (short, long) = (folder.path().join("short"), folder.path().join("long"));
        fs::write(&short, "short").unwrap();
        File::create(&long).unwrap().set_len(LONG).unwrap();
        let hashing = Hashing::new(&store);
        assert!(matches!(hashing.digest(&short).unwrap(), FileDigest::Known(digest) if digest == Digest::of(b"short")));
        let (one, other) = (hashing.digest(&long).unwrap(), hashing.digest(&long).unwrap());
        let (FileDigest::Pending(a), FileDigest::Pending(b)) = (&one, &other) else { panic!("{one:?} {other:?}") };
        assert!(Arc::ptr_eq(a, b));
        assert_eq!(one.get().unwrap(), store.file_digest(&long).unwrap().0);
        assert_eq!(other.get().unwrap(), one.get().unwrap());
        assert!(one.is_known());
        assert!(hashing.digest(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_hashed_says_why_to_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("home")).unwrap();
        let (path, state) = (folder.path().join("gone"), Mutex::new(State::Waiting));
        let pending = Pending { store, path, state, done: Condvar::new() };
        pending.hash();
        let digest = FileDigest::Pending(Arc::new(pending));
        for _ in 0..2 {
            assert!(digest.get().unwrap_err().to_string().contains("gone"));
        }
    }
}
