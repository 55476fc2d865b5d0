//! Bytes of files: whole small ones, and ranges of large ones, which lie behind signed addresses of another host.
//!
//! A signed address is kept and used for many ranges. One that does not serve any more is asked for anew, and what it
//! then leads to must have the hash that is wanted, so that two versions are never mixed and no error page becomes
//! content.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::{
    Response, Url,
    header::{ETAG, HeaderMap},
};

use super::{
    HubError,
    client::{Call, Hub, passing, redirect_of},
    limits::header,
    tree::{Commit, git_blob_id},
};
use crate::{
    base::{ByteRange, Digest},
    remote::{
        RemoteError, Sink,
        http::{
            answer::{self, Body, RangeRequest},
            client::{self, check_encoding},
            deliver::deliver,
            range_headers,
        },
    },
};

/// How often a signed address is asked for within one read.
const RENEWALS: usize = 4;
/// Longer files are large objects, also where a mirror has no signed addresses.
const LONGEST_IN_GIT: u64 = 10 << 20;

/// A file in a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileInCommit {
    pub(super) commit: Commit,
    pub(super) path: String,
}

/// The hash of a file, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileHash {
    Sha256(Digest),
    Git(String),
    Nothing,
}

impl FileHash {
    /// Whether it is the hash of an empty file, which need not be asked for.
    fn is_of_nothing(&self) -> bool {
        match self {
            Self::Sha256(digest) => *digest == Digest::of(b""),
            Self::Git(id) => *id == git_blob_id(b""),
            Self::Nothing => false,
        }
    }
}

/// Reads files and remembers their signed addresses.
#[derive(Debug, Default)]
pub(super) struct Files {
    links: Mutex<HashMap<FileInCommit, Arc<Url>>>,
    ignores_ranges: AtomicBool,
}

/// An answer that may have the bytes.
struct Found {
    response: Response,
    url: Url,
    /// The signed address that answered.
    link: Option<Arc<Url>>,
}

impl Files {
    /// Whether ranges of large files save bytes here.
    pub(super) fn has_ranges(&self) -> bool {
        !self.ignores_ranges.load(Ordering::Relaxed)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<FileInCommit, Arc<Url>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a signed address, unless another reader has replaced it.
    fn forget(&self, file: &FileInCommit, link: &Arc<Url>) {
        let mut links = self.links();
        if links.get(file).is_some_and(|current| Arc::ptr_eq(current, link)) {
            links.remove(file);
        }
    }

    /// Gives the bytes of `range` of a file of `size` bytes to `sink`, and those up to `until` where the answer is the
    /// whole file.
    pub(super) async fn read(
        &self,
        hub: &Hub,
        file: &FileInCommit,
        expected: &FileHash,
        size: u64,
        (range, until): (ByteRange, u64),
        sink: Sink<'_>,
    ) -> Result<(), RemoteError> {
        let mut renewals = 0;
        loop {
            let found = self.find(hub, file, expected, range_headers(range, size, None)).await?;
            match self.check(hub, &found, size, range).await {
                Ok((wanted, body)) => {
                    let is_large = found.link.is_some() || size > LONGEST_IN_GIT;
                    if is_large && !wanted.is_whole() {
                        self.ignores_ranges.store(body == Body::Whole, Ordering::Relaxed);
                    }
                    return deliver(hub.http(), &wanted, found.response, body, until, sink).await.map_err(|end| end.error);
                }
                Err(error) => {
                    // Expired, or not what it was said to be. What may pass by itself is the business of retries, after
                    // a wait.
                    let Some(link) = found.link.filter(|_| error.retry() != crate::remote::Retry::Later) else { return Err(error) };
                    self.forget(file, &link);
                    renewals += 1;
                    if renewals == RENEWALS {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Whether an answer is what was asked for, before its body is looked at.
    async fn check(&self, hub: &Hub, found: &Found, size: u64, range: ByteRange) -> Result<(RangeRequest, Body), RemoteError> {
        let url = client::shown(&found.url);
        let (status, headers) = (found.response.status(), found.response.headers());
        if let Some(retry_after) = passing(status, headers) {
            return Err(RemoteError::Status { url, status: status.as_u16(), retry_after });
        }
        if !status.is_success() && status.as_u16() != 416 {
            debug_assert!(found.link.is_some() || !hub.is_own(&found.url), "the Hub's own refusals are explained \
                 before");
            return Err(match status.as_u16() {
                404 | 410 => RemoteError::NotFound { url },
                status => RemoteError::Status { url, status, retry_after: None },
            });
        }
        check_encoding(&url, headers)?;
        let wanted = RangeRequest { url, range, size, before: None };
        let body = answer::check(&wanted, status.as_u16(), headers)?;
        Ok((wanted, body))
    }

    /// Asks the signed address of a file where it is expected, else the Hub.
    async fn find(&self, hub: &Hub, file: &FileInCommit, expected: &FileHash, headers: HeaderMap) -> Result<Found, RemoteError> {
        let link = self.links().get(file).cloned();
        match link {
            Some(link) => self.follow(hub, link, headers).await,
            None => self.resolve(hub, file, expected, headers).await,
        }
    }

    async fn follow(&self, hub: &Hub, link: Arc<Url>, headers: HeaderMap) -> Result<Found, RemoteError> {
        let mut url = Url::clone(&link);
        for _ in 0..=client::REDIRECTS {
            let request = hub.http().request(reqwest::Method::GET, url.clone()).headers(headers.clone());
            let response = hub.http().send(&client::shown(&url), request).await?;
            let Some(next) = redirect_of(&url, &response) else { return Ok(Found { response, url, link: Some(link) }) };
            check_redirect(&url, &next)?;
            url = next;
        }
        Err(RemoteError::TooManyRedirects { url: client::shown(&link), limit: client::REDIRECTS })
    }

    /// Asks the Hub for a file. Its own bytes, or those behind the signed address that it names.
    async fn resolve(&self, hub: &Hub, file: &FileInCommit, expected: &FileHash, headers: HeaderMap) -> Result<Found, RemoteError> {
        let asked = hub.file(file.commit.as_str(), &file.path);
        let call = Call { headers: headers.clone(), ..Call::get(asked.clone()) };
        let (url, response) = hub.send(&call).await?;
        if let Some(next) = redirect_of(&url, &response) {
            check_redirect(&url, &next)?;
            check_hash(&asked, expected, response.headers())?;
            let link = Arc::new(next);
            self.links().insert(file.clone(), link.clone());
            return self.follow(hub, link, headers).await;
        }
        if !response.status().is_success() && response.status().as_u16() != 416 {
            return Err(hub.refusal(&url, response).await);
        }
        check_hash(&asked, expected, response.headers())?;
        Ok(Found { response, url, link: None })
    }

    /// A whole file of at most `limit` bytes, checked against the hash that the Hub names.
    pub(super) async fn document(&self, hub: &Hub, file: &FileInCommit, limit: u64) -> Result<Vec<u8>, RemoteError> {
        self.known_document(hub, file, &FileHash::Nothing, limit).await
    }

    /// A whole file of at most `limit` bytes, checked against a hash, too. An empty one is not asked for.
    pub(super) async fn known_document(&self, hub: &Hub, file: &FileInCommit, expected: &FileHash, limit: u64) -> Result<Vec<u8>, RemoteError> {
        let asked = hub.file(file.commit.as_str(), &file.path);
        if expected.is_of_nothing() {
            return Ok(Vec::new());
        }
        let (mut url, mut response) = hub.send(&Call::get(asked.clone())).await?;
        let mut hash = hash_of(response.headers());
        if let Some(next) = redirect_of(&url, &response) {
            check_redirect(&url, &next)?;
            let found = self.follow(hub, Arc::new(next), HeaderMap::new()).await?;
            (url, response) = (found.url, found.response);
        } else if hash == FileHash::Nothing {
            hash = etag_of(response.headers());
        }
        if response.status() != reqwest::StatusCode::OK {
            return Err(hub.refusal(&url, response).await);
        }
        check_encoding(&client::shown(&url), response.headers())?;
        let bytes = hub.http().body(&client::shown(&asked), &mut response, limit).await?;
        check_bytes(&asked, &hash, &bytes)?;
        check_bytes(&asked, expected, &bytes)?;
        Ok(bytes)
    }
}

fn check_redirect(from: &Url, to: &Url) -> Result<(), RemoteError> {
    if client::is_safe(from.scheme(), to.scheme()) {
        return Ok(());
    }
    Err(RemoteError::UnsafeRedirect { url: client::shown(from), target: client::shown(to) })
}

/// The hash of a file as the Hub's answer names it.
fn hash_of(headers: &HeaderMap) -> FileHash {
    header(headers, "x-linked-etag").map_or(FileHash::Nothing, parse_hash)
}

/// The hash in the ETag of the Hub's own answer.
fn etag_of(headers: &HeaderMap) -> FileHash {
    client::text(headers, ETAG).map_or(FileHash::Nothing, parse_hash)
}

fn parse_hash(etag: &str) -> FileHash {
    let plain = etag.trim().trim_start_matches("W/").trim_matches('"');
    match plain.parse::<Digest>() {
        Ok(digest) => FileHash::Sha256(digest),
        Err(_) => Commit::parse(plain).map_or(FileHash::Nothing, |_| FileHash::Git(plain.to_owned())),
    }
}

/// Whether the Hub says that the file is another one than the one that is wanted.
fn check_hash(asked: &Url, expected: &FileHash, headers: &HeaderMap) -> Result<(), RemoteError> {
    match (expected, hash_of(headers)) {
        (FileHash::Sha256(expected), FileHash::Sha256(found)) if *expected != found => {
            Err(RemoteError::WrongDigest { url: client::shown(asked), expected: *expected, found })
        }
        _ => Ok(()),
    }
}

fn check_bytes(asked: &Url, expected: &FileHash, bytes: &[u8]) -> Result<(), RemoteError> {
    match expected {
        FileHash::Sha256(expected) if Digest::of(bytes) != *expected => {
            Err(RemoteError::WrongDigest { url: client::shown(asked), expected: *expected, found: Digest::of(bytes) })
        }
        FileHash::Git(expected) if git_blob_id(bytes) != *expected => {
            Err(HubError::WrongGitId { url: client::shown(asked), expected: expected.clone(), found: git_blob_id(bytes) }.into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_by_their_length() {
        let sha256 = Digest::of(b"x");
        assert_eq!(parse_hash(&format!("W/\"{sha256}\"")), FileHash::Sha256(sha256));
        let sha1 = git_blob_id(b"x");
        assert_eq!(parse_hash(&format!("\"{sha1}\"")), FileHash::Git(sha1));
        assert_eq!(parse_hash("\"abc-17\""), FileHash::Nothing);
    }
}
