//! Finding the release that a verb is asked for.

use semver::Version;

use super::{Context, Error, PackageRequest};
use crate::{
    base::PackageName,
    manifest::{nearest, release::Release},
    publish::PublishError,
    remote::{IndexEntry, Remote, RemoteError},
};

/// A release of the store.
#[derive(Debug)]
pub(super) struct StoredRelease {
    /// The canonical bytes of its manifest.
    pub(super) manifest: Vec<u8>,
    /// What they say.
    pub(super) release: Release,
}

/// The release of the store with the highest version that matches the request.
///
/// # Errors
/// [`PublishError::NoRelease`], [`PublishError::Release`], and what the store says.
pub(super) fn find(context: &Context, request: &PackageRequest) -> Result<StoredRelease, Error> {
    let store = context.store();
    let versions = store.releases(&request.package)?;
    let known = if versions.is_empty() { store.packages()? } else { Vec::new() };
    let none = || {
        let nearest = nearest(request.package.as_str(), known.iter().map(PackageName::as_str), 1)
            .first()
            .map(|&name| name.to_owned());
        PublishError::NoRelease { package: request.package.clone(), requirement: request.requirement.clone(), nearest }
    };
    let version = request.highest(&versions).ok_or_else(none)?;
    let (_, manifest) = store.release(&request.package, version)?.ok_or_else(none)?;
    let wrong = |source| PublishError::Release { release: format!("{}@{version}", request.package), source };
    let release = Release::parse(&manifest).map_err(wrong)?;
    Ok(StoredRelease { manifest, release })
}

/// Like [`find`], but refuses to choose among several builds of a version that the request names.
///
/// # Errors
/// [`PublishError::SeveralBuilds`], and those of [`find`].
pub(super) fn find_build(context: &Context, request: &PackageRequest) -> Result<StoredRelease, Error> {
    let mut builds = context.store().releases(&request.package)?;
    builds.retain(|version| request.requirement.matches(version));
    if request.requirement.is_exact() && builds.len() > 1 && builds.iter().all(|version| !version.build.is_empty()) {
        let (package, requirement) = (request.package.clone(), request.requirement.clone());
        return Err(PublishError::SeveralBuilds { package, requirement, versions: builds }.into());
    }
    find(context, request)
}

/// The entry of a version that a remote has just listed.
///
/// # Errors
/// [`RemoteError::NotFound`] where it is gone, and what the remote says.
pub(super) async fn resolve(
    remote: &dyn Remote,
    package: &PackageName,
    version: &Version,
) -> Result<IndexEntry, RemoteError> {
    let gone = || RemoteError::NotFound { url: format!("{}: {package}@{version}", remote.url()) };
    remote.resolve(package, version).await?.ok_or_else(gone)
}
