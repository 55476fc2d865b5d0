//! Where a release lies in a repository, and the documents that say so.
//!
//! ```text
//! <package>/<variant>.mlpackage/...          bundles of the newest release, complete
//! mlreg/<package>/<version>.json             release manifest (immutable)
//! mlreg/<package>/<version>.<kind>.json      side document, e.g. `locations`: where the blobs lie, if not as above
//! mlreg/<package>/<version>.<kind>/<name>    the same, of a kind that a release has several of
//! mlreg/<package>/index.json                 versions
//! tag <package>-v<version>                   the commit that holds the files of that version
//! ```

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    base::{Digest, PackageName, RelativePath},
    manifest::release::Release,
    remote::{DocumentError, DocumentKey, DocumentKind, INDEX_SCHEMA, IndexEntry, PackageIndex, documents},
};

/// The folder of mlreg's documents.
pub(super) const FOLDER: &str = "mlreg";
/// The `schema` field of a release's locations.
const LOCATIONS_SCHEMA: &str = "mlreg/locations/1";

pub(super) fn manifest(package: &PackageName, version: &Version) -> String {
    format!("{FOLDER}/{package}/{version}.json")
}

pub(super) fn index(package: &PackageName) -> String {
    format!("{FOLDER}/{package}/index.json")
}

pub(super) fn locations(package: &PackageName, version: &Version) -> String {
    document_path(package, version, DocumentKind::Locations, None)
}

/// The path of a side document: beside the release manifest.
pub(super) fn document(key: &DocumentKey) -> String {
    document_path(&key.release().package, &key.release().version, key.kind(), key.name())
}

fn document_path(package: &PackageName, version: &Version, kind: DocumentKind, name: Option<&str>) -> String {
    let start = format!("{FOLDER}/{package}/{version}.{}", kind.name());
    name.map_or_else(|| format!("{start}.json"), |name| format!("{start}/{name}"))
}

/// The tag of a version.
pub(super) fn tag(package: &PackageName, version: &Version) -> String {
    format!("{package}-v{version}")
}

/// One place for every blob.
pub(super) fn one_of_each(places: &BTreeMap<RelativePath, Digest>) -> BTreeMap<Digest, RelativePath> {
    let mut blobs = BTreeMap::new();
    for (path, digest) in places {
        blobs.entry(*digest).or_insert_with(|| path.clone());
    }
    blobs
}

/// The versions of a package in a repository: a [`PackageIndex`] that also knows where files lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HubIndex {
    /// The version whose files the branch holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<Version>,
    pub(super) package: PackageName,
    pub(super) schema: String,
    pub(super) versions: BTreeMap<Version, HubEntry>,
}

/// A version in a [`HubIndex`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HubEntry {
    /// The sha256 of its locations, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) locations: Option<Digest>,
    #[serde(flatten)]
    pub(super) entry: IndexEntry,
}

/// Where the blobs of a release lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Locations {
    pub(super) blobs: BTreeMap<Digest, RelativePath>,
    /// Every file of the release, blobs and others.
    pub(super) files: BTreeSet<RelativePath>,
    pub(super) package: PackageName,
    pub(super) schema: String,
    pub(super) version: Version,
}

impl HubIndex {
    pub(super) fn empty(package: PackageName) -> Self {
        Self { current: None, package, schema: INDEX_SCHEMA.to_owned(), versions: BTreeMap::new() }
    }

    pub(super) fn parse(bytes: &[u8], package: &PackageName) -> Result<Self, DocumentError> {
        documents::parse_index(bytes, package)?;
        documents::parse(bytes, INDEX_SCHEMA)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        documents::to_bytes(self)
    }

    /// What every remote says of a package: the versions that `is_visible`.
    pub(super) fn visible(&self, is_visible: impl Fn(&Version) -> bool) -> PackageIndex {
        let versions = self.versions.iter().filter(|(version, _)| is_visible(version));
        PackageIndex {
            package: self.package.clone(),
            schema: self.schema.clone(),
            versions: versions.map(|(version, known)| (version.clone(), known.entry)).collect(),
        }
    }
}

impl Locations {
    pub(super) fn new(release: &Release, places: &BTreeMap<RelativePath, Digest>, files: BTreeSet<RelativePath>) -> Self {
        Self {
            blobs: one_of_each(places),
            files,
            package: release.package.clone(),
            schema: LOCATIONS_SCHEMA.to_owned(),
            version: release.version.clone(),
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        documents::parse(bytes, LOCATIONS_SCHEMA)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        documents::to_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_one_that_every_reader_knows() {
        let package: PackageName = "tae".parse().unwrap();
        let mut index = HubIndex::empty(package.clone());
        let entry = HubEntry { locations: Some(Digest::of(b"l")), entry: IndexEntry { release: Digest::of(b"r"), size: 7 } };
        index.versions.insert(Version::new(1, 0, 0), entry);
        index.current = Some(Version::new(1, 0, 0));
        let bytes = index.to_bytes();
        assert_eq!(HubIndex::parse(&bytes, &package).unwrap(), index);
        assert_eq!(documents::parse_index(&bytes, &package).unwrap(), index.visible(|_| true));
        assert!(index.visible(|_| false).versions.is_empty());
    }
}
