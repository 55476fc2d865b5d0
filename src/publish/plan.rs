//! What publishing would do, as a value: which blobs have to be sent, or that nothing has to be. Pure.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::Serialize;

use crate::{
    base::{Digest, PackageName},
    manifest::release::Release,
};

/// What publishing a release would send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishPlan {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// Length of the release manifest.
    pub release_bytes: u64,
    /// Whether the remote has the version, with this content: then nothing has to be done.
    pub is_there: bool,
    /// The blobs that have to be sent, with their lengths.
    pub missing: BTreeMap<Digest, u64>,
    /// The blobs that the remote has, with their lengths.
    pub present: BTreeMap<Digest, u64>,
}

impl PublishPlan {
    /// The plan for a release of which the remote lacks the blobs `missing`; blobs that the release does not name are
    /// ignored.
    pub fn new(release: &Release, bytes: &[u8], is_there: bool, missing: &[Digest]) -> Self {
        let missing: BTreeSet<_> = missing.iter().filter(|_| !is_there).collect();
        let sizes = release.blobs.iter().map(|(digest, blob)| (*digest, blob.size));
        let (missing, present) = sizes.partition(|(digest, _)| missing.contains(digest));
        Self {
            package: release.package.clone(),
            version: release.version.clone(),
            release: Digest::of(bytes),
            release_bytes: bytes.len() as u64,
            is_there,
            missing,
            present,
        }
    }

    /// Bytes of the blobs that have to be sent.
    pub fn upload_bytes(&self) -> u64 {
        self.missing.values().copied().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let blob = |size: u64| serde_json::json!({ "size": size, "blake3": Digest::of(b"") });
        let blobs =
            serde_json::json!({ Digest::of(b"a").to_string(): blob(10), Digest::of(b"b").to_string(): blob(200) });
        let release = serde_json::json!({ "schema": "mlreg/release/1", "package": "p", "version": "1.0.0", "variants": [], "blobs": blobs });
        serde_json::from_value(release).unwrap()
    }

    #[test]
    fn only_what_is_missing_is_sent() {
        let plan = PublishPlan::new(&release(), b"manifest", false, &[Digest::of(b"b"), Digest::of(b"other")]);
        assert_eq!(plan.missing, [(Digest::of(b"b"), 200)].into());
        assert_eq!(plan.present, [(Digest::of(b"a"), 10)].into());
        assert_eq!((plan.upload_bytes(), plan.release_bytes), (200, 8));
    }

    #[test]
    fn a_version_that_is_there_needs_nothing() {
        let plan = PublishPlan::new(&release(), b"manifest", true, &[Digest::of(b"b")]);
        assert_eq!((plan.upload_bytes(), plan.present.len()), (0, 2));
    }
}
