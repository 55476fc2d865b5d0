//! The derived documents of a registry: index and catalogue.
//!
//! Names come from a listing, everything else from the existing document; only versions that the document does not know
//! are read. A storage that cannot list has the documents as they are. Updates are compare-and-swap: after a rival's
//! update they begin anew, and the catalogue's entry is made from the index that is read after the catalogue, so that
//! the last update always counts every version.

use std::{collections::BTreeSet, time::Duration};

use semver::Version;

use super::{RegistryRemote, layout};
use crate::{
    base::{Digest, PackageName},
    manifest::release::{Release, SCHEMA},
    remote::{
        Catalogue, CatalogueEntry, Condition, DocumentError, Freshness, INDEX_LIMIT, IndexEntry, Object, ObjectVersion,
        PackageIndex, Publication, RELEASE_LIMIT, RemoteError, RetryPolicy, Storage, documents,
    },
};

/// Waits between the attempts to update a document that rivals update, too.
pub(super) const CONFLICTS: RetryPolicy =
    RetryPolicy { retries: 200, backoff: Duration::from_millis(2), longest_wait: Duration::from_millis(500) };

/// A derived document as the storage has it.
struct Stored<T> {
    /// `None` where it is missing.
    version: Option<ObjectVersion>,
    /// `None` where it is missing or damaged.
    document: Option<T>,
}

impl<S: Storage> RegistryRemote<S> {
    /// Derives every index and the catalogue again from the release manifests, and reads all of them.
    ///
    /// # Errors
    /// Where a manifest is damaged or the storage has something else than a registry; what was not reached stays as it
    /// was.
    pub async fn rebuild_index(&self) -> Result<Catalogue, RemoteError> {
        self.check_writable().await?;
        let mut catalogue = Catalogue::empty();
        for package in self.package_names().await?.unwrap_or_default() {
            let index = self.replace_index(&package, |_| Ok(PackageIndex::empty(package.clone()))).await?;
            note(&mut catalogue, &index);
        }
        let stored = self.stored(layout::CATALOGUE, documents::parse_catalogue).await?;
        self.swap(layout::CATALOGUE, &stored, &catalogue).await?;
        Ok(catalogue)
    }

    /// Refuses a storage that has something else, or a registry of a newer mlreg.
    pub(super) async fn check_writable(&self) -> Result<(), RemoteError> {
        self.check_place().await?;
        self.stored(layout::CATALOGUE, documents::parse_catalogue).await.map(|_| ())
    }

    /// Refuses a storage that has something else. Hidden names do not count: `.git`, `.DS_Store`, a lock.
    pub(super) async fn check_place(&self) -> Result<(), RemoteError> {
        if self.storage.head(layout::CATALOGUE).await?.is_some() {
            return Ok(());
        }
        // Another publisher may have written the catalogue since.
        let is_foreign = |name: &String| ![layout::PACKAGES, layout::BLOBS, layout::CATALOGUE].contains(&name.as_str());
        match self.storage.list("").await?.unwrap_or_default().into_iter().find(is_foreign) {
            Some(entry) => Err(RemoteError::ForeignFolder { url: self.url.to_string(), entry }),
            None => Ok(()),
        }
    }

    /// Reads a derived document. Damage counts as absence; a document of a newer mlreg is an error.
    async fn stored<T>(
        &self,
        path: &str,
        parse: impl Fn(&[u8]) -> Result<T, DocumentError>,
    ) -> Result<Stored<T>, RemoteError> {
        let Object { bytes, version } = match self.storage.get(path, INDEX_LIMIT, Freshness::Current).await {
            Ok(object) => object,
            Err(RemoteError::NotFound { .. }) => return Ok(Stored { version: None, document: None }),
            Err(error) => return Err(error),
        };
        match parse(&bytes) {
            Ok(document) => Ok(Stored { version: Some(version), document: Some(document) }),
            Err(source) if source.is_newer() => Err(RemoteError::document(self.storage.shown(path), source)),
            Err(_) => Ok(Stored { version: Some(version), document: None }),
        }
    }

    /// The index that the storage has; no document where it is missing or damaged.
    pub(super) async fn known_index(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        Ok(self.stored(&layout::index(package), |bytes| documents::parse_index(bytes, package)).await?.document)
    }

    /// The catalogue of the storage, which has to be there and sound.
    pub(super) async fn stored_catalogue(&self) -> Result<Catalogue, RemoteError> {
        let Object { bytes, .. } = match self.storage.get(layout::CATALOGUE, INDEX_LIMIT, Freshness::Current).await {
            Err(RemoteError::NotFound { .. }) => return Err(RemoteError::NotARegistry { url: self.url.to_string() }),
            other => other?,
        };
        documents::parse_catalogue(&bytes)
            .map_err(|source| RemoteError::document(self.storage.shown(layout::CATALOGUE), source))
    }

    /// The index of the storage, which has to be there and sound.
    pub(super) async fn stored_index(&self, package: &PackageName) -> Result<PackageIndex, RemoteError> {
        let path = layout::index(package);
        let Object { bytes, .. } = self.storage.get(&path, INDEX_LIMIT, Freshness::Current).await?;
        documents::parse_index(&bytes, package)
            .map_err(|source| RemoteError::document(self.storage.shown(&path), source))
    }

    /// The catalogue as it is, or derived in memory where it is missing or damaged and the storage can list.
    pub(super) async fn catalogue(&self) -> Result<Catalogue, RemoteError> {
        match self.stored_catalogue().await {
            Err(error @ (RemoteError::NotARegistry { .. } | RemoteError::Damaged { .. })) => {
                match self.package_names().await? {
                    Some(names) if !names.is_empty() => self.derive_catalogue(Catalogue::empty()).await,
                    _ => Err(error),
                }
            }
            other => other,
        }
    }

    /// The index as it is, or derived in memory where it is missing or damaged and the storage can list; `None` without
    /// such a package.
    pub(super) async fn index(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        match self.stored_index(package).await {
            Ok(index) => Ok(Some(index)),
            Err(error @ (RemoteError::NotFound { .. } | RemoteError::Damaged { .. })) => {
                match self.version_names(package).await? {
                    Some(_) => self.derive_index(PackageIndex::empty(package.clone())).await.map(Some),
                    None if matches!(error, RemoteError::NotFound { .. }) => Ok(None),
                    None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn package_names(&self) -> Result<Option<BTreeSet<PackageName>>, RemoteError> {
        let names = self.storage.list(layout::PACKAGES).await?;
        Ok(names.map(|names| names.iter().filter_map(|name| name.parse().ok()).collect()))
    }

    async fn version_names(&self, package: &PackageName) -> Result<Option<BTreeSet<Version>>, RemoteError> {
        let names = self.storage.list(&layout::package(package)).await?;
        Ok(names.map(|names| names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect()))
    }

    /// Makes `known` name exactly the versions in the storage; reads only those that it does not know.
    async fn derive_index(&self, mut known: PackageIndex) -> Result<PackageIndex, RemoteError> {
        let Some(versions) = self.version_names(&known.package).await? else { return Ok(known) };
        known.versions.retain(|version, _| versions.contains(version));
        for version in versions {
            if !known.versions.contains_key(&version) {
                let path = layout::release(&known.package, &version);
                let Object { bytes, .. } = self.storage.get(&path, RELEASE_LIMIT, Freshness::Cached).await?;
                self.check_release(&bytes, &known.package, &version)?;
                known.versions.insert(version, entry_of(&bytes));
            }
        }
        Ok(known)
    }

    fn check_release(&self, bytes: &[u8], package: &PackageName, version: &Version) -> Result<(), RemoteError> {
        let damaged = |source| RemoteError::document(self.storage.shown(&layout::release(package, version)), source);
        let release: Release = documents::parse(bytes, SCHEMA).map_err(damaged)?;
        if release.package != *package {
            return Err(damaged(DocumentError::Package { expected: package.clone(), found: release.package }));
        }
        if release.version != *version {
            return Err(damaged(DocumentError::Version { expected: version.clone(), found: release.version }));
        }
        Ok(())
    }

    /// Makes `known` name exactly the packages in the storage; looks only into those that it does not know.
    async fn derive_catalogue(&self, mut known: Catalogue) -> Result<Catalogue, RemoteError> {
        let Some(packages) = self.package_names().await? else { return Ok(known) };
        known.packages.retain(|package, _| packages.contains(package));
        for package in packages {
            if !known.packages.contains_key(&package)
                && let Some(index) = self.index(&package).await?
            {
                note(&mut known, &index);
            }
        }
        Ok(known)
    }

    /// Adds a release to its index. Also heals what an earlier publisher, or one that broke off, left behind.
    pub(super) async fn move_index(&self, publication: &Publication) -> Result<(), RemoteError> {
        let release = publication.release();
        let entry = entry_of(publication.manifest());
        let index = self
            .replace_index(&release.package, |known| {
                let mut index = known.unwrap_or_else(|| PackageIndex::empty(release.package.clone()));
                index.versions.insert(release.version.clone(), entry);
                Ok(index)
            })
            .await?;
        self.read.keep(index);
        Ok(())
    }

    /// Replaces an index by the one that is derived from `start`, which gets the existing one.
    async fn replace_index(
        &self,
        package: &PackageName,
        start: impl Fn(Option<PackageIndex>) -> Result<PackageIndex, RemoteError>,
    ) -> Result<PackageIndex, RemoteError> {
        let path = layout::index(package);
        let mut attempts = self.conflicts.attempts();
        loop {
            let stored = self.stored(&path, |bytes| documents::parse_index(bytes, package)).await?;
            let index = self.derive_index(start(stored.document.clone())?).await?;
            match self.swap(&path, &stored, &index).await? {
                true => return Ok(index),
                false => {
                    attempts
                        .wait_after_conflict(RemoteError::DocumentChanged { url: self.storage.shown(&path) })
                        .await?
                }
            }
        }
    }

    /// Makes the catalogue name a package as its index does.
    pub(super) async fn move_catalogue(&self, package: &PackageName) -> Result<(), RemoteError> {
        let mut attempts = self.conflicts.attempts();
        loop {
            let stored = self.stored(layout::CATALOGUE, documents::parse_catalogue).await?;
            let mut catalogue = self.derive_catalogue(stored.document.clone().unwrap_or_else(Catalogue::empty)).await?;
            if let Some(index) = self.index(package).await? {
                note(&mut catalogue, &index);
            }
            if self.swap(layout::CATALOGUE, &stored, &catalogue).await? {
                return Ok(());
            }
            let url = self.storage.shown(layout::CATALOGUE);
            attempts.wait_after_conflict(RemoteError::DocumentChanged { url }).await?;
        }
    }

    /// Puts a document in the place of the one that was read. `false`: a rival was faster. An equal document is not put
    /// again.
    async fn swap<T: serde::Serialize + PartialEq>(
        &self,
        path: &str,
        stored: &Stored<T>,
        document: &T,
    ) -> Result<bool, RemoteError> {
        if stored.document.as_ref() == Some(document) {
            return Ok(true);
        }
        let condition = stored.version.as_ref().map_or(Condition::Absent, Condition::Unchanged);
        self.storage.put(path, &documents::to_bytes(document), condition).await
    }
}

fn entry_of(bytes: &[u8]) -> IndexEntry {
    IndexEntry { release: Digest::of(bytes), size: bytes.len() as u64 }
}

fn note(catalogue: &mut Catalogue, index: &PackageIndex) {
    if let Some(latest) = index.latest() {
        let entry = CatalogueEntry { latest: latest.clone(), versions: index.versions.len() as u64 };
        catalogue.packages.insert(index.package.clone(), entry);
    }
}
