//! At most so many operations of a remote at once; the others wait their turn, first come first served.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use semver::Version;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    base::{ByteRange, Digest, PackageName, RemoteUrl},
    manifest::release::Release,
    remote::{Answer, Catalogue, Collection, Commit, PackageIndex, Remote, Sent, Sink},
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

    fn index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.index(package).await
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

    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>> {
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

    fn read_on<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.read_on(release, blob, range, until, sink).await
        })
    }

    fn has_ranges(&self) -> bool {
        self.inner.has_ranges()
    }

    fn missing<'a>(&'a self, release: &'a Release) -> Answer<'a, Vec<Digest>> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.missing(release).await
        })
    }

    fn put<'a>(&'a self, release: &'a Release, blob: &'a Digest, source: &'a Path, sent: Sent<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.put(release, blob, source, sent).await
        })
    }

    fn commit<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, Commit> {
        Box::pin(async move {
            let _turn = self.turn().await;
            self.inner.commit(bytes).await
        })
    }
}
