//! Repeats operations that may succeed later, by the one [`RetryPolicy`].
//!
//! A range continues where it broke off, so that the sink gets no byte twice. Damaged documents get one more attempt.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use semver::Version;

use crate::{
    base::{ByteRange, Digest, PackageName},
    manifest::release::Release,
    remote::{
        Answer, Catalogue, Collection, Commit, DocumentKey, IndexEntry, Object, ObjectVersion, PackageIndex,
        Publication, PublicationParts, Remote, RemoteError, RemoteUrl, RetryPolicy, Sent, Sink,
    },
};

/// A remote whose passing failures are tried again.
#[derive(Debug)]
pub struct RetryingRemote {
    inner: Arc<dyn Remote>,
    policy: RetryPolicy,
}

impl RetryingRemote {
    /// Wraps `inner` with the retries and waits of `policy`.
    pub fn new(inner: Arc<dyn Remote>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    fn repeat<'a, T: Send + 'a>(&'a self, attempt: impl Fn() -> Answer<'a, T> + Send + Sync + 'a) -> Answer<'a, T> {
        Box::pin(self.policy.repeat(attempt))
    }

    async fn read_resumed(
        &self,
        release: &Release,
        blob: &Digest,
        range: ByteRange,
        until: u64,
        sink: Sink<'_>,
    ) -> Result<(), RemoteError> {
        let mut attempts = self.policy.attempts();
        let mut rest = range;
        loop {
            let mut delivered = 0;
            let mut counting = |bytes: &[u8]| {
                sink(bytes)?;
                delivered += bytes.len() as u64;
                Ok(())
            };
            let Err(error) = self.inner.read_on(release, blob, rest, until, &mut counting).await else { return Ok(()) };
            // A range that fails after its last byte is complete all the same.
            let Some(next) = ByteRange::new(rest.offset() + delivered, rest.length().saturating_sub(delivered)) else {
                return Ok(());
            };
            if matches!(error, RemoteError::Changed { .. }) && next != range {
                return Err(error);
            }
            attempts.delivered(delivered);
            attempts.wait_after(error).await?;
            rest = next;
        }
    }
}

impl Remote for RetryingRemote {
    fn url(&self) -> &RemoteUrl {
        self.inner.url()
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        self.repeat(|| self.inner.packages())
    }

    fn versions<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<BTreeSet<Version>>> {
        self.repeat(|| self.inner.versions(package))
    }

    fn resolve<'a>(&'a self, package: &'a PackageName, version: &'a Version) -> Answer<'a, Option<IndexEntry>> {
        self.repeat(|| self.inner.resolve(package, version))
    }

    fn revision(&self) -> Option<String> {
        self.inner.revision()
    }

    fn collection(&self) -> Answer<'_, Option<Arc<Collection>>> {
        self.repeat(|| self.inner.collection())
    }

    fn release_of<'a>(&'a self, bundles: &'a BTreeSet<String>) -> Answer<'a, Vec<u8>> {
        self.repeat(|| self.inner.release_of(bundles))
    }

    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        self.repeat(|| self.inner.written_catalogue())
    }

    fn written_index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        self.repeat(|| self.inner.written_index(package))
    }

    fn release<'a>(
        &'a self,
        package: &'a PackageName,
        version: &'a Version,
        digest: &'a Digest,
    ) -> Answer<'a, Vec<u8>> {
        self.repeat(|| self.inner.release(package, version, digest))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_resumed(release, blob, range, range.end(), sink))
    }

    fn read_on<'a>(
        &'a self,
        release: &'a Release,
        blob: &'a Digest,
        range: ByteRange,
        until: u64,
        sink: Sink<'a>,
    ) -> Answer<'a, ()> {
        Box::pin(self.read_resumed(release, blob, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.inner.has_ranges()
    }

    fn document<'a>(&'a self, key: &'a DocumentKey) -> Answer<'a, Option<Object>> {
        self.repeat(|| self.inner.document(key))
    }

    fn put_document<'a>(
        &'a self,
        key: &'a DocumentKey,
        bytes: &'a [u8],
        replaced: Option<&'a ObjectVersion>,
    ) -> Answer<'a, ()> {
        self.repeat(move || self.inner.put_document(key, bytes, replaced))
    }

    fn publication_parts(&self) -> PublicationParts {
        self.inner.publication_parts()
    }

    fn missing<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Vec<Digest>> {
        self.repeat(|| self.inner.missing(publication))
    }

    fn put<'a>(&'a self, publication: &'a Publication, blob: &'a Digest, sent: Sent<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut attempts = self.policy.attempts();
            let reported = AtomicU64::new(0);
            loop {
                let so_far = AtomicU64::new(0);
                let report = |count: u64| {
                    let total = so_far.fetch_add(count, Ordering::Relaxed) + count;
                    let before = reported.fetch_max(total, Ordering::Relaxed);
                    if total > before {
                        sent(total - before);
                    }
                };
                match self.inner.put(publication, blob, &report).await {
                    Ok(()) => return Ok(()),
                    Err(error) => attempts.wait_after(error).await?,
                }
            }
        })
    }

    fn commit<'a>(&'a self, publication: &'a Publication) -> Answer<'a, Commit> {
        self.repeat(|| self.inner.commit(publication))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Mutex, time::Duration};

    use super::*;
    use crate::base::{Blake3, BlobHasher};
    use crate::manifest::release::{Blob, SCHEMA};

    const BLOB: &[u8] = b"0123456789";

    /// Breaks off after a few bytes, once per error in the list; the last in the list comes first.
    #[derive(Debug)]
    struct Flaky {
        url: RemoteUrl,
        errors: Mutex<Vec<RemoteError>>,
    }

    impl Flaky {
        fn wrapped(errors: Vec<RemoteError>) -> RetryingRemote {
            let policy = RetryPolicy { retries: 3, backoff: Duration::ZERO, longest_wait: Duration::ZERO };
            let flaky = Self { url: RemoteUrl::folder("/flaky"), errors: Mutex::new(errors) };
            RetryingRemote::new(Arc::new(flaky), policy)
        }

        fn end(&self) -> Result<(), RemoteError> {
            self.errors.lock().unwrap().pop().map_or(Ok(()), Err)
        }
    }

    impl Remote for Flaky {
        fn url(&self) -> &RemoteUrl {
            &self.url
        }

        fn packages(&self) -> Answer<'_, Vec<PackageName>> {
            Box::pin(async { self.end().map(|()| Vec::new()) })
        }

        fn versions<'a>(&'a self, _: &'a PackageName) -> Answer<'a, Option<BTreeSet<Version>>> {
            Box::pin(async { self.end().map(|()| None) })
        }

        fn resolve<'a>(&'a self, _: &'a PackageName, _: &'a Version) -> Answer<'a, Option<IndexEntry>> {
            Box::pin(async { self.end().map(|()| None) })
        }

        fn release<'a>(&'a self, _: &'a PackageName, _: &'a Version, _: &'a Digest) -> Answer<'a, Vec<u8>> {
            Box::pin(async { self.end().map(|()| Vec::new()) })
        }

        fn read<'a>(&'a self, _: &'a Release, _: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
            Box::pin(async move {
                let bytes = &BLOB[range.offset() as usize..range.end() as usize];
                let outcome = self.end();
                let count = if outcome.is_ok() { bytes.len() } else { bytes.len().min(3) };
                sink(&bytes[..count]).map_err(|source| RemoteError::Sink { url: String::new(), source })?;
                outcome
            })
        }

        fn put<'a>(&'a self, _: &'a Publication, _: &'a Digest, sent: Sent<'a>) -> Answer<'a, ()> {
            Box::pin(async move {
                let outcome = self.end();
                for _ in 0..if outcome.is_ok() { 10 } else { 7 } {
                    sent(1);
                }
                outcome
            })
        }
    }

    fn release() -> Release {
        let blob = Blob { size: BLOB.len() as u64, blake3: Some(Blake3::of(BLOB)), segments: Vec::new() };
        let blobs = [(BlobHasher::hash(BLOB).sha256, blob)].into();
        Release {
            schema: SCHEMA.to_owned(),
            package: "tae".parse().unwrap(),
            version: Version::new(1, 0, 0),
            description: None,
            license: None,
            sources: Default::default(),
            variants: Vec::new(),
            blobs,
            other: Default::default(),
        }
    }

    fn publication() -> Publication {
        Publication::new(release().to_canonical().unwrap(), Arc::new(PathBuf::from("/x"))).unwrap()
    }

    fn broken() -> RemoteError {
        RemoteError::Truncated { url: String::new(), expected: None, received: 3, source: None }
    }

    async fn read(remote: &RetryingRemote) -> (Vec<u8>, Result<(), RemoteError>) {
        let mut bytes = Vec::new();
        let mut sink = |step: &[u8]| {
            bytes.extend_from_slice(step);
            Ok(())
        };
        let result = remote.read(&release(), &Digest::of(BLOB), ByteRange::new(0, 10).unwrap(), &mut sink).await;
        (bytes, result)
    }

    #[tokio::test]
    async fn a_broken_range_delivers_every_byte_once() {
        let (bytes, result) = read(&Flaky::wrapped(vec![broken(), broken(), broken()])).await;
        result.unwrap();
        assert_eq!(bytes, BLOB);
    }

    #[tokio::test]
    async fn a_change_is_retried_only_before_the_first_byte() {
        let changed = || RemoteError::Changed { url: String::new() };
        let (bytes, result) = read(&Flaky::wrapped(vec![changed(), broken()])).await;
        assert!(matches!(result, Err(RemoteError::Changed { .. })), "{result:?}");
        assert_eq!(bytes, BLOB[..6]);
        assert!(Flaky::wrapped(vec![changed()]).packages().await.is_ok());
    }

    #[tokio::test]
    async fn a_repeated_put_counts_every_byte_once() {
        let total = AtomicU64::new(0);
        let sent = |count| {
            total.fetch_add(count, Ordering::Relaxed);
        };
        Flaky::wrapped(vec![broken(), broken()]).put(&publication(), &Digest::of(BLOB), &sent).await.unwrap();
        assert_eq!(total.into_inner(), 10);
    }

    #[tokio::test]
    async fn some_errors_end_at_once_and_all_in_the_end() {
        let missing = RemoteError::NotFound { url: String::new() };
        assert!(matches!(Flaky::wrapped(vec![missing]).packages().await, Err(RemoteError::NotFound { .. })));
        let four = || vec![broken(), broken(), broken(), broken()];
        assert!(matches!(Flaky::wrapped(four()).packages().await, Err(RemoteError::Truncated { .. })));
        assert!(Flaky::wrapped(four().split_off(1)).packages().await.is_ok());
    }
}
