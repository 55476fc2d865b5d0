//! Bytes of files: whole small ones, and ranges of large ones, which lie behind signed addresses of another host.
//!
//! A signed address is kept and used for many ranges. One that does not serve any more is asked for anew, and what it then leads to must
//! have the hash that is wanted, so that two versions are never mixed and no error page becomes content.

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
    client::{Call, Hub, header, passing, redirect_of},
    tree::{Commit, git_blob_id},
};
use crate::{
    base::{ByteRange, Digest},
    remote::{
        RemoteError, Sink,
        http::{
            answer::{self, Body, Wanted},
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
pub(super) struct Place {
    pub(super) commit: Commit,
    pub(super) path: String,
}

/// What is known of the hash of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Sha256(Digest),
    Git(String),
    Nothing,
}

impl Known {
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
    links: Mutex<HashMap<Place, Arc<Url>>>,
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

    fn links(&self) -> MutexGuard<'_, HashMap<Place, Arc<Url>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a signed address, unless another reader has replaced it.
    fn forget(&self, place: &Place, link: &Arc<Url>) {
        let mut links = self.links();
        if links.get(place).is_some_and(|known| Arc::ptr_eq(known, link)) {
            links.remove(place);
        }
    }

    /// Gives the bytes of `range` of a file of `size` bytes to `sink`, and those up to `until` where the answer is the whole file.
    pub(super) async fn read(
        &self,
        hub: &Hub,
        place: &Place,
        known: &Known,
        size: u64,
        (range, until): (ByteRange, u64),
        sink: Sink<'_>,
    ) -> Result<(), RemoteError> {
        let mut renewals = 0;
        loop {
            let found = self.find(hub, place, known, range_headers(range, size, None)).await?;
            match self.check(hub, &found, size, range).await {
                Ok((wanted, body)) => {
                    let is_large = found.link.is_some() || size > LONGEST_IN_GIT;
                    if is_large && !wanted.is_whole() {
                        self.ignores_ranges.store(body == Body::Whole, Ordering::Relaxed);
                    }
                    return deliver(hub.http(), &wanted, found.response, body, until, sink).await.map_err(|end| end.error);
                }
                Err(error) => {
                    // Expired, or not what it was said to be. What may pass by itself is the business of retries, after a wait.
                    let Some(link) = found.link.filter(|_| error.retry() != crate::remote::Retry::Later) else { return Err(error) };
                    self.forget(place, &link);
                    renewals += 1;
                    if renewals == RENEWALS {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Whether an answer is what was asked for, before its body is looked at.
    async fn check(&self, hub: &Hub, found: &Found, size: u64, range: ByteRange) -> Result<(Wanted, Body), RemoteError> {
        let url = client::shown(&found.url);
        let (status, headers) = (found.response.status(), found.response.headers());
        if let Some(retry_after) = passing(status, headers) {
            return Err(RemoteError::Status { url, status: status.as_u16(), retry_after });
        }
        if !status.is_success() && status.as_u16() != 416 {
            debug_assert!(found.link.is_some() || !hub.is_own(&found.url), "the Hub's own refusals are explained before");
            return Err(match status.as_u16() {
                404 | 410 => RemoteError::NotFound { url },
                status => RemoteError::Status { url, status, retry_after: None },
            });
        }
        check_encoding(&url, headers)?;
        let wanted = Wanted { url, range, size, before: None };
        let body = answer::check(&wanted, status.as_u16(), headers)?;
        Ok((wanted, body))
    }

    /// Asks the signed address of a file where it is known, else the Hub.
    async fn find(&self, hub: &Hub, place: &Place, known: &Known, headers: HeaderMap) -> Result<Found, RemoteError> {
        let link = self.links().get(place).cloned();
        match link {
            Some(link) => self.follow(hub, link, headers).await,
            None => self.resolve(hub, place, known, headers).await,
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
    async fn resolve(&self, hub: &Hub, place: &Place, known: &Known, headers: HeaderMap) -> Result<Found, RemoteError> {
        let asked = hub.file(place.commit.as_str(), &place.path);
        let call = Call { headers: headers.clone(), ..Call::get(asked.clone()) };
        let (url, response) = hub.send(&call).await?;
        if let Some(next) = redirect_of(&url, &response) {
            check_redirect(&url, &next)?;
            check_hash(&asked, known, response.headers())?;
            let link = Arc::new(next);
            self.links().insert(place.clone(), link.clone());
            return self.follow(hub, link, headers).await;
        }
        if !response.status().is_success() && response.status().as_u16() != 416 {
            return Err(hub.refusal(&url, response).await);
        }
        check_hash(&asked, known, response.headers())?;
        Ok(Found { response, url, link: None })
    }

    /// A whole file of at most `limit` bytes, checked against the hash that the Hub names.
    pub(super) async fn document(&self, hub: &Hub, place: &Place, limit: u64) -> Result<Vec<u8>, RemoteError> {
        self.known_document(hub, place, &Known::Nothing, limit).await
    }

    /// A whole file of at most `limit` bytes, checked against a hash, too. An empty one is not asked for.
    pub(super) async fn known_document(&self, hub: &Hub, place: &Place, known: &Known, limit: u64) -> Result<Vec<u8>, RemoteError> {
        let asked = hub.file(place.commit.as_str(), &place.path);
        if known.is_of_nothing() {
            return Ok(Vec::new());
        }
        let (mut url, mut response) = hub.send(&Call::get(asked.clone())).await?;
        let mut hash = hash_of(response.headers());
        if let Some(next) = redirect_of(&url, &response) {
            check_redirect(&url, &next)?;
            let found = self.follow(hub, Arc::new(next), HeaderMap::new()).await?;
            (url, response) = (found.url, found.response);
        } else if hash == Known::Nothing {
            hash = etag_of(response.headers());
        }
        if response.status() != reqwest::StatusCode::OK {
            return Err(hub.refusal(&url, response).await);
        }
        check_encoding(&client::shown(&url), response.headers())?;
        let bytes = hub.http().body(&client::shown(&asked), &mut response, limit).await?;
        check_bytes(&asked, &hash, &bytes)?;
        check_bytes(&asked, known, &bytes)?;
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
fn hash_of(headers: &HeaderMap) -> Known {
    header(headers, "x-linked-etag").map_or(Known::Nothing, parse_hash)
}

/// The hash in the ETag of the Hub's own answer.
fn etag_of(headers: &HeaderMap) -> Known {
    client::text(headers, ETAG).map_or(Known::Nothing, parse_hash)
}

fn parse_hash(etag: &str) -> Known {
    let plain = etag.trim().trim_start_matches("W/").trim_matches('"');
    match plain.parse::<Digest>() {
        Ok(digest) => Known::Sha256(digest),
        Err(_) => Commit::parse(plain).map_or(Known::Nothing, |_| Known::Git(plain.to_owned())),
    }
}

/// Whether the Hub says that the file is another one than the one that is wanted.
fn check_hash(asked: &Url, known: &Known, headers: &HeaderMap) -> Result<(), RemoteError> {
    match (known, hash_of(headers)) {
        (Known::Sha256(expected), Known::Sha256(found)) if *expected != found => {
            Err(RemoteError::WrongDigest { url: client::shown(asked), expected: *expected, found })
        }
        _ => Ok(()),
    }
}

fn check_bytes(asked: &Url, known: &Known, bytes: &[u8]) -> Result<(), RemoteError> {
    match known {
        Known::Sha256(expected) if Digest::of(bytes) != *expected => {
            Err(RemoteError::WrongDigest { url: client::shown(asked), expected: *expected, found: Digest::of(bytes) })
        }
        Known::Git(expected) if git_blob_id(bytes) != *expected => {
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
        assert_eq!(parse_hash(&format!("W/\"{sha256}\"")), Known::Sha256(sha256));
        let sha1 = git_blob_id(b"x");
        assert_eq!(parse_hash(&format!("\"{sha1}\"")), Known::Git(sha1));
        assert_eq!(parse_hash("\"abc-17\""), Known::Nothing);
    }
}
