//! How often things occur, and how much of that two texts share.

use std::{collections::HashMap, hash::Hash};

/// How often each n-gram occurs.
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
    /// How many there are, repeated ones included.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How many there are on both sides, each as often as on the side that has fewer.
    pub(super) fn shared(&self, other: &Self) -> u64 {
        self.0.iter().filter_map(|(item, count)| Some(*other.0.get(item)?.min(count))).sum()
    }

    /// Raises every count to what another text has.
    pub(super) fn raise_to(&mut self, other: Self) {
        for (item, count) in other.0 {
            let own = self.0.entry(item).or_default();
            *own = count.max(*own);
        }
    }
}
