//! A registry over any [`Storage`]: catalogue, indexes, release manifests, blobs and side documents, as [`layout`]
//! names them.
//!
//! Release manifests are the truth. Index and catalogue are derived from them and moved by compare-and-swap, so that
//! publishers lose nothing of each other's and a crash between two steps heals with the next publication; see
//! [`derived`].

mod derived;
pub(super) mod layout;

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use semver::Version;

use super::{
    Answer, Catalogue, Commit, Condition, DocumentKey, Freshness, IndexEntry, Object, ObjectVersion, PackageIndex,
    Publication, RELEASE_LIMIT, Remote, RemoteError, RemoteUrl, RetryPolicy, Sent, Sink, Storage, blob_of,
    indexes::ReadIndexes, release_name, size_around,
};
use crate::{
    base::{ByteRange, Digest, PackageName},
    manifest::release::Release,
};

/// How many blobs are looked for at once.
const HEADS: usize = 16;

/// A registry in a storage.
#[derive(Debug)]
pub struct RegistryRemote<S> {
    url: RemoteUrl,
    storage: S,
    conflicts: RetryPolicy,
    read: ReadIndexes,
}

impl<S: Storage> RegistryRemote<S> {
    /// The registry at `url`, whose objects are in `storage`. Nothing is read or written yet.
    pub fn new(url: RemoteUrl, storage: S) -> Self {
        Self { url, storage, conflicts: derived::CONFLICTS, read: ReadIndexes::default() }
    }

    async fn manifest(
        &self,
        package: &PackageName,
        version: &Version,
        digest: &Digest,
    ) -> Result<Vec<u8>, RemoteError> {
        let path = layout::release(package, version);
        let Object { bytes, .. } = self.storage.get(&path, RELEASE_LIMIT, Freshness::Cached).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(RemoteError::WrongDigest { url: self.storage.shown(&path), expected: *digest, found });
        }
        Ok(bytes)
    }

    async fn read_versions(&self, package: &PackageName) -> Result<Option<BTreeSet<Version>>, RemoteError> {
        let index = self.index(package).await?.filter(|index| !index.versions.is_empty());
        Ok(index.map(|index| self.read.keep(index)))
    }

    async fn resolved(&self, package: &PackageName, version: &Version) -> Result<Option<IndexEntry>, RemoteError> {
        if let Some(entry) = self.read.entry(package, version) {
            return Ok(Some(entry));
        }
        self.read_versions(package).await?;
        Ok(self.read.entry(package, version))
    }

    async fn read_range(
        &self,
        release: &Release,
        blob: &Digest,
        range: ByteRange,
        until: u64,
        sink: Sink<'_>,
    ) -> Result<(), RemoteError> {
        let size = size_around(release, blob, range)?;
        self.storage.read(&layout::blob(blob), size, range, until, sink).await
    }

    async fn missing_blobs(&self, release: &Release) -> Result<Vec<Digest>, RemoteError> {
        let head = |(digest, size): (Digest, u64)| async move {
            let found = self.storage.head(&layout::blob(&digest)).await?;
            // An object with the name of a blob has its content, unless it was cut off.
            Ok::<_, RemoteError>((found != Some(size)).then_some(digest))
        };
        let blobs: Vec<_> = release.blobs.iter().map(|(digest, blob)| (*digest, blob.size)).collect();
        let missing: Vec<_> = stream::iter(blobs).map(head).buffered(HEADS).try_collect().await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn find_missing(&self, publication: &Publication) -> Result<Vec<Digest>, RemoteError> {
        self.check_writable().await?;
        self.missing_blobs(publication.release()).await
    }

    async fn put_blob(&self, publication: &Publication, blob: &Digest, sent: Sent<'_>) -> Result<(), RemoteError> {
        let known = blob_of(publication.release(), blob)?;
        self.check_place().await?;
        self.storage.put_file(&layout::blob(blob), &publication.blobs().path(blob), blob, known, sent).await
    }

    async fn publish(&self, publication: &Publication) -> Result<Commit, RemoteError> {
        let release = publication.release();
        self.check_writable().await?;
        let missing = self.missing_blobs(release).await?;
        if let Some(first) = missing.first() {
            return Err(RemoteError::MissingBlobs {
                release: release_name(release),
                first: *first,
                count: missing.len(),
            });
        }
        // Read before anything is put, so that the index of a newer mlreg ends the publication early.
        self.known_index(&release.package).await?;
        let outcome = self.put_release(publication).await?;
        self.move_index(publication).await?;
        self.move_catalogue(&release.package).await?;
        Ok(outcome)
    }

    async fn put_release(&self, publication: &Publication) -> Result<Commit, RemoteError> {
        let release = publication.release();
        let path = layout::release(&release.package, &release.version);
        if self.storage.put(&path, publication.manifest(), Condition::Absent).await? {
            return Ok(Commit::New);
        }
        let Object { bytes, .. } = self.storage.get(&path, RELEASE_LIMIT, Freshness::Current).await?;
        let (existing, offered) = (Digest::of(&bytes), publication.digest());
        if existing == offered {
            return Ok(Commit::AlreadyThere);
        }
        Err(RemoteError::VersionExists { release: release_name(release), existing, offered })
    }

    async fn read_document(&self, key: &DocumentKey) -> Result<Option<Object>, RemoteError> {
        match self.storage.get(&layout::document(key), key.kind().limit(), Freshness::Current).await {
            Ok(document) => Ok(Some(document)),
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn store_document(
        &self,
        key: &DocumentKey,
        bytes: &[u8],
        replaced: Option<&ObjectVersion>,
    ) -> Result<(), RemoteError> {
        let path = layout::document(key);
        key.check_put(&self.storage.shown(&path), bytes, replaced)?;
        self.check_writable().await?;
        if self.storage.put(&path, bytes, replaced.map_or(Condition::Absent, Condition::Unchanged)).await? {
            return Ok(());
        }
        // A repeated put finds its own document.
        match self.read_document(key).await? {
            Some(existing) if existing.bytes == bytes => Ok(()),
            _ => Err(RemoteError::DocumentChanged { url: self.storage.shown(&path) }),
        }
    }

    fn read_only<'a, T>(&self) -> Answer<'a, T> {
        super::read_only(&self.url)
    }
}

impl<S: Storage> Remote for RegistryRemote<S> {
    fn url(&self) -> &RemoteUrl {
        &self.url
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        Box::pin(async { Ok(self.catalogue().await?.packages.into_keys().collect()) })
    }

    fn versions<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<BTreeSet<Version>>> {
        Box::pin(self.read_versions(package))
    }

    fn resolve<'a>(&'a self, package: &'a PackageName, version: &'a Version) -> Answer<'a, Option<IndexEntry>> {
        Box::pin(self.resolved(package, version))
    }

    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        Box::pin(async { self.stored_catalogue().await.map(Some) })
    }

    fn written_index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(async move { self.stored_index(package).await.map(Some) })
    }

    fn release<'a>(
        &'a self,
        package: &'a PackageName,
        version: &'a Version,
        digest: &'a Digest,
    ) -> Answer<'a, Vec<u8>> {
        Box::pin(self.manifest(package, version, digest))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, range.end(), sink))
    }

    fn read_on<'a>(
        &'a self,
        release: &'a Release,
        blob: &'a Digest,
        range: ByteRange,
        until: u64,
        sink: Sink<'a>,
    ) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.storage.has_ranges()
    }

    fn document<'a>(&'a self, key: &'a DocumentKey) -> Answer<'a, Option<Object>> {
        Box::pin(self.read_document(key))
    }

    fn put_document<'a>(
        &'a self,
        key: &'a DocumentKey,
        bytes: &'a [u8],
        replaced: Option<&'a ObjectVersion>,
    ) -> Answer<'a, ()> {
        if self.storage.is_writable() { Box::pin(self.store_document(key, bytes, replaced)) } else { self.read_only() }
    }

    fn missing<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Vec<Digest>> {
        if self.storage.is_writable() { Box::pin(self.find_missing(publication)) } else { self.read_only() }
    }

    fn put<'a>(&'a self, publication: &'a Publication, blob: &'a Digest, sent: Sent<'a>) -> Answer<'a, ()> {
        if self.storage.is_writable() { Box::pin(self.put_blob(publication, blob, sent)) } else { self.read_only() }
    }

    fn commit<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Commit> {
        if self.storage.is_writable() { Box::pin(self.publish(publication)) } else { self.read_only() }
    }
}
