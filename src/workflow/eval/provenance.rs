//! What was judged and with which program: what a reader needs to do it again.

use serde::Serialize;

use crate::{
    base::{Digest, PackageName},
    workflow::{Context, bundles::BundleSubject, publish},
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
}

impl Provenance {
    /// Of these subjects; folders, and what the store does not have, are no releases.
    pub(super) fn of<'s>(context: &Context, subjects: impl IntoIterator<Item = &'s BundleSubject>) -> Self {
        let mut releases = Vec::new();
        for subject in subjects {
            let BundleSubject::Package(request) = subject else { continue };
            let Ok((bytes, release)) = publish::find(context, request) else { continue };
            let judged = JudgedRelease { package: release.package, version: release.version, digest: Digest::of(&bytes) };
            if !releases.contains(&judged) {
                releases.push(judged);
            }
        }
        Self { mlreg: env!("CARGO_PKG_VERSION"), releases }
    }
}
