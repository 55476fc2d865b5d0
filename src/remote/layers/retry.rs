//! Tries again what may succeed later: exponential backoff with full jitter, or the wait that the server asks for.
//!
//! A range goes on where it broke, so that no byte is given to the sink twice. Damaged documents get one more try.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use semver::Version;

use crate::{
    base::{ByteRange, Digest, PackageName, RemoteUrl},
    manifest::release::Release,
    remote::{Answer, Catalogue, Collection, Commit, PackageIndex, Remote, RemoteError, RemoteOptions, Retry, Sent, Sink},
};

/// An attempt that brought at least this much was no failure: counting starts anew.
const PROGRESS: u64 = 256 << 10;

/// A remote whose passing failures are tried again.
#[derive(Debug)]
pub struct RetryingRemote {
    inner: Arc<dyn Remote>,
    policy: Policy,
}

#[derive(Debug, Clone)]
struct Policy {
    retries: u32,
    backoff: Duration,
    longest_wait: Duration,
}

impl Policy {
    /// The wait before retry number `failures` (from 1), where `jitter` is in 0..=1.
    fn wait(&self, failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << (failures - 1).min(20)).min(self.longest_wait);
        let random = doubled.mul_f64(jitter);
        asked.map_or(random, |asked| asked.saturating_add(self.backoff.mul_f64(jitter))).min(self.longest_wait)
    }
}

/// The failures of one operation.
struct Failures<'a> {
    policy: &'a Policy,
    count: u32,
    damaged: bool,
}

impl Failures<'_> {
    /// Waits before the next attempt, or gives the error back where there should be none.
    async fn wait_after(&mut self, error: RemoteError) -> Result<(), RemoteError> {
        let again = match error.retry() {
            Retry::Never => false,
            Retry::Once => !std::mem::replace(&mut self.damaged, true),
            Retry::Later => true,
        };
        if !again || self.count >= self.policy.retries {
            return Err(error);
        }
        self.count += 1;
        tokio::time::sleep(self.policy.wait(self.count, error.retry_after(), fastrand::f64())).await;
        Ok(())
    }
}

impl RetryingRemote {
    /// Wraps `inner` with the retries and waits of `options`.
    pub fn new(inner: Arc<dyn Remote>, options: &RemoteOptions) -> Self {
        let policy = Policy { retries: options.retries, backoff: options.backoff, longest_wait: options.longest_wait };
        Self { inner, policy }
    }

    fn failures(&self) -> Failures<'_> {
        Failures { policy: &self.policy, count: 0, damaged: false }
    }

    fn repeat<'a, T: Send + 'a>(&'a self, attempt: impl Fn() -> Answer<'a, T> + Send + 'a) -> Answer<'a, T> {
        Box::pin(async move {
            let mut failures = self.failures();
            loop {
                match attempt().await {
                    Ok(value) => return Ok(value),
                    Err(error) => failures.wait_after(error).await?,
                }
            }
        })
    }

    async fn read_resumed(
        &self,
        release: &Release,
        blob: &Digest,
        range: ByteRange,
        until: u64,
        sink: Sink<'_>,
    ) -> Result<(), RemoteError> {
        let mut failures = self.failures();
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
            let Some(next) = ByteRange::new(rest.offset() + delivered, rest.length().saturating_sub(delivered)) else { return Ok(()) };
            if matches!(error, RemoteError::Changed { .. }) && next != range {
                return Err(error);
            }
            if delivered >= PROGRESS {
                failures.count = 0;
            }
            failures.wait_after(error).await?;
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

    fn index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        self.repeat(|| self.inner.index(package))
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

    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>> {
        self.repeat(|| self.inner.release(package, version, digest))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_resumed(release, blob, range, range.end(), sink))
    }

    fn read_on<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_resumed(release, blob, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.inner.has_ranges()
    }

    fn missing<'a>(&'a self, release: &'a Release) -> Answer<'a, Vec<Digest>> {
        self.repeat(|| self.inner.missing(release))
    }

    fn put<'a>(&'a self, release: &'a Release, blob: &'a Digest, source: &'a Path, sent: Sent<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut failures = self.failures();
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
                match self.inner.put(release, blob, source, &report).await {
                    Ok(()) => return Ok(()),
                    Err(error) => failures.wait_after(error).await?,
                }
            }
        })
    }

    fn commit<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, Commit> {
        self.repeat(|| self.inner.commit(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
            let options = RemoteOptions { retries: 3, backoff: Duration::ZERO, ..RemoteOptions::default() };
            let flaky = Self { url: RemoteUrl::Folder("/flaky".into()), errors: Mutex::new(errors) };
            RetryingRemote::new(Arc::new(flaky), &options)
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

        fn index<'a>(&'a self, _: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
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

        fn put<'a>(&'a self, _: &'a Release, _: &'a Digest, _: &'a Path, sent: Sent<'a>) -> Answer<'a, ()> {
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
        Flaky::wrapped(vec![broken(), broken()]).put(&release(), &Digest::of(BLOB), Path::new("/x"), &sent).await.unwrap();
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

    #[test]
    fn waits_double_and_stay_below_the_limit() {
        let policy = Policy { retries: 5, backoff: Duration::from_millis(100), longest_wait: Duration::from_secs(1) };
        let milliseconds = |failures, asked, jitter| policy.wait(failures, asked, jitter).as_millis();
        assert_eq!(milliseconds(1, None, 1.0), 100);
        assert_eq!(milliseconds(3, None, 1.0), 400);
        assert_eq!(milliseconds(3, None, 0.25), 100);
        assert_eq!(milliseconds(40, None, 1.0), 1000);
        assert_eq!(milliseconds(1, Some(Duration::from_millis(700)), 0.0), 700);
        assert_eq!(milliseconds(1, Some(Duration::MAX), 0.5), 1000);
    }
}
