//! The indexes that a remote has read, so that `resolve` after `versions` needs no request. Versions are immutable, so
//! an entry stays right.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use semver::Version;

use super::{IndexEntry, PackageIndex};
use crate::base::PackageName;

/// The last index of each package.
#[derive(Debug, Default)]
pub(super) struct ReadIndexes(Mutex<HashMap<PackageName, PackageIndex>>);

impl ReadIndexes {
    fn indexes(&self) -> MutexGuard<'_, HashMap<PackageName, PackageIndex>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an index and returns its versions.
    pub(super) fn keep(&self, index: PackageIndex) -> BTreeSet<Version> {
        let versions = index.versions.keys().cloned().collect();
        self.indexes().insert(index.package.clone(), index);
        versions
    }

    /// The entry of a version that was read before.
    pub(super) fn entry(&self, package: &PackageName, version: &Version) -> Option<IndexEntry> {
        self.indexes().get(package)?.versions.get(version).copied()
    }
}
