//! The files of one commit of a repository, for whoever wants some of them or parts of them: checkpoints, bundles made elsewhere.
//!
//! Unlike a [`Remote`](crate::remote::Remote) it is used without layers, so that retries are here.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    HubError,
    cache::HubCache,
    client::Hub,
    download::{Files, Known, Place},
    tree::{Commit, Content, Tree},
};
use crate::{
    base::{ByteRange, Digest, HubUrl},
    remote::{CollectedFile, RemoteError, RemoteOptions, Retry, Sink},
};

/// The longest small file that is read.
const SMALL: u64 = 64 << 20;

/// One commit of a repository.
#[derive(Debug)]
pub struct HubCheckout {
    hub: Hub,
    cache: Option<HubCache>,
    files: Files,
    commit: Commit,
    tree: Tree,
    retries: u32,
}

impl HubCheckout {
    /// Resolves the revision of an address and lists its files below `folder` (empty: all).
    ///
    /// # Errors
    /// What the Hub says.
    pub async fn open(url: &HubUrl, folder: &str, options: &RemoteOptions) -> Result<Self, RemoteError> {
        let hub = Hub::new(url, options)?;
        let cache = options.hub.cache.as_deref().map(|folder| HubCache::new(folder, url.repository()));
        let retries = options.retries;
        let commit = again(&hub, retries, || hub.commit_of(hub.revision())).await?;
        let tree = again(&hub, retries, || hub.files(&commit, folder)).await?;
        Ok(Self { hub, cache, files: Files::default(), commit, tree, retries })
    }

    /// Where the Hub's own clients keep the revision of an address, and its commit, if they have downloaded it.
    pub fn cached(url: &HubUrl, options: &RemoteOptions) -> Option<(String, PathBuf)> {
        let cache = HubCache::new(options.hub.cache.as_deref()?, url.repository());
        let (commit, folder) = cache.snapshot(url.revision().unwrap_or(super::MAIN))?;
        Some((commit.as_str().to_owned(), folder))
    }

    /// The commit.
    pub fn commit(&self) -> &str {
        self.commit.as_str()
    }

    /// Its files by path.
    pub fn files(&self) -> BTreeMap<String, CollectedFile> {
        self.tree.iter().map(|(path, entry)| (path.clone(), entry.collected())).collect()
    }

    /// Whether the commit has a file of that path.
    pub fn has(&self, path: &str) -> bool {
        self.tree.contains_key(path)
    }

    /// A file of the Hub client's cache that may have these bytes: they have to be hashed.
    pub fn cached_file(&self, file: &CollectedFile) -> Option<PathBuf> {
        self.cache.as_ref()?.blob(&file.id, file.size)
    }

    /// A whole small file, checked against its hash.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], and what the Hub says.
    pub async fn small(&self, path: &str) -> Result<Vec<u8>, RemoteError> {
        let known = self.known(path)?;
        let place = self.place(path);
        again(&self.hub, self.retries, || self.files.known_document(&self.hub, &place, &known, SMALL)).await
    }

    /// Gives a range of a file to `sink`, in order. The bytes are checked as far as the Hub's answers tell: length, range, and that the file
    /// is the one of this commit.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], and what the Hub says.
    pub async fn read(&self, path: &str, range: ByteRange, sink: Sink<'_>) -> Result<(), RemoteError> {
        let (known, place) = (self.known(path)?, self.place(path));
        let size = self.tree.get(path).map_or(0, |entry| entry.size);
        let (mut rest, mut failures) = (range, 0);
        loop {
            let mut delivered = 0;
            let mut counting = |bytes: &[u8]| {
                sink(bytes)?;
                delivered += bytes.len() as u64;
                Ok(())
            };
            let Err(error) = self.files.read(&self.hub, &place, &known, size, rest, &mut counting).await else { return Ok(()) };
            let Some(next) = ByteRange::new(rest.offset() + delivered, rest.length() - delivered) else { return Ok(()) };
            failures = if delivered > 0 { 1 } else { failures + 1 };
            wait_after(&self.hub, self.retries, failures, error).await?;
            rest = next;
        }
    }

    fn place(&self, path: &str) -> Place {
        Place { commit: self.commit.clone(), path: path.to_owned() }
    }

    fn known(&self, path: &str) -> Result<Known, RemoteError> {
        let missing = || RemoteError::NotFound { url: format!("hf://{}@{}/{path}", self.hub.repository(), self.commit.as_str()) };
        Ok(match &self.tree.get(path).ok_or_else(missing)?.content {
            Content::Lfs(digest) => Known::Sha256(*digest),
            Content::Git(id) => Known::Git(id.clone()),
        })
    }
}

impl super::tree::Entry {
    /// The entry as others know it.
    pub(super) fn collected(&self) -> CollectedFile {
        let (sha256, id): (Option<Digest>, String) = match &self.content {
            Content::Lfs(digest) => (Some(*digest), digest.to_string()),
            Content::Git(id) => (None, id.clone()),
        };
        CollectedFile { size: self.size, sha256, id }
    }
}

async fn again<T, F: Future<Output = Result<T, RemoteError>>>(hub: &Hub, retries: u32, attempt: impl Fn() -> F) -> Result<T, RemoteError> {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => {
                failures += 1;
                wait_after(hub, retries, failures, error).await?;
            }
        }
    }
}

/// Waits before the next attempt, or gives the error back where there should be none.
async fn wait_after(hub: &Hub, retries: u32, failures: u32, error: RemoteError) -> Result<(), RemoteError> {
    let allowed = match error.retry() {
        Retry::Never => 0,
        Retry::Once => retries.min(1),
        Retry::Later => retries,
    };
    if failures > allowed || matches!(error, RemoteError::Hub(HubError::Offline { .. })) {
        return Err(error);
    }
    tokio::time::sleep(hub.wait_before(failures, error.retry_after())).await;
    Ok(())
}
