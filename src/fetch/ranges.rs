//! From missing bytes to few requests: neighbours merge, small gaps are read along, long runs are cut so that they load
//! in parallel.
//!
//! Pure. Bytes that are read along are thrown away by whoever receives them; only what is `wanted` may be written.

use serde::Serialize;

use crate::base::ByteRange;

/// The longest range that one request asks for.
pub const LONGEST_REQUEST: u64 = 16 << 20;
/// The longest gap that is read along.
pub const LONGEST_GAP: u64 = 4 << 10;
/// All gaps together are at most this part of the bytes that are wanted.
pub const OVERHEAD_DIVISOR: u64 = 100;

/// One request, and which of its bytes are of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// What is asked for.
    pub range: ByteRange,
    /// What is missing of it, in order; never empty.
    pub wanted: Vec<ByteRange>,
}

/// The parts of `wanted` that are not `present`. Both are in order and without overlap.
pub fn subtract(wanted: &[ByteRange], present: &[ByteRange]) -> Vec<ByteRange> {
    let mut missing = Vec::new();
    let mut present = present.iter().peekable();
    for range in wanted {
        let mut start = range.offset();
        while let Some(next) = present.peek().filter(|next| next.offset() < range.end()) {
            missing.extend(between(start, next.offset()));
            start = start.max(next.end());
            if next.end() > range.end() {
                break;
            }
            present.next();
        }
        missing.extend(between(start, range.end()));
    }
    missing
}

/// Few requests for the bytes in `missing`, which are in order and without overlap. Long runs are cut at one of `cuts`
/// (in order) where there is one, so that what is checked together comes together.
pub fn requests(missing: &[ByteRange], cuts: &[u64]) -> Vec<Request> {
    let pieces: Vec<_> = merge_neighbours(missing).iter().flat_map(|run| split(*run, cuts)).collect();
    join_over_gaps(pieces)
}

/// All requests as one: for servers that send whole files anyway.
pub fn as_one(requests: Vec<Request>) -> Vec<Request> {
    let range =
        requests.first().zip(requests.last()).and_then(|(first, last)| between(first.range.offset(), last.range.end()));
    let wanted = requests.into_iter().flat_map(|request| request.wanted).collect();
    range.map(|range| Request { range, wanted }).into_iter().collect()
}

/// What is left of the requests when everything before `position` has come.
pub fn beyond(requests: Vec<Request>, position: u64) -> Vec<Request> {
    let left = |range: &ByteRange| between(range.offset().max(position), range.end());
    let cut = |request: Request| {
        let wanted: Vec<_> = request.wanted.iter().filter_map(left).collect();
        let range = between(wanted.first()?.offset(), request.range.end())?;
        Some(Request { range, wanted })
    };
    requests.into_iter().filter_map(cut).collect()
}

fn between(start: u64, end: u64) -> Option<ByteRange> {
    ByteRange::new(start, end.checked_sub(start)?)
}

fn merge_neighbours(ranges: &[ByteRange]) -> Vec<ByteRange> {
    let mut merged: Vec<ByteRange> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| last.end() == range.offset()) {
            Some(last) => *last = between(last.offset(), range.end()).unwrap_or(*last),
            None => merged.push(*range),
        }
    }
    merged
}

/// Cuts a run into pieces of at most [`LONGEST_REQUEST`].
fn split(run: ByteRange, cuts: &[u64]) -> Vec<ByteRange> {
    let mut pieces = Vec::new();
    let mut start = run.offset();
    while run.end() - start > LONGEST_REQUEST {
        let furthest = start + LONGEST_REQUEST;
        let cut = cuts[..cuts.partition_point(|cut| *cut <= furthest)].last().filter(|cut| **cut > start);
        let end = cut.copied().unwrap_or(furthest);
        pieces.extend(between(start, end));
        start = end;
    }
    pieces.extend(between(start, run.end()));
    pieces
}

/// Reads along the smallest gaps first, as long as all of them together stay small.
fn join_over_gaps(pieces: Vec<ByteRange>) -> Vec<Request> {
    let mut gaps: Vec<(u64, usize)> = pieces
        .windows(2)
        .enumerate()
        .map(|(index, pair)| (pair[1].offset() - pair[0].end(), index + 1))
        .filter(|(gap, _)| (1..=LONGEST_GAP).contains(gap))
        .collect();
    gaps.sort_unstable();
    let mut budget = pieces.iter().map(ByteRange::length).sum::<u64>() / OVERHEAD_DIVISOR;
    let mut joined = vec![false; pieces.len()];
    for (gap, index) in gaps {
        if gap > budget {
            break;
        }
        budget -= gap;
        joined[index] = true;
    }
    let mut requests: Vec<Request> = Vec::new();
    for (piece, joined) in pieces.into_iter().zip(joined) {
        let fits = |request: &&mut Request| joined && piece.end() - request.range.offset() <= LONGEST_REQUEST;
        match requests.last_mut().filter(fits) {
            Some(request) => {
                request.range = between(request.range.offset(), piece.end()).unwrap_or(request.range);
                request.wanted.push(piece);
            }
            None => requests.push(Request { range: piece, wanted: vec![piece] }),
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange::new(offset, length).unwrap()
    }

    fn total(ranges: &[ByteRange]) -> u64 {
        ranges.iter().map(ByteRange::length).sum()
    }

    #[test]
    fn tensors_between_small_records_are_one_request() {
        let missing: Vec<_> = (0..20).map(|index| range(64 + index * 100_064, 100_000)).collect();
        let requests = requests(&missing, &[]);
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].range, range(64, 20 * 100_064 - 64));
        assert_eq!(requests[0].wanted, missing);
    }

    #[test]
    fn gaps_that_cost_more_than_a_percent_stay_gaps() {
        let far = [range(0, 1000), range(1011, 1000)];
        assert_eq!(requests(&far, &[]).len(), 1, "11 bytes are within a percent of 2000");
        let far = [range(0, 1000), range(1021, 1000)];
        assert_eq!(requests(&far, &[]).len(), 2, "21 bytes are more than a percent of 2000");
        let far = [range(0, 10 << 20), range((10 << 20) + LONGEST_GAP + 1, 1)];
        assert_eq!(requests(&far, &[]).len(), 2, "the gap is longer than any that is read along");
    }

    #[test]
    fn what_has_come_is_not_asked_for_again() {
        let all = vec![
            Request { range: range(0, 10), wanted: vec![range(0, 10)] },
            Request { range: range(10, 30), wanted: vec![range(10, 10), range(25, 15)] },
            Request { range: range(50, 5), wanted: vec![range(50, 5)] },
        ];
        assert_eq!(beyond(all.clone(), 0), all);
        assert_eq!(beyond(all.clone(), 10), all[1..]);
        let cut = |offset: u64, wanted: Vec<ByteRange>| {
            vec![Request { range: range(offset, 40 - offset), wanted }, all[2].clone()]
        };
        assert_eq!(beyond(all.clone(), 12), cut(12, vec![range(12, 8), range(25, 15)]));
        assert_eq!(beyond(all.clone(), 22), cut(25, vec![range(25, 15)]));
        assert_eq!(beyond(all.clone(), 39), cut(39, vec![range(39, 1)]));
        assert_eq!(beyond(all, 55), []);
    }

    #[test]
    fn long_runs_are_cut_where_segments_start() {
        let cuts: Vec<_> = (0..20).map(|index| index * (3 << 20)).collect();
        let found: Vec<_> =
            requests(&[range(0, 60 << 20)], &cuts).iter().map(|request| request.range.length() >> 20).collect();
        assert_eq!(found, [15, 15, 15, 15]);
        let found: Vec<_> =
            requests(&[range(0, 40 << 20)], &[]).iter().map(|request| request.range.length() >> 20).collect();
        assert_eq!(found, [16, 16, 8]);
    }

    /// Ranges in order, from gaps and lengths.
    fn laid_out(steps: &[(u64, u64)]) -> Vec<ByteRange> {
        let mut at = 0;
        let mut ranges = Vec::new();
        for (gap, length) in steps {
            ranges.push(range(at + gap, *length));
            at += gap + length;
        }
        ranges
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let length = prop_oneof![1_u64..100, 1_u64..1 << 16, 1_u64..1 << 26];
        prop::collection::vec((prop_oneof![Just(0), 1_u64..200, 1_u64..1 << 20], length), 0..20)
    }

    proptest! {
        #[test]
        fn requests_cover_exactly_what_is_missing(steps in steps(), cuts in prop::collection::btree_set(0_u64..1 << 27, 0..50)) {
            let missing = laid_out(&steps);
            let cuts: Vec<_> = cuts.into_iter().collect();
            let requests = requests(&missing, &cuts);
            let wanted: Vec<_> = requests.iter().flat_map(|request| request.wanted.clone()).collect();
            prop_assert_eq!(merge_neighbours(&wanted), merge_neighbours(&missing), "nothing twice, nothing left out");
            for request in &requests {
                prop_assert!(request.range.length() <= LONGEST_REQUEST);
                prop_assert_eq!(request.range.offset(), request.wanted[0].offset());
                prop_assert_eq!(request.range.end(), request.wanted[request.wanted.len() - 1].end());
            }
            for pair in requests.windows(2) {
                prop_assert!(pair[0].range.end() <= pair[1].range.offset(), "requests overlap");
            }
            let asked: u64 = requests.iter().map(|request| request.range.length()).sum();
            prop_assert!(asked - total(&missing) <= total(&missing) / OVERHEAD_DIVISOR, "{asked}");
            let one = as_one(requests);
            prop_assert!(one.len() <= 1);
            prop_assert_eq!(one.iter().flat_map(|request| request.wanted.clone()).collect::<Vec<_>>(), wanted);
        }

        #[test]
        fn subtracting_is_as_with_sets(wanted in prop::collection::vec((0_u64..8, 1_u64..8), 0..12), present in prop::collection::vec((0_u64..8, 1_u64..12), 0..12)) {
            let (wanted, present) = (laid_out(&wanted), laid_out(&present));
            let mut model = vec![false; 400];
            for (ranges, value) in [(&wanted, true), (&present, false)] {
                for range in ranges {
                    model[range.offset() as usize..range.end() as usize].fill(value);
                }
            }
            let mut found = vec![false; 400];
            for range in subtract(&wanted, &present) {
                let part = &mut found[range.offset() as usize..range.end() as usize];
                prop_assert!(!part.contains(&true), "{range:?} twice");
                part.fill(true);
            }
            prop_assert_eq!(found, model);
        }
    }
}
