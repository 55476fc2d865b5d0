//! The derived documents of a registry: the catalogue of packages and a package's index of versions.
//!
//! Both are JSON with sorted keys and a `schema` field that is checked first. They hold no information of their own and
//! can be rebuilt from the release manifests.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::base::{Digest, PackageName, limits};

/// The `schema` field of a catalogue.
pub const CATALOGUE_SCHEMA: &str = "mlreg/catalogue/1";
/// The `schema` field of a package's index.
pub const INDEX_SCHEMA: &str = "mlreg/index/1";

/// Every package of a registry: `mlreg.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The packages by name.
    pub packages: BTreeMap<PackageName, CatalogueEntry>,
    /// Always `mlreg/catalogue/1`.
    pub schema: String,
}

/// A package in a [`Catalogue`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// Its highest version, as [`PackageIndex::latest`] defines it.
    pub latest: Version,
    /// How many versions it has.
    pub versions: u64,
}

/// Every version of a package: `packages/<package>/index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageIndex {
    /// The package.
    pub package: PackageName,
    /// Always `mlreg/index/1`.
    pub schema: String,
    /// Its versions, in semver order.
    pub versions: BTreeMap<Version, IndexEntry>,
}

/// A version in a [`PackageIndex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// The length of the release manifest in bytes; 0 where it is not known yet, as for a collection.
    pub size: u64,
}

impl Catalogue {
    /// A catalogue without packages.
    pub fn empty() -> Self {
        Self { packages: BTreeMap::new(), schema: CATALOGUE_SCHEMA.to_owned() }
    }
}

impl PackageIndex {
    /// An index without versions.
    pub fn empty(package: PackageName) -> Self {
        Self { package, schema: INDEX_SCHEMA.to_owned(), versions: BTreeMap::new() }
    }

    /// The highest version that is not a pre-release, else the highest pre-release.
    pub fn latest(&self) -> Option<&Version> {
        let newest_first = || self.versions.keys().rev();
        newest_first().find(|version| version.pre.is_empty()).or_else(|| newest_first().next())
    }
}

/// Bytes that are not the expected document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of the right form.
    #[error("it is not valid JSON of the schema `{schema}`")]
    Form {
        /// The schema that was expected.
        schema: &'static str,
        /// What the parser says, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// More values than any document has.
    #[error("it has more than {limit} values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Another schema, perhaps of a newer mlreg.
    #[error("its schema is `{found}`, expected `{expected}`")]
    Schema {
        /// The schema that was expected.
        expected: &'static str,
        /// The schema that it has.
        found: String,
    },
    /// The document of another package.
    #[error("it belongs to the package `{found}`, expected `{expected}`")]
    Package {
        /// The package that was asked for.
        expected: PackageName,
        /// The package that it names.
        found: PackageName,
    },
    /// A release of another version than its path says.
    #[error("it belongs to the version `{found}`, expected `{expected}`")]
    Version {
        /// The version that its place says.
        expected: Version,
        /// The version that it names.
        found: Version,
    },
}

impl DocumentError {
    /// Whether the schema is the expected one with a higher number.
    pub fn is_newer(&self) -> bool {
        let Self::Schema { expected, found } = self else { return false };
        let split = |text: &str| {
            text.rsplit_once('/').and_then(|(kind, number)| Some((kind.to_owned(), number.parse::<u32>().ok()?)))
        };
        matches!((split(expected), split(found)), (Some((kind, known)), Some((same, number))) if kind == same && number > known)
    }
}

/// Reads a document after its `schema` field was checked.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], schema: &'static str) -> Result<T, DocumentError> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let form = |source| DocumentError::Form { schema, source };
    if !limits::is_parsable(bytes) {
        return Err(DocumentError::TooMany { limit: limits::DOCUMENT_VALUES });
    }
    let Head { schema: found } = serde_json::from_slice(bytes).map_err(form)?;
    if found != schema {
        return Err(DocumentError::Schema { expected: schema, found: found.chars().take(80).collect() });
    }
    serde_json::from_slice(bytes).map_err(form)
}

pub(super) fn parse_catalogue(bytes: &[u8]) -> Result<Catalogue, DocumentError> {
    parse(bytes, CATALOGUE_SCHEMA)
}

pub(super) fn parse_index(bytes: &[u8], package: &PackageName) -> Result<PackageIndex, DocumentError> {
    let index: PackageIndex = parse(bytes, INDEX_SCHEMA)?;
    if index.package != *package {
        return Err(DocumentError::Package { expected: package.clone(), found: index.package });
    }
    Ok(index)
}

/// The document's bytes: compact JSON, keys sorted.
pub(super) fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    // serde_json's maps are sorted; a `Value` in between sorts the fields of structs too.
    let value = serde_json::to_value(document).expect("maps with text keys and plain fields always convert");
    serde_json::to_vec(&value).expect("a value always prints")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(versions: &[&str]) -> PackageIndex {
        let mut index = PackageIndex::empty("tae".parse().unwrap());
        for version in versions {
            index
                .versions
                .insert(version.parse().unwrap(), IndexEntry { release: Digest::of(version.as_bytes()), size: 7 });
        }
        index
    }

    #[test]
    fn bytes_are_sorted_and_compact() {
        let mut catalogue = Catalogue::empty();
        for name in ["zeta", "alpha"] {
            catalogue
                .packages
                .insert(name.parse().unwrap(), CatalogueEntry { latest: Version::new(1, 0, 0), versions: 3 });
        }
        let expected = r#"{"packages":{"alpha":{"latest":"1.0.0","versions":3},"zeta":{"latest":"1.0.0","versions":3}},"schema":"mlreg/catalogue/1"}"#;
        assert_eq!(String::from_utf8(to_bytes(&catalogue)).unwrap(), expected);
        assert_eq!(parse_catalogue(expected.as_bytes()).unwrap(), catalogue);
    }

    #[test]
    fn versions_are_in_semver_order() {
        let index = index(&["1.10.0", "1.2.0", "2.0.0-rc.1"]);
        let again = parse_index(&to_bytes(&index), &index.package).unwrap();
        let versions: Vec<_> = again.versions.keys().map(Version::to_string).collect();
        assert_eq!(versions, ["1.2.0", "1.10.0", "2.0.0-rc.1"]);
        assert_eq!(again.latest().unwrap().to_string(), "1.10.0");
    }

    #[test]
    fn a_pre_release_is_the_latest_only_among_its_like() {
        assert_eq!(index(&["1.0.0-a", "1.0.0-b"]).latest().unwrap().to_string(), "1.0.0-b");
        assert_eq!(index(&[]).latest(), None);
    }

    #[test]
    fn schemas_are_checked_first() {
        let newer = parse_catalogue(br#"{"schema":"mlreg/catalogue/2","packages":[]}"#).unwrap_err();
        assert!(newer.is_newer());
        assert_eq!(newer.to_string(), "its schema is `mlreg/catalogue/2`, expected `mlreg/catalogue/1`");
        let other = parse_catalogue(br#"{"schema":"mlreg/index/2"}"#).unwrap_err();
        assert!(matches!(other, DocumentError::Schema { .. }) && !other.is_newer());
        assert!(matches!(parse_catalogue(b"{}").unwrap_err(), DocumentError::Form { .. }));
    }

    #[test]
    fn the_index_of_another_package_is_refused() {
        let bytes = to_bytes(&index(&["1.0.0"]));
        let error = parse_index(&bytes, &"other".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "it belongs to the package `tae`, expected `other`");
    }
}
