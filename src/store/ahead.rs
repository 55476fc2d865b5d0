//! Hashes a download from its beginning on, while the rest still arrives: when the last byte is there, little is left to hash.
//!
//! Only bytes without a hole before them are hashed. Whoever changes bytes says so afterwards; if they may have been hashed, it begins anew.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::io::{PIECE, pump, read_at};
use crate::base::{BlobHasher, HashedBytes};

/// What is known of a file's hashes.
#[derive(Debug, Default)]
pub(super) struct HashAhead {
    state: Mutex<State>,
    /// Bytes from here on have not been looked at.
    claimed: AtomicU64,
    /// Whether somebody is hashing.
    busy: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    hasher: BlobHasher,
    hashed: u64,
    /// Whether nobody wants to know more.
    closed: bool,
}

impl HashAhead {
    /// `arrived` bytes are there without a hole. Hashes them in the background, where that is worth it; `job` is [`run`](Self::run).
    pub(super) fn arrived(&self, arrived: u64, job: impl FnOnce() + Send + 'static) {
        let worth_it = arrived.saturating_sub(self.claimed.load(Ordering::Acquire)) >= PIECE as u64;
        if worth_it && !self.busy.swap(true, Ordering::AcqRel) {
            rayon::spawn(job);
        }
    }

    /// Hashes piece after piece as long as `arrived` says that there is one.
    pub(super) fn run(&self, file: &File, arrived: impl Fn() -> u64) {
        let mut buffer = vec![0; PIECE];
        while self.step(file, &arrived, &mut buffer).unwrap_or(false) {}
        self.busy.store(false, Ordering::Release);
    }

    fn step(&self, file: &File, arrived: impl Fn() -> u64, buffer: &mut [u8]) -> io::Result<bool> {
        let mut state = self.state();
        if state.closed {
            return Ok(false);
        }
        let end = state.hashed + buffer.len() as u64;
        self.claimed.store(end, Ordering::Release);
        if arrived() < end {
            self.claimed.store(state.hashed, Ordering::Release);
            return Ok(false);
        }
        read_at(file, buffer, state.hashed)?;
        state.hasher.update(buffer);
        state.hashed = end;
        Ok(true)
    }

    /// Bytes at `offset` were changed or are not to be trusted.
    pub(super) fn changed(&self, offset: u64) {
        if offset < self.claimed.load(Ordering::Acquire) {
            // Whoever is hashing has said so before it knew whether there is a piece.
            let mut state = self.state();
            if offset < state.hashed {
                *state = State::default();
                self.claimed.store(0, Ordering::Release);
            }
        }
    }

    /// Ends the hashing in the background.
    pub(super) fn close(&self) {
        self.take();
    }

    fn take(&self) -> State {
        std::mem::replace(&mut *self.state(), State { closed: true, ..State::default() })
    }

    /// The hashes of the whole file. Nothing is hashed in the background from then on.
    pub(super) fn finish(&self, mut file: &File) -> io::Result<HashedBytes> {
        let State { mut hasher, hashed, .. } = self.take();
        file.seek(SeekFrom::Start(hashed))?;
        pump(&mut file.try_clone()?, |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        Ok(hasher.finish())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use super::*;
    use crate::store::tests::noise;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_is_hashed_early_is_not_read_again() {
        let bytes = noise(1, 5 * PIECE / 2);
        let (ahead, file) = (HashAhead::default(), file(&bytes));
        ahead.run(&file, || (PIECE + 5) as u64);
        assert_eq!(ahead.state().hashed, PIECE as u64, "whole pieces");
        super::super::io::write_at(&file, &[0; 10], 0).unwrap();
        assert_eq!(ahead.finish(&file).unwrap(), BlobHasher::hash(&bytes), "its beginning was hashed before");
        ahead.run(&file, || bytes.len() as u64);
        assert_eq!(ahead.state().hashed, 0, "what is finished is not hashed again");
    }

    #[test]
    fn changed_bytes_are_hashed_anew() {
        let mut bytes = noise(2, 3 * PIECE);
        let (ahead, file) = (HashAhead::default(), file(&bytes));
        ahead.run(&file, || 2 * PIECE as u64);
        ahead.claimed.store(3 * PIECE as u64, Ordering::Release);
        ahead.changed(2 * PIECE as u64);
        assert_eq!(ahead.state().hashed, 2 * PIECE as u64, "nothing has looked there");
        bytes[7] ^= 1;
        super::super::io::write_at(&file, &bytes[7..8], 7).unwrap();
        ahead.changed(7);
        assert_eq!(ahead.state().hashed, 0);
        assert_eq!(ahead.finish(&file).unwrap(), BlobHasher::hash(&bytes));
    }

    #[test]
    fn only_one_hashes_at_a_time() {
        let bytes = noise(3, 4 * PIECE);
        let (ahead, file) = (Arc::new(HashAhead::default()), Arc::new(file(&bytes)));
        for part in 1..=4 {
            let job = {
                let (ahead, file) = (ahead.clone(), file.clone());
                move || ahead.run(&file, || part * PIECE as u64)
            };
            ahead.arrived(part * PIECE as u64, job);
        }
        while ahead.busy.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert_eq!(ahead.finish(&file).unwrap(), BlobHasher::hash(&bytes));
    }
}
