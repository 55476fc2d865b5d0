//! Reading releases: versions, manifests, and ranges of blobs.

use std::{collections::BTreeSet, sync::Arc};

use semver::Version;

use super::{
    HubError,
    download::{FileHash, FileInCommit},
    layout::{self, Locations},
    repository::{HubRemote, Places, Snapshot, locked},
    tree::Commit,
};
use crate::{
    base::{ByteRange, Digest, PackageName},
    manifest::release::Release,
    remote::{
        Access, INDEX_LIMIT, IndexEntry, PackageIndex, RELEASE_LIMIT, RemoteError, Sink, default_places, http::client, size_around,
    },
};

impl HubRemote {
    /// The versions that [`package_index`](Self::package_index) names.
    pub(super) async fn published_versions(&self, package: &PackageName) -> Result<Option<BTreeSet<Version>>, RemoteError> {
        Ok(self.package_index(package).await?.map(|index| self.read.keep(index)))
    }

    /// The entry of a version, of the last index where that has it.
    pub(super) async fn resolved(&self, package: &PackageName, version: &Version) -> Result<Option<IndexEntry>, RemoteError> {
        if let Some(entry) = self.read.entry(package, version) {
            return Ok(Some(entry));
        }
        self.published_versions(package).await?;
        Ok(self.read.entry(package, version))
    }

    /// The versions that are published: those with a tag. An address that names a revision shows all that it has.
    pub(super) async fn package_index(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        let (index, references) = match self.access {
            Access::Read => (self.index_of(package).await?, self.snapshot().await?.references.clone()),
            // Rivals may have published since.
            Access::Publish => match self.look().await {
                Err(RemoteError::Hub(HubError::NoRepository { with_token: true, .. })) => return Ok(None),
                Err(error) => return Err(error),
                Ok(now) => (self.read_index(&now.commit, package).await?.map(Arc::new), now.references),
            },
        };
        let Some(index) = index else { return self.index_of_collection(package).await };
        let is_tagged = |version: &Version| references.tags.contains_key(&layout::tag(package, version));
        let only_tagged = self.is_main || self.access == Access::Publish;
        Ok(Some(index.visible(|version| !only_tagged || is_tagged(version))).filter(|index| !index.versions.is_empty()))
    }

    pub(super) async fn index_of_collection(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        if self.access == Access::Publish {
            return Ok(None);
        }
        let collection = self.collected().await?.filter(|collection| collection.package == *package);
        Ok(collection.map(|collection| Self::collected_index(&collection)))
    }

    pub(super) async fn package_names(&self) -> Result<Vec<PackageName>, RemoteError> {
        let Snapshot { commit, .. } = self.snapshot().await?;
        let mut names: Vec<PackageName> =
            self.hub.folders(commit, layout::FOLDER).await?.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort();
        if names.is_empty() {
            names.extend(self.collected().await?.map(|collection| collection.package.clone()));
        }
        Ok(names)
    }

    pub(super) async fn manifest(&self, package: &PackageName, version: &Version, digest: &Digest) -> Result<Vec<u8>, RemoteError> {
        if let Some(collection) = self.known_collection().await?.filter(|it| it.package == *package && it.version == *version) {
            return self.collected_release(&collection.bundles.keys().cloned().collect()).await;
        }
        let Snapshot { commit, .. } = self.snapshot().await?;
        let path = layout::manifest(package, version);
        let bytes = self.document(commit, &path, RELEASE_LIMIT).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let url = client::shown(&self.hub.file(commit.as_str(), &path));
            return Err(RemoteError::WrongDigest { url, expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Where a release's blobs lie: in the commit of its tag.
    pub(super) async fn places_of(&self, release: &Release) -> Result<Arc<Places>, RemoteError> {
        if let Some(places) = &self.loose {
            return Ok(places.clone());
        }
        let Release { package, version, .. } = release;
        let Snapshot { commit, references } = self.snapshot().await?;
        let index = self.index_of(package).await?;
        let entry = index.as_ref().and_then(|index| index.versions.get(version));
        let key = Places::key(package, version, entry);
        if let Some(places) = locked(&self.places).get(&key) {
            return Ok(places.clone());
        }
        if index.is_none() && self.collected().await?.is_some_and(|it| it.package == *package && it.version == *version) {
            // A release that was made here before: its bundles still lie where they lay.
            self.collected_release(&release.variants.iter().map(|variant| variant.id.clone()).collect()).await?;
            if let Some(places) = locked(&self.places).get(&key) {
                return Ok(places.clone());
            }
        }
        let paths = match entry.and_then(|entry| entry.locations) {
            None => layout::one_of_each(&default_places(release)),
            Some(digest) => self.locations(commit, package, version, &digest).await?.blobs,
        };
        let commit = references.tags.get(&layout::tag(package, version)).unwrap_or(commit).clone();
        let places = Arc::new(Places { commit, paths });
        locked(&self.places).insert(key, places.clone());
        Ok(places)
    }

    pub(super) async fn locations(
        &self,
        commit: &Commit,
        package: &PackageName,
        version: &Version,
        digest: &Digest,
    ) -> Result<Locations, RemoteError> {
        let path = layout::locations(package, version);
        let bytes = self.document(commit, &path, INDEX_LIMIT).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let url = client::shown(&self.hub.file(commit.as_str(), &path));
            return Err(RemoteError::WrongDigest { url, expected: *digest, found });
        }
        Locations::parse(&bytes).map_err(|source| self.damaged(commit, &path, source))
    }

    pub(super) async fn read_range(&self, release: &Release, blob: &Digest, range: ByteRange, until: u64, sink: Sink<'_>) -> Result<(), RemoteError> {
        let size = size_around(release, blob, range)?;
        let places = self.places_of(release).await?;
        let path = places.paths.get(blob).ok_or_else(|| RemoteError::NotFound { url: format!("{}: sha256:{blob}", self.url) })?;
        let place = FileInCommit { commit: places.commit.clone(), path: path.to_string() };
        self.files.read(&self.hub, &place, &FileHash::Sha256(*blob), size, (range, until), sink).await
    }
}
