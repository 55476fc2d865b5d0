//! Segments: ranges of a blob that are addressed by themselves, so that a fetch can check and reuse parts of a file.
//!
//! How bytes are cut is part of the release's identity: the constants here never change for a schema version. Chunks
//! follow FastCDC 2020 (normalization level 1, no seed); weight files are cut where their tensors lie.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use fastcdc::v2020::FastCDC;
use rayon::prelude::*;

use crate::{
    base::{Blake3, ByteRange},
    manifest::release::{Blob, Segment, SegmentContent, TensorLabel},
};

/// Shortest, average and longest content-defined chunk.
const CHUNK: (usize, usize, usize) = (64 << 10, 256 << 10, 1 << 20);
/// Blobs shorter than this get no content-defined chunks.
const CHUNKED_FROM: u64 = 256 << 10;
/// Tensors and the bytes between them are split at multiples of this, counted from where they start.
const PART: u64 = 4 << 20;
/// Bytes between tensors stand in the manifest up to this length.
const INLINE: u64 = 1024;
/// The longest segment that is accepted from anybody: a reader holds one in memory while it checks it.
pub const LONGEST: u64 = 64 << 20;

/// How the bytes of a blob are cut into segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segmentation {
    /// No segments: the blob is fetched whole.
    Whole,
    /// Chunks whose boundaries follow the content; blobs under 256 KiB get none.
    ContentDefined,
    /// The data ranges of a weight file's tensors, in order and without overlap; the bytes between them become
    /// segments, too.
    Cuts(Vec<Cut>),
}

/// The data of one tensor in a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where it lies.
    pub range: ByteRange,
    /// What it is.
    pub label: Option<TensorLabel>,
}

/// Segments that do not fit their blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// A segment that does not start where the one before it ended.
    #[error("segment {index} starts at {found}; expected {expected}")]
    Gap {
        /// Its place in the list.
        index: usize,
        /// End of the segment before it.
        expected: u64,
        /// Its offset.
        found: u64,
    },
    /// A length that no segment may have.
    #[error("segment {index} has {length} bytes; expected 1 to {LONGEST}")]
    Length {
        /// Its place in the list.
        index: usize,
        /// Its length.
        length: u64,
    },
    /// Inline bytes that are not what the length says.
    #[error("the inline bytes of segment {index} are wrong: expected {expected} bytes in base64, found {}", found.map_or("no base64".to_owned(), |n| n.to_string()))]
    Data {
        /// Its place in the list.
        index: usize,
        /// The segment's length.
        expected: u64,
        /// Number of bytes that decode, if they do.
        found: Option<usize>,
    },
    /// Segments that cover more or less than the blob.
    #[error("the segments cover {found} bytes; expected {expected}")]
    Coverage {
        /// The blob's size.
        expected: u64,
        /// End of the last segment.
        found: u64,
    },
    /// A cut that starts before the one before it ends.
    #[error("cut {index} starts at {found}, before the end {expected} of the one before it")]
    CutOrder {
        /// Its place in the list.
        index: usize,
        /// End of the cut before it.
        expected: u64,
        /// Its offset.
        found: u64,
    },
    /// A cut that reaches beyond the last byte.
    #[error("a cut ends at {end}, outside the {size} bytes that were written")]
    CutOutside {
        /// End of the cut.
        end: u64,
        /// Number of bytes.
        size: u64,
    },
}

/// Checks that the segments of a blob, if it has any, are consecutive, cover every byte exactly, and that inline bytes
/// have their length.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(blob: &Blob) -> Result<(), SegmentError> {
    let mut end = 0_u64;
    for (index, segment) in blob.segments.iter().enumerate() {
        if segment.offset != end {
            return Err(SegmentError::Gap { index, expected: end, found: segment.offset });
        }
        if !(1..=LONGEST).contains(&segment.length) {
            return Err(SegmentError::Length { index, length: segment.length });
        }
        check_data(index, segment)?;
        end = end.saturating_add(segment.length);
    }
    let covered = blob.segments.is_empty() || end == blob.size;
    if covered { Ok(()) } else { Err(SegmentError::Coverage { expected: blob.size, found: end }) }
}

fn check_data(index: usize, segment: &Segment) -> Result<(), SegmentError> {
    let SegmentContent::Data(_) = segment.content else { return Ok(()) };
    let found = inline_bytes(segment).map(|bytes| bytes.len());
    let fits = found.is_some_and(|length| length as u64 == segment.length);
    if fits { Ok(()) } else { Err(SegmentError::Data { index, expected: segment.length, found }) }
}

/// The bytes that stand in the manifest itself, where the segment has such.
pub fn inline_bytes(segment: &Segment) -> Option<Vec<u8>> {
    match &segment.content {
        SegmentContent::Data(text) => BASE64.decode(text).ok(),
        SegmentContent::Blake3(_) => None,
    }
}

/// Whether `bytes` are the segment's.
pub fn matches(segment: &Segment, bytes: &[u8]) -> bool {
    segment.length == bytes.len() as u64
        && match &segment.content {
            SegmentContent::Blake3(expected) => Blake3::of(bytes) == *expected,
            SegmentContent::Data(_) => inline_bytes(segment).is_some_and(|inline| inline == bytes),
        }
}

/// A length of bytes that becomes one segment.
struct Part {
    length: usize,
    label: Option<TensorLabel>,
    inline: bool,
}

/// Cuts a stream of bytes as it passes; holds at most one unfinished part.
#[derive(Debug)]
pub(super) struct Segmenter {
    splitter: Splitter,
    pending: Vec<u8>,
    /// Where `pending` starts.
    offset: u64,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Splitter {
    Whole,
    Chunks,
    Cuts(CutSplitter),
}

impl Segmenter {
    pub(super) fn new(segmentation: Segmentation) -> Result<Self, SegmentError> {
        let splitter = match segmentation {
            Segmentation::Whole => Splitter::Whole,
            Segmentation::ContentDefined => Splitter::Chunks,
            Segmentation::Cuts(cuts) => Splitter::Cuts(CutSplitter::new(cuts)?),
        };
        Ok(Self { splitter, pending: Vec::new(), offset: 0, segments: Vec::new() })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if matches!(self.splitter, Splitter::Whole) {
            self.offset += bytes.len() as u64;
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.advance(false);
    }

    /// The segments of everything that passed.
    pub(super) fn finish(mut self) -> Result<Vec<Segment>, SegmentError> {
        self.advance(true);
        match &self.splitter {
            Splitter::Cuts(cuts) => cuts.check_end(self.offset)?,
            Splitter::Chunks if self.offset < CHUNKED_FROM => self.segments.clear(),
            _ => {}
        }
        Ok(self.segments)
    }

    fn advance(&mut self, last: bool) {
        let parts = match &mut self.splitter {
            Splitter::Whole => return,
            Splitter::Chunks => chunks(&self.pending, last),
            Splitter::Cuts(cuts) => cuts.split(self.offset, self.pending.len() as u64, last),
        };
        let lengths = parts.iter().map(|part| part.length);
        let starts: Vec<usize> = lengths.scan(0, |end, length| Some(std::mem::replace(end, *end + length))).collect();
        let used: usize = parts.iter().map(|part| part.length).sum();
        let (pending, offset) = (&self.pending, self.offset);
        let segment =
            |(part, start): (Part, usize)| part.segment(offset + start as u64, &pending[start..start + part.length]);
        let segments: Vec<_> = parts.into_par_iter().zip(starts).map(segment).collect();
        self.segments.extend(segments);
        self.pending.drain(..used);
        self.offset += used as u64;
    }
}

impl Part {
    fn segment(&self, offset: u64, bytes: &[u8]) -> Segment {
        let content = if self.inline {
            SegmentContent::Data(BASE64.encode(bytes))
        } else {
            SegmentContent::Blake3(Blake3::of(bytes))
        };
        Segment { offset, length: bytes.len() as u64, content, tensor: self.label.clone() }
    }
}

/// The chunks at the start of `bytes` whose ends do not depend on what follows.
fn chunks(bytes: &[u8], last: bool) -> Vec<Part> {
    let (shortest, average, longest) = CHUNK;
    let chunker = FastCDC::new(bytes, shortest, average, longest);
    let settled = chunker.take_while(|chunk| last || bytes.len() - chunk.offset >= longest);
    settled.map(|chunk| Part { length: chunk.length, label: None, inline: false }).collect()
}

/// Tensors and the gaps between them, in order; the gap after the last tensor has no known end.
#[derive(Debug)]
struct CutSplitter {
    cuts: Vec<Cut>,
    /// The first cut that has not ended.
    next: usize,
}

impl CutSplitter {
    fn new(cuts: Vec<Cut>) -> Result<Self, SegmentError> {
        for (index, pair) in cuts.windows(2).enumerate() {
            let (expected, found) = (pair[0].range.end(), pair[1].range.offset());
            if found < expected {
                return Err(SegmentError::CutOrder { index: index + 1, expected, found });
            }
        }
        Ok(Self { cuts, next: 0 })
    }

    fn check_end(&self, size: u64) -> Result<(), SegmentError> {
        match self.cuts.last() {
            Some(cut) if cut.range.end() > size => Err(SegmentError::CutOutside { end: cut.range.end(), size }),
            _ => Ok(()),
        }
    }

    /// The parts that are complete in the `available` bytes from `position` on; with `last`, the rest too.
    fn split(&mut self, mut position: u64, available: u64, last: bool) -> Vec<Part> {
        let end = position + available;
        let mut parts = Vec::new();
        while position < end {
            let (region, label) = self.region(position);
            let region_end = region.1.unwrap_or(u64::MAX);
            let length = PART.min(region_end - position);
            let complete = length <= end - position;
            if !complete && !last {
                break;
            }
            let length = length.min(end - position);
            let whole_gap =
                position == region.0 && (position + length == region_end || last && position + length == end);
            let inline = label.is_none() && whole_gap && length <= INLINE;
            parts.push(Part { length: length as usize, label: label.flatten(), inline });
            position += length;
        }
        parts
    }

    /// Start and end of the tensor or gap that `position` is in; a label (or none) for tensors.
    fn region(&mut self, position: u64) -> ((u64, Option<u64>), Option<Option<TensorLabel>>) {
        while self.cuts.get(self.next).is_some_and(|cut| cut.range.end() <= position) {
            self.next += 1;
        }
        let before = self.next.checked_sub(1).map_or(0, |index| self.cuts[index].range.end());
        match self.cuts.get(self.next) {
            Some(cut) if cut.range.offset() <= position => {
                ((cut.range.offset(), Some(cut.range.end())), Some(cut.label.clone()))
            }
            Some(cut) => ((before, Some(cut.range.offset())), None),
            None => ((before, None), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::noise;

    fn segment(bytes: &[u8], segmentation: Segmentation, piece: usize) -> Result<Blob, SegmentError> {
        let mut segmenter = Segmenter::new(segmentation)?;
        bytes.chunks(piece).for_each(|piece| segmenter.update(piece));
        let blob = Blob { size: bytes.len() as u64, blake3: Some(Blake3::of(bytes)), segments: segmenter.finish()? };
        check(&blob).expect("what is made here is valid");
        for segment in &blob.segments {
            assert!(matches(segment, &bytes[segment.offset as usize..(segment.offset + segment.length) as usize]));
        }
        Ok(blob)
    }

    fn cut(offset: u64, length: u64) -> Cut {
        let label = TensorLabel { name: format!("t{offset}"), dtype: "float16".to_owned(), shape: vec![length / 2] };
        Cut { range: ByteRange::new(offset, length).unwrap(), label: Some(label) }
    }

    #[test]
    fn chunks_do_not_depend_on_how_bytes_arrive() {
        let bytes = noise(1, 3_000_000);
        let whole = segment(&bytes, Segmentation::ContentDefined, bytes.len()).unwrap();
        for piece in [50_000, 1 << 20, 2_999_999] {
            assert_eq!(segment(&bytes, Segmentation::ContentDefined, piece).unwrap(), whole, "pieces of {piece}");
        }
        let lengths = whole.segments.iter().map(|segment| segment.length as usize);
        assert!(lengths.clone().all(|length| length <= CHUNK.2));
        assert!(lengths.rev().skip(1).all(|length| length >= CHUNK.0));
    }

    /// Another release of the chunker must not change the identity of releases.
    #[test]
    fn chunk_boundaries_are_pinned() {
        let blob = segment(&noise(7, 1_500_000), Segmentation::ContentDefined, 1 << 20).unwrap();
        let offsets: Vec<u64> = blob.segments.iter().map(|segment| segment.offset).collect();
        assert_eq!(offsets, [0, 474365, 612048, 789170, 958607, 1307403]);
    }

    #[test]
    fn an_insertion_moves_few_chunks() {
        let before = noise(2, 8 << 20);
        let mut after = before.clone();
        after.splice(1_000_000..1_000_000, *b"seventeen letters");
        let keys = |bytes: &[u8]| -> HashSet<String> {
            let blob = segment(bytes, Segmentation::ContentDefined, 1 << 20).unwrap();
            blob.segments.iter().map(|segment| format!("{:?}", segment.content)).collect()
        };
        let (old, new) = (keys(&before), keys(&after));
        assert!(old.len() > 15, "{} chunks", old.len());
        assert!(new.difference(&old).count() <= 3, "{} of {} chunks are new", new.difference(&old).count(), new.len());
    }

    #[test]
    fn short_blobs_get_no_chunks() {
        assert!(
            segment(&noise(3, (256 << 10) - 1), Segmentation::ContentDefined, 1 << 16).unwrap().segments.is_empty()
        );
        assert!(!segment(&noise(3, 256 << 10), Segmentation::ContentDefined, 1 << 16).unwrap().segments.is_empty());
        assert!(segment(&[], Segmentation::Cuts(Vec::new()), 1).unwrap().segments.is_empty());
    }

    #[test]
    fn tensors_are_split_and_short_gaps_are_inline() {
        let part = PART as usize;
        let bytes = noise(4, 64 + 2 * part + 100 + 1024 + 50 + 1025 + 10 + 5);
        let first = cut(64, 2 * PART + 100);
        let second = cut(first.range.end() + 1024, 50);
        let third = cut(second.range.end() + 1025, 10);
        let blob = segment(&bytes, Segmentation::Cuts(vec![first, second, third]), 1 << 20).unwrap();
        let shape: Vec<_> = blob
            .segments
            .iter()
            .map(|it| {
                (
                    it.length,
                    it.tensor.as_ref().map(|label| label.name.as_str()),
                    matches!(it.content, SegmentContent::Data(_)),
                )
            })
            .collect();
        let names: Vec<_> = ["t64", "t8389796", "t8390871"].into_iter().map(Some).collect();
        let expected = [
            (64, None, true),
            (PART, names[0], false),
            (PART, names[0], false),
            (100, names[0], false),
            (1024, None, true),
            (50, names[1], false),
            (1025, None, false),
            (10, names[2], false),
            (5, None, true),
        ];
        assert_eq!(shape, expected);
    }

    #[test]
    fn cuts_that_do_not_fit_are_refused() {
        let overlapping = segment(&noise(5, 100), Segmentation::Cuts(vec![cut(0, 20), cut(19, 2)]), 10);
        assert_eq!(overlapping, Err(SegmentError::CutOrder { index: 1, expected: 20, found: 19 }));
        let outside = segment(&noise(5, 100), Segmentation::Cuts(vec![cut(50, 51)]), 10);
        assert_eq!(outside, Err(SegmentError::CutOutside { end: 101, size: 100 }));
    }

    #[test]
    fn strangers_segments_are_checked() {
        let bytes = noise(6, 2000);
        let good = segment(&bytes, Segmentation::Cuts(vec![cut(100, 900)]), 2000).unwrap();
        let broken = |change: &dyn Fn(&mut Blob)| {
            let mut blob = good.clone();
            change(&mut blob);
            check(&blob).unwrap_err()
        };
        assert_eq!(broken(&|it| it.segments[1].offset = 99), SegmentError::Gap { index: 1, expected: 100, found: 99 });
        assert_eq!(broken(&|it| it.segments[1].length = 0), SegmentError::Length { index: 1, length: 0 });
        assert_eq!(broken(&|it| it.segments[2].length = u64::MAX), SegmentError::Length { index: 2, length: u64::MAX });
        assert_eq!(broken(&|it| it.size = 2001), SegmentError::Coverage { expected: 2001, found: 2000 });
        let data = |text: &str| SegmentContent::Data(text.to_owned());
        assert_eq!(
            broken(&|it| it.segments[0].content = data("AAAA")),
            SegmentError::Data { index: 0, expected: 100, found: Some(3) }
        );
        assert_eq!(
            broken(&|it| it.segments[0].content = data("*")),
            SegmentError::Data { index: 0, expected: 100, found: None }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cuts_cover_every_byte_once(steps in prop::collection::vec((0_u64..3000, 1_u64..5000), 0..8), tail in 0_usize..2000, piece in 1_usize..9000) {
            let (mut cuts, mut end) = (Vec::new(), 0);
            for (gap, length) in steps {
                cuts.push(cut(end + gap, length));
                end += gap + length;
            }
            let bytes = noise(8, end as usize + tail);
            let blob = segment(&bytes, Segmentation::Cuts(cuts.clone()), piece).unwrap();
            prop_assert_eq!(&blob, &segment(&bytes, Segmentation::Cuts(cuts.clone()), bytes.len().max(1)).unwrap());
            let labelled: Vec<_> = blob.segments.iter().filter(|it| it.tensor.is_some()).map(|it| (it.offset, it.length)).collect();
            let expected: Vec<_> = cuts.iter().map(|it| (it.range.offset(), it.range.length())).collect();
            prop_assert_eq!(labelled, expected);
        }
    }
}
