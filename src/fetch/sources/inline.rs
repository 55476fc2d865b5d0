//! Bytes that stand in the release manifest.

use super::{Brought, Cost, Filling, Need, SegmentSource, Totals};
use crate::{
    fetch::FetchError,
    manifest::release::SegmentContent,
    store::{StoreError, segments},
};

/// Segments, by their place in the list, whose bytes the manifest carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inline {
    /// The segments.
    pub segments: Vec<usize>,
    bytes: u64,
}

impl SegmentSource for Inline {
    fn cost(need: &Need<'_>) -> Option<Cost> {
        matches!(need.segment.content, SegmentContent::Data(_)).then_some(Cost::FREE)
    }

    fn take(&mut self, need: &Need<'_>) {
        self.segments.push(need.index);
        self.bytes += need.range.length();
    }

    fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    fn delivers(&self) -> u64 {
        self.bytes
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.inline = totals.inline.saturating_add(self.bytes);
    }

    async fn bring(&self, filling: &Filling<'_>) -> Result<Brought, FetchError> {
        let segments = self.segments.clone();
        let write = move |work: super::super::download::BlockingFilling| {
            for segment in segments.iter().map(|index| &work.blob().segments[*index]) {
                // The length was checked when the plan was made.
                work.partial.write_at(segment.offset, &segments::inline_bytes(segment).unwrap_or_default())?;
            }
            Ok::<_, StoreError>(())
        };
        filling.blocking(write).await??;
        Ok(Brought::default())
    }
}
