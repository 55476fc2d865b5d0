//! In which order variants were last used: placed, pinned or unpinned. A running number, no clock, so that order is all
//! there is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, VariantKey, lock, record};
use crate::base::Digest;

/// When variants were last used, counted in uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uses {
    next: u64,
    releases: BTreeMap<Digest, BTreeMap<String, u64>>,
}

impl Uses {
    /// The number of the last use; 0: never.
    pub(super) fn last(&self, release: &Digest, variant: &str) -> u64 {
        self.releases.get(release).and_then(|variants| variants.get(variant)).copied().unwrap_or(0)
    }

    fn note(&mut self, used: &BTreeSet<VariantKey>) {
        self.next += 1;
        for VariantKey { release, variant } in used {
            self.releases.entry(*release).or_default().insert(variant.clone(), self.next);
        }
    }
}

impl Store {
    /// Notes that variants were used, all at the same time.
    ///
    /// # Errors
    /// `DamagedRecord`, or what the file system says.
    pub fn note_use(&self, used: &BTreeSet<VariantKey>) -> Result<(), StoreError> {
        let _guard = self.writing()?;
        self.change_uses(|uses| uses.note(used))
    }

    pub(super) fn uses(&self) -> Result<Uses, StoreError> {
        Ok(record::read(&self.layout().uses())?.unwrap_or_default())
    }

    /// Forgets releases that are gone, for those who hold the store's lock.
    pub(super) fn retain_uses(&self, kept: &BTreeSet<Digest>) -> Result<(), StoreError> {
        if self.uses()?.releases.keys().all(|release| kept.contains(release)) {
            return Ok(());
        }
        self.change_uses(|uses| uses.releases.retain(|release, _| kept.contains(release)))
    }

    fn change_uses(&self, change: impl FnOnce(&mut Uses)) -> Result<(), StoreError> {
        let _lock = lock::exclusive(&self.layout().uses_lock())?;
        let mut uses = self.uses()?;
        change(&mut uses);
        record::write(&self.layout().uses(), &uses)
    }
}
