//! A registry on any static HTTP(S) server, read only.
//!
//! A server is believed only as far as status, lengths and content type agree (RFC 9110); every other answer is an error that names it.
//! Retries and the limit on requests are layers, see [`crate::remote::open`].

pub(in crate::remote) mod answer;
pub(in crate::remote) mod client;
mod date;
pub(in crate::remote) mod deliver;

use std::{
    collections::HashMap,
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
use semver::Version;

use self::{
    answer::Body,
    client::Client,
    deliver::{Break, deliver},
};
use super::{Answer, INDEX_LIMIT, RELEASE_LIMIT, Remote, RemoteError, RemoteOptions, Scheme, Sink, documents, layout, size_around};
use crate::{
    base::{ByteRange, Digest, PackageName, RemoteUrl},
    manifest::release::Release,
    remote::{Catalogue, PackageIndex},
};

/// Opens `http://` and `https://`.
pub(super) const SCHEME: Scheme = Scheme {
    names: &["http", "https"],
    writable: false,
    open: |url, options| match url {
        RemoteUrl::Http(_) => Some(HttpRemote::new(url, options).map(|remote| Arc::new(remote) as Arc<dyn Remote>)),
        _ => None,
    },
};

/// A static HTTP server with a registry. Credentials in its address are sent to its own host alone.
pub struct HttpRemote {
    url: RemoteUrl,
    base: Url,
    client: Client,
    has_ranges: AtomicBool,
    broken: Mutex<HashMap<Place, HeaderValue>>,
}

/// The base address may carry credentials and does not show.
impl fmt::Debug for HttpRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRemote").field("url", &self.url).field("has_ranges", &self.has_ranges).finish_non_exhaustive()
    }
}

/// Where a broken range goes on: the next byte of a blob. Its value is the ETag of the bytes before it.
type Place = (Digest, u64);

impl HttpRemote {
    /// A remote at `url`, without layers. Needs a tokio runtime when it is used.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where `url` is not `http://` or `https://`; [`RemoteError::Client`] where TLS cannot be set up.
    pub fn new(url: &RemoteUrl, options: &RemoteOptions) -> Result<Self, RemoteError> {
        let RemoteUrl::Http(base) = url else { return Err(RemoteError::Unsupported { url: url.to_string() }) };
        Ok(Self {
            url: url.clone(),
            base: base.clone(),
            client: Client::new(options)?,
            has_ranges: AtomicBool::new(true),
            broken: Mutex::default(),
        })
    }

    /// The address of a file of the registry; a query string of the base stays, as signed addresses need it.
    fn file(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), layout::encoded(path)));
        url
    }

    /// A derived document: caches on the way are asked to look again.
    async fn document(&self, path: &str) -> Result<Vec<u8>, RemoteError> {
        let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))]);
        self.client.document(self.file(path), headers, INDEX_LIMIT).await
    }

    async fn catalogue(&self) -> Result<Catalogue, RemoteError> {
        let bytes = match self.document(layout::CATALOGUE).await {
            Err(RemoteError::NotFound { .. }) => return Err(RemoteError::NotARegistry { url: self.url.to_string() }),
            other => other?,
        };
        documents::parse_catalogue(&bytes).map_err(|e| RemoteError::document(client::shown(&self.file(layout::CATALOGUE)), e))
    }

    async fn package_index(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        let path = layout::index(package);
        let bytes = match self.document(&path).await {
            Err(RemoteError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let index = documents::parse_index(&bytes, package).map_err(|e| RemoteError::document(client::shown(&self.file(&path)), e))?;
        Ok(Some(index).filter(|index| !index.versions.is_empty()))
    }

    async fn manifest(&self, package: &PackageName, version: &Version, digest: &Digest) -> Result<Vec<u8>, RemoteError> {
        let url = self.file(&layout::release(package, version));
        let bytes = self.client.document(url.clone(), HeaderMap::new(), RELEASE_LIMIT).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(RemoteError::WrongDigest { url: client::shown(&url), expected: *digest, found });
        }
        Ok(bytes)
    }

    async fn range(&self, release: &Release, blob: &Digest, range: ByteRange, until: u64, sink: Sink<'_>) -> Result<(), RemoteError> {
        let size = size_around(release, blob, range)?;
        let start = (*blob, range.offset());
        let before = self.broken().get(&start).cloned();
        let result = self.attempt(blob, range, size, before, until, sink).await;
        // The ETag of the bytes before stays of use while nothing came after them.
        let useful = matches!(&result, Err(Break { error, delivered: 0, .. }) if !matches!(error, RemoteError::Changed { .. }));
        if !useful {
            self.broken().remove(&start);
        }
        result.map_err(|end| {
            if let (Some(etag), 1..) = (end.etag, end.delivered) {
                self.broken().insert((*blob, range.offset() + end.delivered), etag);
            }
            end.error
        })
    }

    async fn attempt(
        &self,
        blob: &Digest,
        range: ByteRange,
        size: u64,
        before: Option<HeaderValue>,
        until: u64,
        sink: Sink<'_>,
    ) -> Result<(), Break> {
        let url = self.file(&layout::blob(blob));
        let response = self.client.get(url.clone(), range_headers(range, size, before.as_ref())).await?;
        let wanted = answer::Wanted { url: client::answered(&url, &response), range, size, before };
        let body = answer::check(&wanted, response.status().as_u16(), response.headers())?;
        if !wanted.is_whole() {
            self.has_ranges.store(body == Body::Part, Ordering::Relaxed);
        }
        deliver(&self.client, &wanted, response, body, until, sink).await
    }

    fn broken(&self) -> MutexGuard<'_, HashMap<Place, HeaderValue>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole blob is asked for plainly, which caches know best.
pub(in crate::remote) fn range_headers(range: ByteRange, size: u64, before: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if range.length() < size {
        headers.insert(RANGE, HeaderValue::try_from(range.to_string()).expect("digits and `bytes=-` are header characters"));
    }
    // A weak ETag must not stand in If-Range (RFC 9110 section 13.1.5); it is compared with the answer's.
    if let Some(etag) = before.filter(|etag| !etag.as_bytes().starts_with(b"W/")) {
        headers.insert(IF_RANGE, etag.clone());
    }
    headers
}

impl Remote for HttpRemote {
    fn url(&self) -> &RemoteUrl {
        &self.url
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        Box::pin(async { Ok(self.catalogue().await?.packages.into_keys().collect()) })
    }

    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        Box::pin(async { self.catalogue().await.map(Some) })
    }

    fn written_index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        let missing = || RemoteError::NotFound { url: client::shown(&self.file(&layout::index(package))) };
        Box::pin(async move { self.package_index(package).await?.ok_or_else(missing).map(Some) })
    }

    fn index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(self.package_index(package))
    }

    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(self.manifest(package, version, digest))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.range(release, blob, range, range.end(), sink))
    }

    fn read_on<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.range(release, blob, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.has_ranges.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn remote(url: &str) -> HttpRemote {
        HttpRemote::new(&RemoteUrl::parse(url, Path::new("/")).unwrap(), &RemoteOptions::default()).unwrap()
    }

    #[test]
    fn files_keep_the_query_of_the_base() {
        let url = remote("https://me:secret@host/a%20b?sig=secret").file("packages/x/1.0.0+b.json");
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
