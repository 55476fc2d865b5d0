//! Counts n-grams, and what two texts have in common.

use std::{collections::HashMap, hash::Hash};

/// Number of occurrences of each n-gram.
#[derive(Debug)]
pub(super) struct Counts<K>(HashMap<K, u64>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> FromIterator<K> for Counts<K> {
    fn from_iter<I: IntoIterator<Item = K>>(items: I) -> Self {
        let mut counts = HashMap::new();
        for item in items {
            *counts.entry(item).or_default() += 1;
        }
        Self(counts)
    }
}

impl<K: Hash + Eq> Counts<K> {
    /// Number of n-grams, repeated ones included.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Number of n-grams in both texts; each counts as often as in the text that has fewer of it.
    pub(super) fn shared(&self, other: &Self) -> u64 {
        self.0.iter().filter_map(|(item, count)| Some(*other.0.get(item)?.min(count))).sum()
    }

    /// Raises each count to that of another text, where that is larger.
    pub(super) fn raise_to(&mut self, other: Self) {
        for (item, count) in other.0 {
            let own = self.0.entry(item).or_default();
            *own = count.max(*own);
        }
    }
}
