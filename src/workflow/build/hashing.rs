//! The sha256 of a checkpoint's files. Long files are hashed in the background; callers wait when they need the digest.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{
    base::Digest,
    store::{Store, StoreError},
};

/// Length in bytes from which a file is hashed in the background.
const LONG: u64 = 64 << 20;

/// Number of background threads. They do not belong to rayon's pool, where the conversion would wait for them.
const THREADS: usize = 2;

/// Files that are being hashed, each once per build.
#[derive(Debug)]
pub(super) struct Hashing {
    store: Store,
    pending: Mutex<BTreeMap<PathBuf, Arc<Pending>>>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    files: VecDeque<Arc<Pending>>,
    threads: usize,
}

/// A digest that is known or being computed.
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
        Self { store: store.clone(), pending: Mutex::default(), queue: Arc::default() }
    }

    /// Starts to hash a file. Digests that the store remembers and those of short files are known at once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn digest(&self, path: &Path) -> Result<FileDigest, StoreError> {
        let (remembered, size) = self.store.remembered_digest(path)?;
        match remembered {
            Some(digest) => Ok(FileDigest::Known(digest)),
            None if size < LONG => Ok(FileDigest::Known(self.store.file_digest(path)?.0)),
            None => Ok(FileDigest::Pending(self.begin(path))),
        }
    }

    fn begin(&self, path: &Path) -> Arc<Pending> {
        let mut all = lock(&self.pending);
        let begin = || {
            let (store, path) = (self.store.clone(), path.to_owned());
            let pending = Arc::new(Pending { store, path, state: Mutex::new(State::Waiting), done: Condvar::new() });
            self.queue(Arc::clone(&pending));
            pending
        };
        Arc::clone(all.entry(path.to_owned()).or_insert_with(begin))
    }

    fn queue(&self, pending: Arc<Pending>) {
        let mut queue = lock(&self.queue);
        queue.files.push_back(pending);
        if queue.threads < THREADS {
            queue.threads += 1;
            drop(queue);
            let work = Arc::clone(&self.queue);
            if thread::Builder::new().name("hashing".to_owned()).spawn(move || hash_all(&work)).is_err() {
                hash_all(&self.queue);
            }
        }
    }
}

/// Hashes files until the queue is empty.
fn hash_all(queue: &Mutex<Queue>) {
    loop {
        let mut waiting = lock(queue);
        let Some(next) = waiting.files.pop_front() else {
            waiting.threads -= 1;
            return;
        };
        drop(waiting);
        next.hash();
    }
}

/// Locks; a panic of another thread leaves no invalid state behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    fn hash(&self) {
        let digest = self.store.file_digest(&self.path);
        *self.state() = digest.map_or(State::Failed, |(digest, _)| State::Done(digest));
        self.done.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl FileDigest {
    /// Whether [`get`](Self::get) returns without waiting.
    pub(super) fn is_known(&self) -> bool {
        match self {
            Self::Known(_) => true,
            Self::Pending(pending) => !matches!(*pending.state(), State::Waiting),
        }
    }

    /// Waits for the digest.
    ///
    /// # Errors
    /// When the file cannot be read.
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
        for index in 0..3 {
            let path = folder.path().join(format!("long-{index}"));
            File::create(&path).unwrap().set_len(LONG + index).unwrap();
            assert!(matches!(hashing.digest(&path).unwrap(), FileDigest::Pending(_)));
        }
        let expected: Vec<_> = (0..3).map(|index| Digest::of(&vec![0; (LONG + index) as usize])).collect();
        let found =
            (0..3).map(|index| hashing.digest(&folder.path().join(format!("long-{index}"))).unwrap().get().unwrap());
        assert_eq!(found.collect::<Vec<_>>(), expected);
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
