//! Paths in a registry.
//!
//! ```text
//! mlreg.json                                             catalogue (derived)
//! packages/<package>/index.json                          versions of the package (derived)
//! packages/<package>/<version>.json                      release manifest (immutable)
//! packages/<package>/documents/<release>/<kind>          side document of a release, which <release> names by its sha256
//! packages/<package>/documents/<release>/<kind>/<name>   the same, of a kind that a release has several of
//! blobs/sha256/ab/<hex>                                  bytes of a file (immutable)
//! ```

use semver::Version;

use crate::{
    base::{Digest, PackageName},
    remote::DocumentKey,
};

pub(in crate::remote) const CATALOGUE: &str = "mlreg.json";
pub(super) const PACKAGES: &str = "packages";
pub(super) const BLOBS: &str = "blobs";
pub(super) const INDEX: &str = "index.json";

pub(super) fn index(package: &PackageName) -> String {
    format!("{PACKAGES}/{package}/{INDEX}")
}

pub(super) fn package(package: &PackageName) -> String {
    format!("{PACKAGES}/{package}")
}

/// No version ends in `/documents`, and listings of versions look at `.json` files alone.
pub(super) fn document(key: &DocumentKey) -> String {
    let (release, kind) = (key.release(), key.kind().name());
    let path = format!("{PACKAGES}/{}/documents/{}/{kind}", release.package, release.digest);
    key.name().map_or(path.clone(), |name| format!("{path}/{name}"))
}

pub(super) fn release(package: &PackageName, version: &Version) -> String {
    format!("{PACKAGES}/{package}/{version}.json")
}

pub(super) fn blob(digest: &Digest) -> String {
    let hex = digest.to_string();
    format!("{BLOBS}/sha256/{}/{hex}", &hex[..2])
}

/// The path as it stands in a URL. `+` of build metadata is the only character here that servers read in two ways.
pub(in crate::remote) fn encoded(path: &str) -> String {
    path.replace('+', "%2B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_form_in_urls() {
        let package: PackageName = "tae".parse().unwrap();
        let version: Version = "1.0.0-rc.1+b2".parse().unwrap();
        assert_eq!(release(&package, &version), "packages/tae/1.0.0-rc.1+b2.json");
        assert_eq!(encoded(&release(&package, &version)), "packages/tae/1.0.0-rc.1%2Bb2.json");
        assert_eq!(index(&package), "packages/tae/index.json");
        assert!(blob(&Digest::of(b"")).starts_with("blobs/sha256/e3/e3b0c442"));
    }
}
