//! Segments that lie in other blobs of this machine, or in blobs that the plan finishes before.

use std::collections::BTreeSet;

use super::{Brought, Cost, Filling, Need, SegmentSource, Totals};
use crate::{
    base::Digest,
    fetch::{
        FetchError,
        download::{BlockingFilling, key_of},
        plan::sum,
    },
    manifest::release::SegmentContent,
    store::{Location, StoreError},
};

/// Segments, by their place in the list, and where they lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// The segments and their locations.
    pub copies: Vec<(usize, Location)>,
}

fn location(need: &Need<'_>) -> Option<Location> {
    let SegmentContent::Blake3(key) = &need.segment.content else { return None };
    need.local.get(key).filter(|place| place.range.length() == need.range.length()).copied()
}

impl SegmentSource for Local {
    fn cost(need: &Need<'_>) -> Option<Cost> {
        location(need).map(|_| Cost::FREE)
    }

    fn take(&mut self, need: &Need<'_>) {
        self.copies.extend(location(need).map(|place| (need.index, place)));
    }

    fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    fn delivers(&self) -> u64 {
        sum(self.copies.iter().map(|(_, place)| &place.range))
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.reused = totals.reused.saturating_add(self.delivers());
    }

    fn needs(&self) -> BTreeSet<Digest> {
        self.copies.iter().map(|(_, place)| place.digest).collect()
    }

    /// Copies the segments. One whose location does not hold it is reported, so that the next round asks another source.
    async fn bring(&self, filling: &Filling<'_>) -> Result<Brought, FetchError> {
        let copies = self.copies.clone();
        let brought = filling.blocking(move |work| copy(&work, &copies)).await??;
        filling.reused(brought.reused);
        Ok(brought)
    }
}

fn copy(work: &BlockingFilling, copies: &[(usize, Location)]) -> Result<Brought, StoreError> {
    let mut brought = Brought::default();
    for (index, place) in copies {
        let segment = &work.blob().segments[*index];
        let Some(key) = key_of(segment) else { continue };
        match work.partial.copy_from(place, segment.offset, &key) {
            Ok(()) => brought.reused += segment.length,
            Err(StoreError::StaleLocation { .. } | StoreError::MissingBlob { .. } | StoreError::OutOfBounds { .. }) => {
                brought.unfit.push(*index);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(brought)
}
