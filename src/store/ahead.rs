//! Hashes a download from its beginning on, while the rest still arrives: when the last byte is there, little is left
//! to hash, or to put on disk.
//!
//! A long file has a thread of its own for that, which is busy from the first megabytes on. Only bytes without a hole
//! before them are hashed. Whoever changes bytes says so afterwards; if they may have been hashed, it begins anew.

use std::{
    fs::File,
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use super::io::read_at;
use crate::base::{BlobHasher, HashedBytes, PIECE};

/// After so many bytes what has come is put on disk.
const SYNCED: u64 = 64 * PIECE as u64;
/// Whoever has hashed all but so many of the bytes that arrived has the time for it.
const CLOSE: u64 = 4 * PIECE as u64;

/// What is known of the hashes of a file: its sha256 and its BLAKE3.
#[derive(Debug, Default)]
pub(super) struct HashAhead {
    progress: Mutex<Progress>,
    /// More bytes have arrived, or nobody wants to know more.
    more: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What the disk said. It says so once.
    failure: Mutex<Option<io::Error>>,
}

#[derive(Debug, Default)]
struct Progress {
    /// What has seen the bytes that are hashed; elsewhere while a piece is being hashed.
    hasher: BlobHasher,
    hashed: u64,
    /// The end of the piece that is being hashed.
    claimed: u64,
    /// As many bytes are there without a hole.
    arrived: u64,
    /// How often it was begun anew.
    round: u64,
    closed: bool,
}

impl Progress {
    fn begin_anew(&mut self) {
        *self = Self { arrived: self.arrived, round: self.round + 1, closed: self.closed, ..Self::default() };
    }
}

/// A piece to hash.
struct Piece {
    at: u64,
    round: u64,
    hasher: BlobHasher,
    /// Whether little has arrived behind it.
    is_close: bool,
}

impl HashAhead {
    /// `arrived` bytes are there without a hole. Starts the thread where there is something to do; `job` calls
    /// [`run`](Self::run).
    pub(super) fn arrived(&self, arrived: u64, job: impl FnOnce() + Send + 'static) {
        let mut progress = self.progress();
        progress.arrived = arrived;
        let wanted = !progress.closed && arrived - progress.claimed.min(arrived) >= PIECE as u64;
        drop(progress);
        if wanted {
            self.more.notify_one();
            let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            if thread.is_none() {
                // Without a thread everything is hashed in the end.
                *thread = thread::Builder::new().name("mlreg-hash".to_owned()).spawn(job).ok();
            }
        }
    }

    /// Hashes piece after piece as they arrive, until it is closed or the file cannot be read.
    pub(super) fn run(&self, file: &File) {
        let mut buffer = vec![0; PIECE];
        let mut synced = 0;
        while let Some(Piece { at, round, mut hasher, is_close }) = self.next_piece() {
            if is_close && at >= synced + SYNCED {
                if let Err(error) = file.sync_data() {
                    *self.failure() = Some(error);
                    return;
                }
                synced = at;
            }
            let read = read_at(file, &mut buffer, at);
            if read.is_ok() {
                hasher.update(&buffer);
            }
            let mut progress = self.progress();
            match read {
                Ok(()) if progress.round == round => (progress.hasher, progress.hashed) = (hasher, at + PIECE as u64),
                Ok(()) => {}
                // Whoever reads the file in the end meets the error again.
                Err(_) => return progress.begin_anew(),
            }
        }
    }

    /// Waits for the next piece.
    fn next_piece(&self) -> Option<Piece> {
        let waits = |progress: &mut Progress| !progress.closed && progress.arrived < progress.hashed + PIECE as u64;
        let mut progress = self.more.wait_while(self.progress(), waits).unwrap_or_else(PoisonError::into_inner);
        if progress.closed {
            return None;
        }
        progress.claimed = progress.hashed + PIECE as u64;
        let is_close = progress.arrived < progress.claimed + CLOSE;
        let hasher = std::mem::take(&mut progress.hasher);
        Some(Piece { at: progress.hashed, round: progress.round, hasher, is_close })
    }

    /// Bytes at `offset` were changed or are not to be trusted; apart from them, `arrived` bytes are there without a
    /// hole.
    pub(super) fn changed(&self, offset: u64, arrived: u64) {
        let mut progress = self.progress();
        progress.arrived = arrived;
        if offset < progress.claimed {
            progress.begin_anew();
        }
    }

    /// Ends the hashing in the background, without waiting for the piece that is being hashed.
    pub(super) fn close(&self) {
        self.progress().closed = true;
        self.more.notify_one();
    }

    /// The hashes of the whole file of `size` bytes. Nothing is hashed in the background from then on.
    pub(super) fn finish(&self, file: &File, size: u64) -> io::Result<HashedBytes> {
        self.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        if let Some(error) = self.failure().take() {
            return Err(error);
        }
        let Progress { mut hasher, hashed, .. } = std::mem::take(&mut *self.progress());
        self.close();
        let mut buffer = vec![0; size.saturating_sub(hashed).min(PIECE as u64) as usize];
        let mut at = hashed;
        while at < size {
            let length = (size - at).min(PIECE as u64) as usize;
            read_at(file, &mut buffer[..length], at)?;
            hasher.update(&buffer[..length]);
            at += length as u64;
        }
        Ok(hasher.finish())
    }

    fn failure(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use super::*;
    use crate::store::tests::noise;

    struct Scene {
        ahead: Arc<HashAhead>,
        file: Arc<File>,
        bytes: Vec<u8>,
    }

    impl Scene {
        fn new(seed: u64, length: usize) -> Self {
            let bytes = noise(seed, length);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            Self { ahead: Arc::default(), file: Arc::new(file), bytes }
        }

        fn arrived(&self, arrived: usize) {
            let (ahead, file) = (self.ahead.clone(), self.file.clone());
            self.ahead.arrived(arrived as u64, move || ahead.run(&file));
        }

        /// Waits until so much is hashed.
        fn hashed(&self, expected: usize) {
            while self.ahead.progress().hashed != expected as u64 {
                thread::yield_now();
            }
        }

        fn finish(&self) -> HashedBytes {
            self.ahead.finish(&self.file, self.bytes.len() as u64).unwrap()
        }

        fn right(&self) -> HashedBytes {
            BlobHasher::hash(&self.bytes)
        }
    }

    #[test]
    fn what_is_hashed_early_is_not_read_again() {
        let scene = Scene::new(1, 5 * PIECE / 2);
        scene.arrived(PIECE - 1);
        assert!(scene.ahead.thread.lock().unwrap().is_none(), "not a whole piece");
        scene.arrived(PIECE + 5);
        scene.hashed(PIECE);
        super::super::io::write_at(&scene.file, &[0; 10], 0).unwrap();
        assert_eq!(scene.finish(), scene.right(), "its beginning was hashed before");
        scene.arrived(scene.bytes.len());
        assert!(scene.ahead.thread.lock().unwrap().is_none(), "what is finished is not hashed again");
    }

    #[test]
    fn changed_bytes_are_hashed_anew() {
        let mut scene = Scene::new(2, 3 * PIECE);
        scene.arrived(2 * PIECE);
        scene.hashed(2 * PIECE);
        scene.ahead.changed(2 * PIECE as u64, 2 * PIECE as u64);
        assert_eq!(scene.ahead.progress().hashed, 2 * PIECE as u64, "nothing has looked there");
        scene.bytes[7] ^= 1;
        super::super::io::write_at(&scene.file, &scene.bytes[7..8], 7).unwrap();
        scene.ahead.changed(7, 7);
        assert_eq!(scene.ahead.progress().hashed, 0);
        scene.arrived(3 * PIECE);
        scene.hashed(3 * PIECE);
        assert_eq!(scene.finish(), scene.right());
    }

    #[test]
    fn pieces_are_hashed_as_they_arrive() {
        let scene = Scene::new(3, 9 * PIECE / 2);
        for part in 1..=4 {
            scene.arrived(part * PIECE);
            scene.hashed(part * PIECE);
        }
        assert_eq!(scene.finish(), scene.right());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_reported_in_the_end() {
        let scene = Scene::new(5, PIECE);
        scene.arrived(2 * PIECE);
        assert!(scene.ahead.finish(&scene.file, 2 * PIECE as u64).is_err());
    }
}
