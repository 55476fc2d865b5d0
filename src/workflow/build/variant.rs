//! Variants whose files are in the store.

use std::collections::{BTreeMap, BTreeSet};

use super::{shelf::Shelf, weights::StoredWeights};
use crate::{
    base::Digest,
    contract::Interface,
    emit::{BundleFile, FileSource},
    manifest::{
        VariantPlan,
        release::{Blob, Delivery, FileEntry, Other, Variant},
    },
    store::StoreError,
    workflow::inspect::DraftWarning,
};

/// A variant whose files are in the store.
pub(super) struct BuiltVariant {
    pub(super) variant: Variant,
    pub(super) blobs: BTreeMap<Digest, Blob>,
    pub(super) warnings: Vec<DraftWarning>,
}

impl BuiltVariant {
    /// A variant without files; delivery and tags are assigned later.
    pub(super) fn new(plan: &VariantPlan, interface: Option<Interface>) -> Self {
        let variant = Variant {
            id: plan.id.clone(),
            name: plan.name.clone(),
            component: plan.component.clone(),
            target: plan.target,
            kind: plan.kind,
            axes: plan.axes_map(),
            tags: BTreeSet::new(),
            delivery: Delivery::default(),
            interface,
            compiled: None,
            files: Vec::new(),
            folders: Vec::new(),
            other: Other::default(),
        };
        Self { variant, blobs: BTreeMap::new(), warnings: Vec::new() }
    }

    /// Stores the files of a bundle; its weight files are stored already.
    pub(super) fn of_files(
        shelf: &Shelf<'_>,
        plan: &VariantPlan,
        files: Vec<BundleFile>,
        weights: &StoredWeights,
    ) -> Result<Self, StoreError> {
        let mut built = Self::new(plan, None);
        for (path, source) in files {
            let stored = match source {
                FileSource::Bytes(bytes) => shelf.bytes(&bytes)?,
                FileSource::WeightFile(name) => weights[&name].clone(),
            };
            built.variant.files.push(FileEntry {
                path,
                sha256: stored.digest,
                size: stored.blob.size,
                executable: false,
            });
            built.blobs.insert(stored.digest, stored.blob);
        }
        Ok(built)
    }
}
