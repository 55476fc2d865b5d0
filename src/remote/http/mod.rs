//! Static HTTP(S) servers as storages, read only.
//!
//! A server is believed only as far as status, lengths and content type agree (RFC 9110); every other answer is an
//! error that names it. Retries and the limit on requests are layers, see [`crate::remote::open`].

pub(in crate::remote) mod answer;
pub(in crate::remote) mod client;
pub(in crate::remote) mod deliver;

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::{
    Url,
    header::{CACHE_CONTROL, HeaderMap, HeaderValue, IF_RANGE, RANGE},
};
use self::{
    answer::{Body, RangeRequest},
    client::Client,
    deliver::{Break, deliver},
};
use super::{
    Access, Address, Answer, Freshness, Object, ObjectVersion, Opened, RegistryRemote, RemoteError, RemoteOptions, RemoteUrl, Scheme, Sink,
    Storage, registry::layout,
};
use crate::base::{ByteRange, Digest, UrlError, redacted};

/// Static HTTP(S) servers.
pub(super) const SCHEME: Scheme = Scheme { names: &["http", "https"], forms: &["http(s)://"], writable: false, parse };

fn parse(text: &str) -> Result<RemoteUrl, UrlError> {
    let mut url = Url::parse(text).map_err(|error| UrlError::Invalid { url: redacted(text), why: error.to_string() })?;
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(RemoteUrl::new(HttpAddress(url)))
}

/// The address of the folder that a server serves; its path ends with `/`.
#[derive(Clone)]
struct HttpAddress(Url);

impl Address for HttpAddress {
    fn identity(&self) -> OsString {
        self.0.as_str().into()
    }

    fn open(&self, options: &RemoteOptions, _: Access) -> Opened {
        let storage = HttpStorage::new(self, options)?;
        Ok(Arc::new(RegistryRemote::new(RemoteUrl::new(self.clone()), storage)))
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&client::shown(&self.0))
    }
}

/// Files below the address of a static HTTP server. Credentials in the address are sent to its own host alone.
pub struct HttpStorage {
    base: Url,
    client: Client,
    has_ranges: AtomicBool,
    broken: Mutex<HashMap<BreakPoint, HeaderValue>>,
}

/// The base address may carry credentials, so it is shown without them.
impl fmt::Debug for HttpStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStorage")
            .field("base", &client::shown(&self.base))
            .field("has_ranges", &self.has_ranges)
            .finish_non_exhaustive()
    }
}

/// Where a range broke off: the path and the offset of its next byte. Its value is the ETag of the bytes before it.
type BreakPoint = (String, u64);

impl HttpStorage {
    fn new(address: &HttpAddress, options: &RemoteOptions) -> Result<Self, RemoteError> {
        Ok(Self {
            base: address.0.clone(),
            client: Client::new(options)?,
            has_ranges: AtomicBool::new(true),
            broken: Mutex::default(),
        })
    }

    /// The address of a file; a query string of the base is kept, as signed addresses need it.
    fn file(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), layout::encoded(path)));
        url
    }

    async fn document(&self, path: &str, limit: u64, freshness: Freshness) -> Result<Object, RemoteError> {
        let headers = match freshness {
            Freshness::Cached => HeaderMap::new(),
            Freshness::Current => HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))]),
        };
        let bytes = self.client.document(self.file(path), headers, limit).await?;
        Ok(Object { version: ObjectVersion(Digest::of(&bytes).to_string()), bytes })
    }

    async fn length(&self, path: &str) -> Result<Option<u64>, RemoteError> {
        match self.client.head(self.file(path)).await {
            Ok(length) => Ok(length),
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn range(&self, path: &str, size: u64, range: ByteRange, until: u64, sink: Sink<'_>) -> Result<(), RemoteError> {
        let start = (path.to_owned(), range.offset());
        let before = self.broken().get(&start).cloned();
        let result = self.attempt(path, range, size, before, until, sink).await;
        // The ETag of the bytes before is still of use if nothing came after them.
        let is_useful = matches!(&result, Err(Break { error, delivered: 0, .. }) if !matches!(error, RemoteError::Changed { .. }));
        if !is_useful {
            self.broken().remove(&start);
        }
        result.map_err(|end| {
            if let (Some(etag), 1..) = (end.etag, end.delivered) {
                self.broken().insert((path.to_owned(), range.offset() + end.delivered), etag);
            }
            end.error
        })
    }

    async fn attempt(
        &self,
        path: &str,
        range: ByteRange,
        size: u64,
        before: Option<HeaderValue>,
        until: u64,
        sink: Sink<'_>,
    ) -> Result<(), Break> {
        let url = self.file(path);
        let response = self.client.get(url.clone(), range_headers(range, size, before.as_ref())).await?;
        let asked = RangeRequest { url: client::answered(&url, &response), range, size, before };
        let body = answer::check(&asked, response.status().as_u16(), response.headers())?;
        if !asked.is_whole() {
            self.has_ranges.store(body == Body::Part, Ordering::Relaxed);
        }
        deliver(&self.client, &asked, response, body, until, sink).await
    }

    fn broken(&self) -> MutexGuard<'_, HashMap<BreakPoint, HeaderValue>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole blob is asked for plainly, which caches know best.
pub(in crate::remote) fn range_headers(range: ByteRange, size: u64, before: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if range.length() < size {
        headers.insert(RANGE, HeaderValue::try_from(range.to_string()).expect("digits and `bytes=-` are header \
             characters"));
    }
    // A weak ETag must not stand in If-Range (RFC 9110 section 13.1.5); it is compared with the answer's.
    if let Some(etag) = before.filter(|etag| !etag.as_bytes().starts_with(b"W/")) {
        headers.insert(IF_RANGE, etag.clone());
    }
    headers
}

impl Storage for HttpStorage {
    fn shown(&self, path: &str) -> String {
        client::shown(&self.file(path))
    }

    fn get<'a>(&'a self, path: &'a str, limit: u64, freshness: Freshness) -> Answer<'a, Object> {
        Box::pin(self.document(path, limit, freshness))
    }

    fn read<'a>(&'a self, path: &'a str, size: u64, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.range(path, size, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.has_ranges.load(Ordering::Relaxed)
    }

    fn head<'a>(&'a self, path: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(self.length(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(url: &str) -> HttpStorage {
        HttpStorage::new(&HttpAddress(Url::parse(url).unwrap()), &RemoteOptions::default()).unwrap()
    }

    #[test]
    fn files_keep_the_query_of_the_base() {
        let url = storage("https://me:secret@host/a%20b/?sig=secret").file("packages/x/1.0.0+b.json");
        assert_eq!(url.as_str(), "https://me:secret@host/a%20b/packages/x/1.0.0%2Bb.json?sig=secret");
        assert_eq!(client::shown(&url), "https://host/a%20b/packages/x/1.0.0%2Bb.json");
    }

    #[test]
    fn only_strong_etags_stand_in_if_range() {
        let range = ByteRange::new(5, 5).unwrap();
        let strong = HeaderValue::from_static("\"a\"");
        let weak = HeaderValue::from_static("W/\"a\"");
        assert_eq!(range_headers(range, 100, Some(&strong))[IF_RANGE], "\"a\"");
        assert_eq!(range_headers(range, 100, Some(&weak)).get(IF_RANGE), None);
        assert_eq!(range_headers(range, 100, None)[RANGE], "bytes=5-9");
        assert!(range_headers(ByteRange::new(0, 100).unwrap(), 100, None).is_empty());
    }
}
