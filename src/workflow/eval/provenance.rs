//! What was judged and with which program: what a reader needs to do it again.

use serde::Serialize;

use crate::{
    base::{Digest, PackageName},
    fetch::Proof,
    workflow::{
        Context,
        bundles::BundleSubject,
        releases::{self, StoredRelease},
    },
};

/// Where the numbers of a report come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// Version of mlreg.
    pub mlreg: &'static str,
    /// Releases of the store among what was judged and compared with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<JudgedRelease>,
}

/// A release that was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JudgedRelease {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: semver::Version,
    /// sha256 of the release manifest.
    pub digest: Digest,
    /// Whether this is what a placed folder says of itself; its files were not hashed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub placed: bool,
}

impl Provenance {
    /// Of these subjects; bundles that belong to no release are left out.
    pub(super) fn of<'s>(context: &Context, subjects: impl IntoIterator<Item = &'s BundleSubject>) -> Self {
        let mut releases = Vec::new();
        for judged in subjects.into_iter().filter_map(|subject| JudgedRelease::of(context, subject)) {
            if !releases.contains(&judged) {
                releases.push(judged);
            }
        }
        Self { mlreg: env!("CARGO_PKG_VERSION"), releases }
    }
}

impl JudgedRelease {
    fn of(context: &Context, subject: &BundleSubject) -> Option<Self> {
        match subject {
            BundleSubject::Folder(_) => None,
            BundleSubject::Placed(folder) => {
                let proof = Proof::read(&context.directory().join(folder)).ok()??;
                Some(Self { package: proof.package, version: proof.version, digest: proof.release, placed: true })
            }
            BundleSubject::Package(request) => {
                let StoredRelease { manifest: bytes, release } = releases::find(context, request).ok()?;
                Some(Self {
                    package: release.package,
                    version: release.version,
                    digest: Digest::of(&bytes),
                    placed: false,
                })
            }
        }
    }
}
