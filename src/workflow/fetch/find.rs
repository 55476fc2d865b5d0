//! Which release: one that a lock pins, from whoever has those bytes; else the highest that will do, of the first
//! source that answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use semver::Version;

use crate::{
    base::{Digest, PackageName},
    fetch::{FetchError, Proof, Wanted},
    manifest::{GlobError, Requirement, VariantGlob, nearest, release::Release},
    remote::{CollectedBundle, Collection, Remote, RemoteUrl},
    store::Store,
    workflow::{Context, Error, ErrorKind, releases::resolve},
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
    /// What that source was then, where it keeps a history.
    pub(in crate::workflow) revision: Option<String>,
    /// Whether it has what is asked for and nothing else: it was made of a collection.
    pub(in crate::workflow) is_chosen: bool,
}

/// Looks for releases of a package in the store and in its sources, in their order.
#[derive(Debug)]
pub(in crate::workflow) struct Finder<'a> {
    context: &'a Context,
    package: &'a PackageName,
    sources: &'a [RemoteUrl],
    /// Of a collection, only what these globs mean and what is in place becomes a release.
    globs: &'a BTreeSet<String>,
    opened: Mutex<BTreeMap<usize, Arc<dyn Remote>>>,
}

impl<'a> Finder<'a> {
    /// With no `sources` the store alone is asked.
    pub(in crate::workflow) fn new(
        context: &'a Context,
        package: &'a PackageName,
        sources: &'a [RemoteUrl],
        wanted: &'a Wanted,
    ) -> Self {
        Self { context, package, sources, globs: &wanted.variants, opened: Mutex::default() }
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
                Err(error) if may_be_better_elsewhere(&error) => {
                    failures.push((self.sources[index].to_string(), error))
                }
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
            let bytes = self.context.block_on(self.pinned_at(remote.as_ref(), version, digest))??;
            self.found(version, digest, bytes, Some(index))
        })
    }

    /// The manifest that a source has for a pinned release; that of a collection is made again.
    async fn pinned_at(&self, remote: &dyn Remote, version: &Version, digest: Digest) -> Result<Vec<u8>, Error> {
        let collection = remote.collection().await?.filter(|it| it.package == *self.package && it.version == *version);
        let Some(collection) = collection else { return Ok(remote.release(self.package, version, &digest).await?) };
        let bytes = remote.release_of(&self.choose_bundles(&collection, None)?).await?;
        let received = Digest::of(&bytes);
        if received == digest {
            return Ok(bytes);
        }
        let (size, remote) = (bytes.len() as u64, remote.url().to_string());
        Err(FetchError::DamagedBlob { expected: digest, received, size, remote }.into())
    }

    /// The highest release of the store that will do.
    pub(in crate::workflow) fn in_store(&self, requirement: &Requirement) -> Result<Found, Error> {
        let store = self.store();
        let origin = store.home().display().to_string();
        let versions = store.releases(self.package)?;
        if versions.is_empty() {
            return Err(self.no_package(&origin, &store.packages()?).into());
        }
        let version = self.choose_version(versions, requirement, &origin)?;
        let (digest, bytes) = store.release(self.package, &version)?.ok_or_else(|| self.no_package(&origin, &[]))?;
        self.found(&version, digest, bytes, None)
    }

    /// The highest release that will do, of the first source that answers; the `standing` one where that source still
    /// has it. What stands is wanted of a collection, too.
    pub(in crate::workflow) fn highest(
        &self,
        requirement: &Requirement,
        standing: Option<&Proof>,
    ) -> Result<Found, Error> {
        if self.sources.is_empty() {
            return self.in_store(requirement);
        }
        self.first(|index| self.context.block_on(self.ask(index, requirement, standing))?)
    }

    async fn ask(&self, source: usize, requirement: &Requirement, standing: Option<&Proof>) -> Result<Found, Error> {
        let remote = self.remote(source)?;
        let url = remote.url().to_string();
        let Some(versions) = remote.versions(self.package).await? else {
            // Names are a help; that the remote cannot list them is no reason to hide what is wrong.
            return Err(self.no_package(&url, &remote.packages().await.unwrap_or_default()).into());
        };
        let standing_entry = match standing.filter(|proof| versions.contains(&proof.version)) {
            Some(proof) => {
                remote.resolve(self.package, &proof.version).await?.filter(|entry| entry.release == proof.release)
            }
            None => None,
        };
        let version = match standing.filter(|_| standing_entry.is_some()) {
            Some(proof) => proof.version.clone(),
            None => self.choose_version(versions.into_iter().collect(), requirement, &url)?,
        };
        if let Some(collection) =
            remote.collection().await?.filter(|it| it.package == *self.package && it.version == version)
        {
            let bytes = remote.release_of(&self.choose_bundles(&collection, standing)?).await?;
            let found = self.found(&version, Digest::of(&bytes), bytes, Some(source))?;
            return Ok(Found { revision: remote.revision(), is_chosen: true, ..found });
        }
        let digest = resolve(remote.as_ref(), self.package, &version).await?.release;
        // What is here need not be asked for.
        let here = self.store().release(self.package, &version).ok().flatten().filter(|(found, _)| *found == digest);
        let bytes = match here {
            Some((_, bytes)) => bytes,
            None => remote.release(self.package, &version, &digest).await?,
        };
        Ok(Found { revision: remote.revision(), ..self.found(&version, digest, bytes, Some(source))? })
    }

    /// The bundles of a collection that are asked for, by id, and those in place. Globs may mean the path in the
    /// repository, too, and case does not count, since these names are not of mlreg's making.
    fn choose_bundles(&self, collection: &Collection, placed: Option<&Proof>) -> Result<BTreeSet<String>, FetchError> {
        let globs: Vec<VariantGlob> =
            self.globs.iter().map(|glob| glob.to_lowercase().parse()).collect::<Result<_, GlobError>>()?;
        let matching = |glob: &VariantGlob| {
            let fits =
                |(id, bundle): &(&String, &CollectedBundle)| names(id, bundle).iter().any(|name| glob.is_match(name));
            collection.bundles.iter().filter(fits).map(|(id, _)| id.clone()).collect::<BTreeSet<_>>()
        };
        let mut chosen: BTreeSet<String> =
            if globs.is_empty() { collection.bundles.keys().cloned().collect() } else { BTreeSet::new() };
        for glob in &globs {
            let found = matching(glob);
            if found.is_empty() {
                let ids = collection.bundles.keys().cloned().collect();
                return Err(FetchError::NoBundle { glob: glob.to_string(), package: collection.package.clone(), ids });
            }
            chosen.extend(found);
        }
        let in_place = placed.into_iter().flat_map(|proof| proof.bundles.values()).map(|bundle| bundle.variant.clone());
        chosen.extend(in_place.filter(|id| collection.bundles.contains_key(id)));
        Ok(chosen)
    }

    fn no_package(&self, origin: &str, known: &[PackageName]) -> FetchError {
        let nearest = nearest(self.package.as_str(), known.iter().map(PackageName::as_str), 1)
            .first()
            .map(|&name| name.to_owned());
        FetchError::NoPackage { package: self.package.clone(), origin: origin.to_owned(), nearest }
    }

    fn choose_version(
        &self,
        versions: Vec<Version>,
        requirement: &Requirement,
        origin: &str,
    ) -> Result<Version, FetchError> {
        if versions.is_empty() {
            return Err(self.no_package(origin, &[]));
        }
        requirement.highest(&versions).cloned().ok_or_else(|| FetchError::NoVersion {
            package: self.package.clone(),
            requirement: requirement.clone(),
            origin: origin.to_owned(),
            versions,
        })
    }

    /// Reads a manifest whose digest was checked.
    pub(super) fn found(
        &self,
        version: &Version,
        digest: Digest,
        bytes: Vec<u8>,
        named_by: Option<usize>,
    ) -> Result<Found, Error> {
        let expected = format!("{}@{version}", self.package);
        let release =
            Release::parse(&bytes).map_err(|source| FetchError::Release { release: expected.clone(), source })?;
        let found = format!("{}@{}", release.package, release.version);
        if found != expected {
            let origin = named_by
                .map_or_else(|| self.store().home().display().to_string(), |index| self.sources[index].to_string());
            return Err(FetchError::WrongRelease { origin, expected, found }.into());
        }
        // Releases are made of collections without the BLAKE3 of their blobs.
        let is_chosen = release.blobs.values().any(|blob| blob.blake3.is_none());
        Ok(Found { digest, bytes, release: Arc::new(release), named_by, revision: None, is_chosen })
    }
}

/// What a glob may mean a bundle of a collection by.
fn names(id: &str, bundle: &CollectedBundle) -> [String; 5] {
    let (path, file) = (bundle.path.as_str(), bundle.path.file_name());
    let plain = path.strip_suffix(bundle.kind.extension()).unwrap_or(path);
    [id, path, plain, file, bundle.stem()].map(str::to_lowercase)
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
