//! A set of byte positions, kept as ranges that neither overlap nor touch.

use std::collections::BTreeMap;

use crate::base::ByteRange;

/// Start and end of every range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    pub(super) fn insert(&mut self, range: ByteRange) {
        let (mut start, mut end) = (range.offset(), range.end());
        while let Some((&first, &last)) = self.ranges.range(..=end).next_back().filter(|(_, last)| **last >= start) {
            self.ranges.remove(&first);
            (start, end) = (start.min(first), end.max(last));
        }
        self.ranges.insert(start, end);
    }

    pub(super) fn remove(&mut self, range: ByteRange) {
        while let Some((&first, &last)) =
            self.ranges.range(..range.end()).next_back().filter(|(_, last)| **last > range.offset())
        {
            self.ranges.remove(&first);
            if first < range.offset() {
                self.ranges.insert(first, range.offset());
            }
            if last > range.end() {
                self.ranges.insert(range.end(), last);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ByteRange> {
        self.ranges.iter().filter_map(|(&start, &end)| ByteRange::new(start, end - start))
    }

    /// Number of ranges.
    pub(super) fn count(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn total(&self) -> u64 {
        self.iter().map(|range| range.length()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_positions(steps in prop::collection::vec((any::<bool>(), 0_u64..60, 1_u64..20), 0..40)) {
            let (mut set, mut model) = (RangeSet::default(), [false; 80]);
            for (insert, offset, length) in steps {
                let range = ByteRange::new(offset, length).unwrap();
                if insert { set.insert(range) } else { set.remove(range) }
                model[offset as usize..(offset + length) as usize].fill(insert);
            }
            let mut found = [false; 80];
            let mut previous = None;
            for range in set.iter() {
                prop_assert!(previous.is_none_or(|end| end < range.offset()), "ranges touch: {set:?}");
                previous = Some(range.end());
                found[range.offset() as usize..range.end() as usize].fill(true);
            }
            prop_assert_eq!(found, model);
            prop_assert_eq!(set.total(), model.iter().filter(|present| **present).count() as u64);
        }
    }
}
