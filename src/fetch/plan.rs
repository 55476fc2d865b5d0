//! What a fetch would do, as a value: which blobs are here, and for each that is not, which bytes stand in the
//! manifest, lie in other blobs of this machine, or have to be asked for. Facts in, plan out; nothing here touches disk
//! or network.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{
    FetchError,
    sources::{Failed, Need, Sources},
};
use crate::{
    base::{Blake3, ByteRange, Digest, limits},
    manifest::release::{Blob, Release, Segment, SegmentContent, Variant},
    store::{Location, segments},
};

/// What is known about this machine.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The blobs that are here.
    pub present: BTreeSet<Digest>,
    /// What has arrived of the others, in order.
    pub partial: BTreeMap<Digest, Vec<ByteRange>>,
    /// Where segments lie in blobs that are here.
    pub local: HashMap<Blake3, Location>,
}

/// What a release says of blobs that are missing, before anything is planned for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Their bytes together; at most `u64::MAX`.
    pub bytes: u64,
    /// The largest of them, and its length.
    pub largest: (Digest, u64),
}

impl Claim {
    /// The claim of some blobs and their lengths; `None` for no blob.
    pub fn of(blobs: impl IntoIterator<Item = (Digest, u64)>) -> Option<Self> {
        blobs.into_iter().fold(None, |claim: Option<Self>, (digest, size)| {
            let before = claim.unwrap_or(Self { bytes: 0, largest: (digest, size) });
            let largest = if size > before.largest.1 { (digest, size) } else { before.largest };
            Some(Self { bytes: before.bytes.saturating_add(size), largest })
        })
    }
}

/// What is done about every blob that is wanted. A blob that several variants want is in it once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FetchPlan {
    /// By address.
    pub blobs: BTreeMap<Digest, BlobPlan>,
    /// Blobs that are not here, in the order in which they are begun: a blob takes segments from those before it alone,
    /// so that no two blobs can wait for each other.
    order: Vec<Digest>,
}

/// What is done about one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobPlan {
    /// It is here.
    Present {
        /// Its length.
        size: u64,
    },
    /// It is put together.
    Missing(BlobWork),
}

/// How a blob is put together from what is here and what has to be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlobWork {
    /// Ranges that arrived earlier, in order: what the work was planned for.
    arrived: Vec<ByteRange>,
    /// Bytes of them that stay.
    pub kept: u64,
    /// What every source has to bring.
    pub sources: Sources,
}

/// Sums over a plan, in bytes where nothing else is said. What is kept, reused, inline and wanted adds up to the length
/// of all blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Number of blobs.
    pub blobs: u64,
    /// Here already, as blobs or as parts of them.
    pub present: u64,
    /// Copied from other blobs.
    pub reused: u64,
    /// Taken from the manifest.
    pub inline: u64,
    /// Missing, so that it has to be asked for.
    pub wanted: u64,
    /// Asked for: `wanted` and small gaps that are read along.
    pub download: u64,
    /// Number of requests.
    pub requests: u64,
}

impl FetchPlan {
    /// The plan for some blobs of a release.
    ///
    /// # Errors
    /// `UnlistedBlob` or `Segments` where the manifest contradicts itself; `TooMuch` where its requests would not fit
    /// in memory.
    pub fn new(release: &Release, blobs: impl IntoIterator<Item = Digest>, facts: &Facts) -> Result<Self, FetchError> {
        let mut local = facts.local.clone();
        let mut plan = Self::default();
        let blobs: BTreeSet<Digest> = blobs.into_iter().collect();
        let sizes = blobs.iter().filter_map(|digest| Some((*digest, release.blobs.get(digest)?.size)));
        let claim = Claim::of(sizes.filter(|(digest, _)| !facts.present.contains(digest)));
        if let Some(Claim { bytes: needs, largest: (blob, size) }) =
            claim.filter(|claim| claim.bytes > limits::PLAN_BYTES)
        {
            return Err(FetchError::TooMuch { needs, blob, size });
        }
        for digest in blobs {
            let blob = release.blobs.get(&digest).ok_or(FetchError::UnlistedBlob { blob: digest })?;
            segments::check(blob).map_err(|source| FetchError::Segments { blob: digest, source })?;
            if facts.present.contains(&digest) {
                plan.blobs.insert(digest, BlobPlan::Present { size: blob.size });
                continue;
            }
            let arrived = facts.partial.get(&digest).map_or(&[][..], Vec::as_slice);
            plan.blobs.insert(digest, BlobPlan::Missing(BlobWork::new(blob, arrived, &local, &Failed::new())));
            plan.order.push(digest);
            for (key, range) in blob.segments.iter().filter_map(keyed) {
                local.entry(key).or_insert(Location { digest, range });
            }
        }
        Ok(plan)
    }

    /// The blobs that are not here, in the order in which they are begun.
    pub fn missing(&self) -> impl Iterator<Item = (&Digest, &BlobWork)> {
        self.order.iter().filter_map(|digest| match self.blobs.get(digest) {
            Some(BlobPlan::Missing(work)) => Some((digest, work)),
            _ => None,
        })
    }

    /// Where segments lie that the blob may copy, as far as the plan copies any of them: in blobs that are here, or are
    /// begun before it.
    pub(super) fn local(&self, blob: &Digest, release: &Release) -> HashMap<Blake3, Location> {
        let own = self.order.iter().position(|digest| digest == blob).unwrap_or(self.order.len());
        let later: BTreeSet<&Digest> = self.order[own..].iter().collect();
        let copies =
            self.missing().flat_map(|(digest, work)| work.sources.local.copies.iter().map(move |copy| (digest, copy)));
        let located = copies.filter(|(_, (_, place))| !later.contains(&place.digest));
        located
            .filter_map(|(digest, (index, place))| {
                Some((keyed(release.blobs.get(digest)?.segments.get(*index)?)?.0, *place))
            })
            .collect()
    }

    /// Sums over all blobs.
    pub fn totals(&self) -> Totals {
        self.totals_of(self.blobs.keys().copied())
    }

    /// What a variant needs of this plan, as if it were alone.
    pub fn totals_of_variant(&self, variant: &Variant) -> Totals {
        self.totals_of(variant.files.iter().map(|file| file.sha256))
    }

    fn totals_of(&self, blobs: impl IntoIterator<Item = Digest>) -> Totals {
        let blobs: BTreeSet<_> = blobs.into_iter().collect();
        blobs
            .iter()
            .filter_map(|digest| self.blobs.get(digest))
            .fold(Totals::default(), |totals, plan| totals.and(plan))
    }
}

impl Totals {
    fn and(mut self, plan: &BlobPlan) -> Self {
        self.blobs += 1;
        match plan {
            BlobPlan::Present { size } => self.present = self.present.saturating_add(*size),
            BlobPlan::Missing(work) => {
                self.present = self.present.saturating_add(work.kept);
                work.sources.add_to(&mut self);
            }
        }
        self
    }
}

/// Bytes of some ranges.
pub(super) fn sum<'a>(ranges: impl Iterator<Item = &'a ByteRange>) -> u64 {
    ranges.map(ByteRange::length).fold(0, u64::saturating_add)
}

/// The range of a segment.
pub(super) fn range_of(segment: &Segment) -> Option<ByteRange> {
    ByteRange::new(segment.offset, segment.length)
}

fn keyed(segment: &Segment) -> Option<(Blake3, ByteRange)> {
    match &segment.content {
        SegmentContent::Blake3(key) => Some((*key, range_of(segment)?)),
        SegmentContent::Data(_) => None,
    }
}

impl BlobWork {
    /// What is left to do for a blob of which some ranges (in order) have arrived: every segment that is not complete
    /// comes from the source that is cheapest and has not failed. `local` says where segments lie in blobs that are here, or are finished
    /// before this one.
    pub(super) fn new(blob: &Blob, arrived: &[ByteRange], local: &HashMap<Blake3, Location>, failed: &Failed) -> Self {
        let mut work = Self { arrived: arrived.to_vec(), ..Self::default() };
        if let (true, Some(all)) = (blob.segments.is_empty(), ByteRange::new(0, blob.size)) {
            work.sources.remote.take_range(all, arrived);
        }
        let mut reached = 0;
        for (index, segment) in blob.segments.iter().enumerate() {
            let Some(range) = range_of(segment) else { continue };
            reached += arrived[reached..].iter().take_while(|known| known.end() <= range.offset()).count();
            let arrived = &arrived[reached..];
            if !arrived.first().is_some_and(|known| known.contains(&range)) {
                work.sources.take(&Need { index, segment, range, arrived, local }, failed);
            }
        }
        work.sources.complete(blob);
        work.kept = blob.size.saturating_sub(work.sources.delivers());
        work
    }

    /// Whether it was planned for these ranges.
    pub(super) fn is_for(&self, arrived: &[ByteRange]) -> bool {
        self.arrived == arrived
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{fetch::ranges::Request, store::segments::inline_bytes};

    fn key(seed: u64) -> Blake3 {
        Blake3::of(&seed.to_le_bytes())
    }

    fn digest(seed: u64) -> Digest {
        Digest::of(&seed.to_le_bytes())
    }

    /// A blob of segments with the given lengths and keys; no key: the bytes stand in the manifest.
    fn blob(parts: &[(u64, Option<u64>)]) -> Blob {
        let mut offset = 0;
        let mut segments = Vec::new();
        for (length, seed) in parts {
            let content = match seed {
                Some(seed) => SegmentContent::Blake3(key(*seed)),
                None => SegmentContent::Data(base64(*length as usize)),
            };
            segments.push(Segment { offset, length: *length, content, tensor: None });
            offset += length;
        }
        Blob { size: offset, blake3: Some(key(99)), segments }
    }

    fn base64(length: usize) -> String {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(vec![0; length])
    }

    fn release(blobs: &[(u64, Blob)]) -> Release {
        let empty = serde_json::json!({ "schema": "mlreg/release/1", "package": "p", "version": "1.0.0", "variants": [], "blobs": {} });
        let mut release: Release = serde_json::from_value(empty).unwrap();
        release.blobs = blobs.iter().map(|(seed, blob)| (digest(*seed), blob.clone())).collect();
        release
    }

    fn plan(blobs: &[(u64, Blob)], facts: &Facts) -> FetchPlan {
        let release = release(blobs);
        FetchPlan::new(&release, release.blobs.keys().copied(), facts).unwrap()
    }

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange::new(offset, length).unwrap()
    }

    #[test]
    fn only_what_is_nowhere_else_is_asked_for() {
        let one = blob(&[(64, None), (1000, Some(1)), (64, None), (5000, Some(2)), (3000, Some(3))]);
        let place = Location { digest: digest(7), range: range(10, 1000) };
        let facts = Facts {
            local: [(key(1), place)].into(),
            partial: [(digest(1), vec![range(1128, 2000), range(6128, 3000)])].into(),
            ..Facts::default()
        };
        let plan = plan(&[(1, one)], &facts);
        let (_, work) = plan.missing().next().unwrap();
        assert_eq!(work.sources.inline.segments, [0, 2]);
        assert_eq!(work.sources.local.copies, [(1, place)]);
        assert_eq!(
            work.sources.remote.requests,
            [Request { range: range(3128, 3000), wanted: vec![range(3128, 3000)] }]
        );
        let totals =
            Totals { blobs: 1, present: 5000, reused: 1000, inline: 128, wanted: 3000, download: 3000, requests: 1 };
        assert_eq!(plan.totals(), totals);
    }

    #[test]
    fn a_segment_of_two_missing_blobs_is_asked_for_once() {
        let plan = plan(
            &[(1, blob(&[(100, Some(1)), (50, Some(2))])), (2, blob(&[(70, Some(3)), (100, Some(1))]))],
            &Facts::default(),
        );
        assert_eq!(plan.totals().wanted, 220);
        assert_eq!(plan.totals().reused, 100);
        let sources: Vec<_> = plan
            .missing()
            .flat_map(|(digest, work)| work.sources.local.copies.iter().map(move |(_, from)| (digest, from)))
            .collect();
        assert!(sources.iter().all(|(digest, from)| from.digest < **digest), "a blob takes from one before it");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mut broken = blob(&[(100, Some(1))]);
        broken.size = 101;
        let release = release(&[(1, broken)]);
        let error = FetchPlan::new(&release, [digest(1)], &Facts::default()).unwrap_err();
        assert!(matches!(error, FetchError::Segments { .. }), "{error}");
        let error = FetchPlan::new(&release, [digest(2)], &Facts::default()).unwrap_err();
        assert!(matches!(error, FetchError::UnlistedBlob { .. }), "{error}");
    }

    #[test]
    fn more_than_any_machine_holds_is_not_planned() {
        let size = limits::BLOB_BYTES;
        let huge = release(&[(1, Blob::of_size(size)), (2, Blob::of_size(1))]);
        let error = FetchPlan::new(&huge, [digest(1), digest(2)], &Facts::default()).unwrap_err();
        assert!(
            matches!(error, FetchError::TooMuch { needs, blob, .. } if needs == size + 1 && blob == digest(1)),
            "{error}"
        );
        let facts = Facts { present: [digest(1)].into(), ..Facts::default() };
        assert!(FetchPlan::new(&huge, [digest(1), digest(2)], &facts).is_ok(), "what is here costs nothing");
        let many = release(&(0..9).map(|seed| (seed, Blob::of_size(1 << 40))).collect::<Vec<_>>());
        let error = FetchPlan::new(&many, many.blobs.keys().copied(), &Facts::default()).unwrap_err();
        assert!(matches!(error, FetchError::TooMuch { .. }), "{error}");
        assert_eq!(Claim::of([(digest(1), u64::MAX), (digest(2), u64::MAX)]).unwrap().bytes, u64::MAX);
    }

    proptest! {
        #[test]
        fn every_byte_has_exactly_one_source(
            parts in prop::collection::vec((1_u64..5000, prop::option::of(0_u64..6)), 0..12),
            arrived in prop::collection::vec((1_u64..3000, 1_u64..3000), 0..8),
            known in prop::collection::btree_set(0_u64..6, 0..4),
        ) {
            let blob = blob(&parts);
            let mut at = 0;
            let mut present = Vec::new();
            for (gap, length) in arrived {
                at += gap + length;
                if at <= blob.size {
                    present.push(range(at - length, length));
                }
            }
            // A segment has one length: the first with its key.
            let local: HashMap<_, _> = known.iter().filter_map(|seed| {
                let length = parts.iter().find(|(_, found)| *found == Some(*seed))?.0;
                Some((key(*seed), Location { digest: digest(8), range: range(0, length) }))
            }).collect();
            let work = BlobWork::new(&blob, &present, &local, &Failed::new());
            let mut sources = vec![0; blob.size as usize];
            let mut mark = |range: ByteRange| sources[range.offset() as usize..range.end() as usize].iter_mut().for_each(|count| *count += 1);
            for (index, location) in &work.sources.local.copies {
                prop_assert_eq!(blob.segments[*index].length, location.range.length());
                mark(range_of(&blob.segments[*index]).unwrap());
            }
            for index in &work.sources.inline.segments {
                prop_assert!(inline_bytes(&blob.segments[*index]).is_some());
                mark(range_of(&blob.segments[*index]).unwrap());
            }
            work.sources.remote.requests.iter().flat_map(|request| &request.wanted).for_each(|range| mark(*range));
            let here = |position: u64| present.iter().any(|range| (range.offset()..range.end()).contains(&position));
            for (position, count) in sources.iter().enumerate() {
                prop_assert!(*count == 1 || (*count == 0 && here(position as u64)), "byte {position} has {count} \
                     sources");
            }
            let plan = FetchPlan { blobs: [(digest(1), BlobPlan::Missing(work))].into(), order: vec![digest(1)] };
            let totals = plan.totals();
            prop_assert_eq!(totals.present + totals.reused + totals.inline + totals.wanted, blob.size);
        }
    }
}
