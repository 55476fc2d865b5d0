//! A limit on the operations of a remote that run at once; further ones wait, first come first served.

use std::{collections::BTreeSet, sync::Arc};

use semver::Version;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    base::{ByteRange, Digest, PackageName},
    manifest::release::Release,
    remote::{
        Answer, Catalogue, Collection, Commit, DocumentKey, IndexEntry, Object, ObjectVersion, PackageIndex,
        Publication, PublicationParts, Remote, RemoteUrl, Sent, Sink,
    },
};

/// A remote with bounded concurrency.
#[derive(Debug)]
pub struct LimitedRemote {
    inner: Arc<dyn Remote>,
    turns: Semaphore,
}

impl LimitedRemote {
    /// Lets at most `jobs` (at least 1) operations of `inner` run at once.
    pub fn new(inner: Arc<dyn Remote>, jobs: usize) -> Self {
        Self { inner, turns: Semaphore::new(jobs.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the semaphore is never closed")
    }
}

impl Remote for LimitedRemote {
    fn url(&self) -> &RemoteUrl {
        self.inner.url()
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.packages().await
        })
    }

    fn versions<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<BTreeSet<Version>>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.versions(package).await
        })
    }

    fn resolve<'a>(&'a self, package: &'a PackageName, version: &'a Version) -> Answer<'a, Option<IndexEntry>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.resolve(package, version).await
        })
    }

    fn revision(&self) -> Option<String> {
        self.inner.revision()
    }

    fn collection(&self) -> Answer<'_, Option<Arc<Collection>>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.collection().await
        })
    }

    fn release_of<'a>(&'a self, bundles: &'a BTreeSet<String>) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.release_of(bundles).await
        })
    }

    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.written_catalogue().await
        })
    }

    fn written_index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.written_index(package).await
        })
    }

    fn release<'a>(
        &'a self,
        package: &'a PackageName,
        version: &'a Version,
        digest: &'a Digest,
    ) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.release(package, version, digest).await
        })
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.read(release, blob, range, sink).await
        })
    }

    fn read_on<'a>(
        &'a self,
        release: &'a Release,
        blob: &'a Digest,
        range: ByteRange,
        until: u64,
        sink: Sink<'a>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.read_on(release, blob, range, until, sink).await
        })
    }

    fn has_ranges(&self) -> bool {
        self.inner.has_ranges()
    }

    fn document<'a>(&'a self, key: &'a DocumentKey) -> Answer<'a, Option<Object>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.document(key).await
        })
    }

    fn put_document<'a>(
        &'a self,
        key: &'a DocumentKey,
        bytes: &'a [u8],
        replaced: Option<&'a ObjectVersion>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.put_document(key, bytes, replaced).await
        })
    }

    fn publication_parts(&self) -> PublicationParts {
        self.inner.publication_parts()
    }

    fn missing<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Vec<Digest>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.missing(publication).await
        })
    }

    fn put<'a>(&'a self, publication: &'a Publication, blob: &'a Digest, sent: Sent<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.put(publication, blob, sent).await
        })
    }

    fn commit<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Commit> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.commit(publication).await
        })
    }
}
