//! Hashes a download from its beginning on, while the rest still arrives: when the last byte is there, little is left to hash, or to put on
//! disk.
//!
//! A long file has a thread of its own for that, which is busy from the first megabytes on. Only bytes without a hole before them are
//! hashed. Whoever changes bytes says so afterwards; if they may have been hashed, it begins anew.

use std::{
    fs::File,
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use super::{
    io::{PIECE, read_at},
    vouched::ProvenBy,
};
use crate::base::{Blake3, Digest, DigestHasher};

/// After so many bytes what has come is put on disk.
const SYNCED: u64 = 64 * PIECE as u64;

/// What is known of the hash that proves a file.
#[derive(Debug)]
pub(super) struct HashAhead {
    proof: ProvenBy,
    progress: Mutex<Progress>,
    /// More bytes have arrived, or nobody wants to know more.
    more: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What the disk said. It says so once.
    failure: Mutex<Option<io::Error>>,
}

/// The hash of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256(Digest),
    Blake3(Blake3),
}

#[derive(Debug, Clone)]
enum Hasher {
    Sha256(Box<DigestHasher>),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// `None` for files of which nothing is hashed before they are complete.
    fn of(proof: ProvenBy) -> Option<Self> {
        match proof {
            ProvenBy::Both => None,
            ProvenBy::Address => Some(Self::Sha256(Box::default())),
            ProvenBy::Description => Some(Self::Blake3(Box::default())),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    fn finish(self) -> Hash {
        match self {
            Self::Sha256(hasher) => Hash::Sha256(hasher.finish()),
            Self::Blake3(hasher) => Hash::Blake3(Blake3::from_bytes(*hasher.finalize().as_bytes())),
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    /// What has seen the bytes that are hashed; none where it begins.
    hasher: Option<Hasher>,
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

impl HashAhead {
    /// For a file that is proven like that.
    pub(super) fn new(proof: ProvenBy) -> Self {
        Self { proof, progress: Mutex::default(), more: Condvar::new(), thread: Mutex::default(), failure: Mutex::default() }
    }

    /// `arrived` bytes are there without a hole. Starts the thread where there is something to do; `job` calls [`run`](Self::run).
    pub(super) fn arrived(&self, arrived: u64, job: impl FnOnce() + Send + 'static) {
        if self.proof == ProvenBy::Both {
            return;
        }
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
        while let Some((at, round, mut hasher)) = self.next_piece() {
            // Whoever hashes fast has the time.
            let synced = if self.proof == ProvenBy::Description && at > 0 && at.is_multiple_of(SYNCED) { file.sync_data() } else { Ok(()) };
            if let Err(error) = synced {
                *self.failure() = Some(error);
                return;
            }
            let read = read_at(file, &mut buffer, at);
            if read.is_ok() {
                hasher.update(&buffer);
            }
            let mut progress = self.progress();
            match read {
                Ok(()) if progress.round == round => (progress.hasher, progress.hashed) = (Some(hasher), at + PIECE as u64),
                Ok(()) => {}
                // Whoever reads the file in the end meets the error again.
                Err(_) => return progress.begin_anew(),
            }
        }
    }

    /// Waits for the next piece: where it begins, and what hashes it.
    fn next_piece(&self) -> Option<(u64, u64, Hasher)> {
        let waits = |progress: &mut Progress| !progress.closed && progress.arrived < progress.hashed + PIECE as u64;
        let mut progress = self.more.wait_while(self.progress(), waits).unwrap_or_else(PoisonError::into_inner);
        if progress.closed {
            return None;
        }
        progress.claimed = progress.hashed + PIECE as u64;
        let hasher = progress.hasher.clone().or_else(|| Hasher::of(self.proof))?;
        Some((progress.hashed, progress.round, hasher))
    }

    /// Bytes at `offset` were changed or are not to be trusted; apart from them, `arrived` bytes are there without a hole.
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

    /// The hash of the whole file of `size` bytes, where one alone proves it. Nothing is hashed in the background from then on.
    pub(super) fn finish(&self, file: &File, size: u64) -> io::Result<Option<Hash>> {
        self.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        if let Some(error) = self.failure().take() {
            return Err(error);
        }
        let Progress { hasher, hashed, .. } = std::mem::take(&mut *self.progress());
        self.close();
        let Some(mut hasher) = hasher.or_else(|| Hasher::of(self.proof)) else { return Ok(None) };
        let mut buffer = vec![0; size.saturating_sub(hashed).min(PIECE as u64) as usize];
        let mut at = hashed;
        while at < size {
            let length = (size - at).min(PIECE as u64) as usize;
            read_at(file, &mut buffer[..length], at)?;
            hasher.update(&buffer[..length]);
            at += length as u64;
        }
        Ok(Some(hasher.finish()))
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
        fn new(proof: ProvenBy, seed: u64, length: usize) -> Self {
            let bytes = noise(seed, length);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            Self { ahead: Arc::new(HashAhead::new(proof)), file: Arc::new(file), bytes }
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

        fn finish(&self) -> Option<Hash> {
            self.ahead.finish(&self.file, self.bytes.len() as u64).unwrap()
        }

        fn sha256(&self) -> Option<Hash> {
            Some(Hash::Sha256(Digest::of(&self.bytes)))
        }
    }

    #[test]
    fn what_is_hashed_early_is_not_read_again() {
        let scene = Scene::new(ProvenBy::Address, 1, 5 * PIECE / 2);
        scene.arrived(PIECE - 1);
        assert!(scene.ahead.thread.lock().unwrap().is_none(), "not a whole piece");
        scene.arrived(PIECE + 5);
        scene.hashed(PIECE);
        super::super::io::write_at(&scene.file, &[0; 10], 0).unwrap();
        assert_eq!(scene.finish(), scene.sha256(), "its beginning was hashed before");
        scene.arrived(scene.bytes.len());
        assert!(scene.ahead.thread.lock().unwrap().is_none(), "what is finished is not hashed again");
    }

    #[test]
    fn changed_bytes_are_hashed_anew() {
        let mut scene = Scene::new(ProvenBy::Address, 2, 3 * PIECE);
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
        assert_eq!(scene.finish(), scene.sha256());
    }

    #[test]
    fn pieces_are_hashed_as_they_arrive() {
        for proof in [ProvenBy::Address, ProvenBy::Description] {
            let scene = Scene::new(proof, 3, 9 * PIECE / 2);
            for part in 1..=4 {
                scene.arrived(part * PIECE);
                scene.hashed(part * PIECE);
            }
            let blake3 = Some(Hash::Blake3(Blake3::of(&scene.bytes)));
            assert_eq!(scene.finish(), if proof == ProvenBy::Address { scene.sha256() } else { blake3 });
        }
    }

    #[test]
    fn what_needs_both_hashes_is_not_hashed_early() {
        let scene = Scene::new(ProvenBy::Both, 4, 2 * PIECE);
        scene.ahead.arrived(2 * PIECE as u64, || panic!("a thread"));
        assert_eq!(scene.finish(), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_reported_in_the_end() {
        let scene = Scene::new(ProvenBy::Description, 5, PIECE);
        scene.arrived(2 * PIECE);
        assert!(scene.ahead.finish(&scene.file, 2 * PIECE as u64).is_err());
    }
}
