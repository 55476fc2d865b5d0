//! What every tag and delivery category of a release would cost on this machine, as if it were fetched alone.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    base::{Tag, Target},
    fetch::{Facts, FetchError, FetchPlan},
    manifest::{
        Selection,
        release::{Delivery, Release},
        select,
    },
};

/// A tag, or a delivery category, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagCost {
    /// The tag; none: what the category has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The category; none: what the tag has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// Number of variants for the floor.
    pub variants: u64,
    /// Bytes of their files, each content once.
    pub bytes: u64,
    /// Bytes that would have to be received.
    pub download_bytes: u64,
}

/// The costs of every category, then of every tag. What has no bundle for the floor is left out.
pub(super) fn tag_costs(release: &Release, floor: Option<Target>, facts: &Facts) -> Result<Vec<TagCost>, FetchError> {
    let deliveries: BTreeSet<Delivery> = release.variants.iter().map(|variant| variant.delivery).collect();
    let tags: BTreeSet<&Tag> = release.variants.iter().flat_map(|variant| &variant.tags).collect();
    let of_deliveries = deliveries.into_iter().map(|delivery| (None, Some(delivery)));
    let wanted = of_deliveries.chain(tags.into_iter().map(|tag| (Some(tag.clone()), None)));
    wanted.filter_map(|(tag, delivery)| cost(release, floor, facts, tag, delivery).transpose()).collect()
}

fn cost(
    release: &Release,
    floor: Option<Target>,
    facts: &Facts,
    tag: Option<Tag>,
    delivery: Option<Delivery>,
) -> Result<Option<TagCost>, FetchError> {
    let (tags, deliveries) = (tag.iter().cloned().collect(), delivery.into_iter().collect());
    let Ok(chosen) = select(release, &Selection { tags, deliveries, floor, ..Selection::default() }) else {
        return Ok(None);
    };
    let blobs: BTreeSet<_> = chosen.iter().flat_map(|chosen| &chosen.variant.files).map(|file| file.sha256).collect();
    let bytes =
        blobs.iter().filter_map(|digest| release.blobs.get(digest)).map(|blob| blob.size).fold(0, u64::saturating_add);
    let download_bytes = FetchPlan::new(release, blobs, facts)?.totals().download;
    Ok(Some(TagCost { tag, delivery, variants: chosen.len() as u64, bytes, download_bytes }))
}
