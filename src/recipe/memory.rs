//! Intermediate results that are kept for the recipes that share them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::base::Blake3;

/// Results by the key of their recipe, at most `bound` bytes together; those that were not used for longest go first.
#[derive(Debug)]
pub(super) struct Memory {
    bound: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The bytes, and the number of the last use.
    results: HashMap<Blake3, (Arc<Vec<u8>>, u64)>,
    bytes: u64,
    uses: u64,
}

impl Memory {
    pub(super) fn new(bound: u64) -> Self {
        Self { bound, kept: Mutex::default() }
    }

    /// The result of that key. It is made where it is not kept; two threads that ask at once may both make it.
    pub(super) fn get<E>(&self, key: Blake3, make: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Arc<Vec<u8>>, E> {
        if let Some(result) = self.kept().used(&key) {
            return Ok(result);
        }
        // Not under the lock: a thread that waits for parallel work may be given other work that asks, too.
        let result = Arc::new(make()?);
        if result.len() as u64 <= self.bound {
            self.kept().keep(key, &result, self.bound);
        }
        Ok(result)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn used(&mut self, key: &Blake3) -> Option<Arc<Vec<u8>>> {
        self.uses += 1;
        let (result, last) = self.results.get_mut(key)?;
        *last = self.uses;
        Some(result.clone())
    }

    fn keep(&mut self, key: Blake3, result: &Arc<Vec<u8>>, bound: u64) {
        while self.bytes + result.len() as u64 > bound {
            let Some(oldest) = self.results.iter().min_by_key(|(_, (_, last))| *last).map(|(key, _)| *key) else {
                break;
            };
            self.drop_result(&oldest);
        }
        self.drop_result(&key);
        self.bytes += result.len() as u64;
        self.results.insert(key, (result.clone(), self.uses));
    }

    fn drop_result(&mut self, key: &Blake3) {
        if let Some((result, _)) = self.results.remove(key) {
            self.bytes -= result.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn results_are_kept_within_the_bound_and_the_least_recently_used_goes_first() {
        let memory = Memory::new(100);
        let key = |seed: u8| Blake3::of(&[seed]);
        let mut made = Vec::new();
        let mut get = |seed: u8, length: usize| {
            let result = memory.get(key(seed), || {
                made.push(seed);
                Ok::<_, Infallible>(vec![seed; length])
            });
            assert_eq!(*result.unwrap(), vec![seed; length]);
        };
        // 1 and 2 fit together; 1 was used last when 3 needs room; 4 is larger than the bound and is never kept.
        for (seed, length) in [(1, 40), (2, 60), (1, 40), (3, 50), (1, 40), (2, 60), (4, 101), (4, 101)] {
            get(seed, length);
        }
        assert_eq!(made, [1, 2, 3, 2, 4, 4]);
    }
}
