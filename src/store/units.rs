//! Fetched releases as `gc` sees them: variants, their tags and blobs, and who holds them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use semver::Version;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    Pins, StoreError, VariantKey,
    error::RecordDamage,
    evict::Unit,
    gc::{Evicted, Roots},
    uses::Uses,
};
use crate::base::{Digest, PackageName, Tag};

/// A fetched release, as far as `gc` has to know it.
pub(super) struct Fetched {
    pub(super) package: PackageName,
    pub(super) version: Version,
    pub(super) digest: Digest,
    pub(super) named: Named,
}

/// What a manifest names; what else it says may be of a newer schema.
#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    variants: Vec<NamedVariant>,
    pub(super) blobs: BTreeMap<Digest, IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct NamedVariant {
    id: String,
    #[serde(default)]
    tags: BTreeSet<Tag>,
    files: Vec<NamedFile>,
}

#[derive(Deserialize)]
pub(super) struct NamedFile {
    sha256: Digest,
}

impl Fetched {
    pub(super) fn entry(&self) -> ((PackageName, Version), Digest) {
        ((self.package.clone(), self.version.clone()), self.digest)
    }

    fn is_held(&self, variant: &NamedVariant, held: &BTreeSet<&VariantKey>) -> bool {
        held.contains(&VariantKey { release: self.digest, variant: variant.id.clone() })
    }
}

impl Named {
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let why = RecordDamage::Form { expected: "a release manifest" };
        serde_json::from_slice(bytes).map_err(|_| StoreError::DamagedRecord { path: path.to_owned(), why })
    }
}

/// The variants of fetched releases that are here, and those that are held: by a pin, or because all of their bytes lie
/// in placed folders.
pub(super) fn units(
    fetched: &[Fetched],
    roots: &Roots,
    pins: &Pins,
    uses: &Uses,
    sizes: &HashMap<Digest, u64>,
) -> Vec<Unit<Evicted>> {
    let held = pins.held();
    let unit = |release: &Fetched, variant: &NamedVariant| {
        let blobs: BTreeSet<Digest> =
            variant.files.iter().map(|file| file.sha256).filter(|digest| sizes.contains_key(digest)).collect();
        let is_placed = roots.whole.contains(&release.digest)
            || (roots.placed.contains(&release.digest)
                && variant.files.iter().all(|file| roots.held.contains(&file.sha256)));
        let is_whole = variant.files.iter().all(|file| sizes.contains_key(&file.sha256));
        let unit = Unit {
            key: Evicted {
                package: release.package.clone(),
                version: release.version.clone(),
                variant: variant.id.clone(),
            },
            is_held: is_placed || release.is_held(variant, &held),
            priority: pins.priority(&release.package, &variant.tags),
            used: uses.last(&release.digest, &variant.id),
            blobs,
        };
        (unit, is_whole)
    };
    let all =
        fetched.iter().flat_map(|release| release.named.variants.iter().map(move |variant| unit(release, variant)));
    all.filter(|(unit, is_whole)| unit.is_held || *is_whole).map(|(unit, _)| unit).collect()
}
