//! What goes when the store is larger than its budget: of the variants that nobody holds, the one of the lowest
//! priority goes first, among equals the one that was used least recently. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::pins::Priority;
use crate::base::Digest;

/// A variant that has bytes in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit<K> {
    pub(super) key: K,
    /// Whether somebody holds it: then it stays.
    pub(super) is_held: bool,
    pub(super) priority: Priority,
    /// When it was last used.
    pub(super) used: u64,
    /// What of it is in the store.
    pub(super) blobs: BTreeSet<Digest>,
}

/// The units that go, in order, until the blobs that anything still needs (`base` among them) fit the budget. Equal
/// ones go by key.
pub(super) fn evict<K: Ord + Clone>(
    units: &[Unit<K>],
    base: &BTreeSet<Digest>,
    sizes: &HashMap<Digest, u64>,
    budget: u64,
) -> Vec<K> {
    let size = |digest: &Digest| sizes.get(digest).copied().unwrap_or(0);
    let mut wanted: BTreeMap<Digest, u64> = base.iter().map(|digest| (*digest, 1)).collect();
    units.iter().flat_map(|unit| &unit.blobs).for_each(|digest| *wanted.entry(*digest).or_default() += 1);
    let mut total: u64 = wanted.keys().map(size).fold(0, u64::saturating_add);
    let mut loose: Vec<&Unit<K>> = units.iter().filter(|unit| !unit.is_held).collect();
    loose.sort_by(|left, right| (left.priority, left.used, &left.key).cmp(&(right.priority, right.used, &right.key)));
    let mut evicted = Vec::new();
    for unit in loose {
        if total <= budget {
            break;
        }
        for digest in &unit.blobs {
            let count = wanted.entry(*digest).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                total = total.saturating_sub(size(digest));
            }
        }
        evicted.push(unit.key.clone());
    }
    evicted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(key: u8, is_held: bool, priority: f64, used: u64, blobs: &[u8]) -> Unit<u8> {
        let blobs = blobs.iter().map(|blob| Digest::of(&[*blob])).collect();
        Unit { key, is_held, priority: Priority::new(priority).unwrap(), used, blobs }
    }

    fn go(units: &[Unit<u8>], budget: u64) -> Vec<u8> {
        let sizes = units.iter().flat_map(|unit| &unit.blobs).map(|blob| (*blob, 10)).collect();
        evict(units, &BTreeSet::new(), &sizes, budget)
    }

    #[test]
    fn lowest_priority_then_least_recently_used() {
        let units = [
            unit(1, false, 0.5, 9, &[1]),
            unit(2, false, 0.5, 3, &[2]),
            unit(3, false, 0.1, 8, &[3]),
            unit(4, true, 0.0, 0, &[4]),
        ];
        assert_eq!(go(&units, 40), [0; 0]);
        assert_eq!(go(&units, 39), [3]);
        assert_eq!(go(&units, 20), [3, 2]);
        assert_eq!(go(&units, 0), [3, 2, 1], "what is held stays over any budget");
    }

    #[test]
    fn shared_bytes_go_with_the_last_who_has_them() {
        let units = [unit(1, false, 0.5, 1, &[1, 9]), unit(2, false, 0.5, 2, &[2, 9]), unit(3, true, 0.5, 0, &[3])];
        assert_eq!(go(&units, 30), [1]);
        assert_eq!(go(&units, 29), [1, 2]);
    }
}
