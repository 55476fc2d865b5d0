//! Which release: one that a lock pins, from whoever has those bytes; else the highest that will do, of the first source that answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use semver::{Version, VersionReq};

use crate::{
    base::{Digest, PackageName, RemoteUrl},
    fetch::FetchError,
    manifest::{choose_version, release::Release},
    remote::Remote,
    store::Store,
    workflow::{Context, Error, ErrorKind},
};

/// A release that was chosen.
#[derive(Debug, Clone)]
pub(in crate::workflow) struct Found {
    /// The sha256 of its manifest.
    pub(in crate::workflow) digest: Digest,
    /// Its manifest.
    pub(in crate::workflow) bytes: Vec<u8>,
    /// What the manifest says.
    pub(in crate::workflow) release: Arc<Release>,
    /// The index of the source that has just named it; none where the store did.
    pub(in crate::workflow) named_by: Option<usize>,
}

/// Looks for releases of a package in the store and in its sources, in their order.
#[derive(Debug)]
pub(in crate::workflow) struct Finder<'a> {
    context: &'a Context,
    package: &'a PackageName,
    sources: &'a [RemoteUrl],
    opened: Mutex<BTreeMap<usize, Arc<dyn Remote>>>,
}

impl<'a> Finder<'a> {
    /// With no `sources` the store alone is asked.
    pub(in crate::workflow) fn new(context: &'a Context, package: &'a PackageName, sources: &'a [RemoteUrl]) -> Self {
        Self { context, package, sources, opened: Mutex::default() }
    }

    pub(super) fn sources(&self) -> &'a [RemoteUrl] {
        self.sources
    }

    fn store(&self) -> &Store {
        self.context.store()
    }

    /// Opens a source at its first use.
    pub(super) fn remote(&self, index: usize) -> Result<Arc<dyn Remote>, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remote) = opened.get(&index) {
            return Ok(remote.clone());
        }
        let remote = self.context.remote(&self.sources[index])?;
        opened.insert(index, remote.clone());
        Ok(remote)
    }

    /// Tries the sources in order until one succeeds. Only what another source may do better is tried again.
    pub(super) fn first<T>(&self, try_one: impl Fn(usize) -> Result<T, Error>) -> Result<T, Error> {
        let mut failures: Vec<(String, Error)> = Vec::new();
        for index in 0..self.sources.len() {
            match try_one(index) {
                Err(error) if may_be_better_elsewhere(&error) => failures.push((self.sources[index].to_string(), error)),
                other => return other,
            }
        }
        Err(match failures.len() {
            1 => failures.remove(0).1,
            _ => Error::Sources { package: self.package.clone(), failures },
        })
    }

    /// The release that is pinned: from the store, else from the first source that has exactly those bytes.
    pub(in crate::workflow) fn pinned(&self, version: &Version, digest: Digest) -> Result<Found, Error> {
        // A damaged record is no reason to fail while there is a source.
        let here = self.store().release(self.package, version);
        let here = if self.sources.is_empty() { here? } else { here.ok().flatten() };
        if let Some((_, bytes)) = here.filter(|(found, _)| *found == digest) {
            return self.found(version, digest, bytes, None);
        }
        if self.sources.is_empty() {
            let (package, version) = (self.package.clone(), Box::new(version.clone()));
            return Err(FetchError::NoRelease { package, version, release: digest }.into());
        }
        self.first(|index| {
            let remote = self.remote(index)?;
            let bytes = self.context.block_on(remote.release(self.package, version, &digest))??;
            self.found(version, digest, bytes, Some(index))
        })
    }

    /// The highest release of the store that will do.
    pub(in crate::workflow) fn in_store(&self, requirement: &VersionReq) -> Result<Found, Error> {
        let store = self.store();
        let origin = store.home().display().to_string();
        let versions = store.releases(self.package)?;
        let version = self.choose_version(versions, requirement, &origin)?;
        let (digest, bytes) = store.release(self.package, &version)?.ok_or_else(|| self.no_package(&origin))?;
        self.found(&version, digest, bytes, None)
    }

    /// The highest release that will do, of the first source that answers; `standing` where that source still has it.
    pub(in crate::workflow) fn highest(&self, requirement: &VersionReq, standing: Option<(&Version, Digest)>) -> Result<Found, Error> {
        if self.sources.is_empty() {
            return self.in_store(requirement);
        }
        self.first(|index| self.context.block_on(self.ask(index, requirement, standing))?)
    }

    async fn ask(&self, index: usize, requirement: &VersionReq, standing: Option<(&Version, Digest)>) -> Result<Found, Error> {
        let remote = self.remote(index)?;
        let url = remote.url().to_string();
        let versions = remote.index(self.package).await?.ok_or_else(|| self.no_package(&url))?.versions;
        let stands = |(version, digest): &(&Version, Digest)| versions.get(*version).is_some_and(|entry| entry.release == *digest);
        let version = match standing.filter(stands) {
            Some((version, _)) => version.clone(),
            None => self.choose_version(versions.keys().cloned().collect(), requirement, &url)?,
        };
        let digest = versions[&version].release;
        // What is here need not be asked for.
        let here = self.store().release(self.package, &version).ok().flatten().filter(|(found, _)| *found == digest);
        let bytes = match here {
            Some((_, bytes)) => bytes,
            None => remote.release(self.package, &version, &digest).await?,
        };
        self.found(&version, digest, bytes, Some(index))
    }

    fn no_package(&self, origin: impl ToString) -> FetchError {
        FetchError::NoPackage { package: self.package.clone(), origin: origin.to_string() }
    }

    fn choose_version(&self, versions: Vec<Version>, requirement: &VersionReq, origin: &str) -> Result<Version, FetchError> {
        if versions.is_empty() {
            return Err(self.no_package(origin));
        }
        choose_version(&versions, requirement).cloned().ok_or_else(|| FetchError::NoVersion {
            package: self.package.clone(),
            requirement: requirement.clone(),
            origin: origin.to_owned(),
            versions,
        })
    }

    /// Reads a manifest whose digest was checked.
    pub(super) fn found(&self, version: &Version, digest: Digest, bytes: Vec<u8>, named_by: Option<usize>) -> Result<Found, Error> {
        let expected = format!("{}@{version}", self.package);
        let release = Release::parse(&bytes).map_err(|source| FetchError::Release { release: expected.clone(), source })?;
        let found = format!("{}@{}", release.package, release.version);
        if found != expected {
            let origin = named_by.map_or_else(|| self.store().home().display().to_string(), |index| self.sources[index].to_string());
            return Err(FetchError::WrongRelease { origin, expected, found }.into());
        }
        Ok(Found { digest, bytes, release: Arc::new(release), named_by })
    }
}

/// Whether a mirror may have what this source has not, has wrongly, or does not give.
fn may_be_better_elsewhere(error: &Error) -> bool {
    match error {
        Error::Remote(_) => true,
        Error::Fetch(FetchError::NoPackage { .. } | FetchError::NoVersion { .. } | FetchError::Remote(_)) => true,
        Error::Fetch(error) => !matches!(error, FetchError::Store(_)) && ErrorKind::of_fetch(error) != ErrorKind::Input,
        _ => false,
    }
}
