//! Remotes: where releases are published to and fetched from. One trait, [`Remote`], and a room for every scheme.
//!
//! Folders and web servers are [`Storage`]s, over which [`RegistryRemote`] reads and writes the layout of registries;
//! the Hub has a layout of its own. To publish: [`missing`](Remote::missing) blobs, [`put`](Remote::put) them,
//! [`commit`](Remote::commit). Versions and blobs are immutable and put if absent; index and catalogue are derived.
//! Retries and the limit on requests are layers around the trait. A new kind of place is one file with a [`Scheme`] and
//! one word in `schemes!`, which makes [`SCHEMES`]. Tokens and the environment are read elsewhere.

mod address;
mod collection;
mod documents;
mod error;
mod file;
mod indexes;
mod layers;
mod publication;
mod registry;
mod retry;
mod side;
mod storage;

use std::{collections::BTreeSet, fmt::Debug, io, pin::Pin, sync::Arc, time::Duration};

use semver::Version;

pub use address::{Address, RemoteUrl, readable_forms, writable_forms};
pub use collection::{CollectedBundle, CollectedFile, Collection};
pub use documents::{
    CATALOGUE_SCHEMA, Catalogue, CatalogueEntry, DocumentError, INDEX_SCHEMA, IndexEntry, PackageIndex,
};
pub use error::{RemoteError, Retry, is_of_the_client};
pub use folder::{FolderRemote, FolderStorage, is_registry};
pub use http::HttpStorage;
pub use hub::{HUB_ENDPOINT, HubCheckout, HubError, HubOptions, HubToken};
pub use layers::{LimitedRemote, RetryingRemote};
pub use publication::{BlobFiles, Card, Publication, PublicationParts, default_places};
pub use registry::RegistryRemote;
pub use retry::{Attempts, RetryPolicy};
pub use side::{DocumentKey, DocumentKind, PutRule, ReleaseId};
pub use storage::{Condition, Freshness, Object, ObjectVersion, Storage};

use crate::{
    base::{ByteRange, Digest, PackageName, UrlError, limits},
    manifest::release::{Blob, Release},
};

/// A future on the heap, so that [`Remote`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// The result of an operation of a remote or storage.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RemoteError>>;
/// Takes bytes in order. An error ends the reading.
pub type Sink<'a> = &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send + 'a);
/// Called with the number of bytes sent since the last call.
pub type Sent<'a> = &'a (dyn Fn(u64) + Send + Sync + 'a);

/// The longest release manifest that is read.
pub const RELEASE_LIMIT: u64 = limits::RELEASE_BYTES;
/// The longest index or catalogue that is read.
pub const INDEX_LIMIT: u64 = limits::INDEX_BYTES;

/// A source or destination of releases. Futures may be dropped at any time; an unfinished operation leaves nothing
/// visible.
pub trait Remote: Debug + Send + Sync {
    /// Its address.
    fn url(&self) -> &RemoteUrl;

    /// Every package, sorted by name.
    fn packages(&self) -> Answer<'_, Vec<PackageName>>;

    /// The versions of a package; `None` without such a package.
    fn versions<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<BTreeSet<Version>>>;

    /// The digest and length of the release manifest of one version; `None` without such a version. After
    /// [`versions`](Self::versions) it is answered from the same listing, where that has digests.
    fn resolve<'a>(&'a self, package: &'a PackageName, version: &'a Version) -> Answer<'a, Option<IndexEntry>>;

    /// The commit that the remote was at when it first answered; `None` without a history, or before the first answer.
    fn revision(&self) -> Option<String> {
        None
    }

    /// The bundles of a remote that has no releases; `None` everywhere else. It has one version, whose digest is that
    /// of the listing, and [`release`](Self::release) makes a release of all bundles.
    fn collection(&self) -> Answer<'_, Option<Arc<Collection>>> {
        Box::pin(async { Ok(None) })
    }

    /// The canonical manifest of a release with these bundles of the [`collection`](Self::collection), named by their
    /// ids.
    fn release_of<'a>(&'a self, _bundles: &'a BTreeSet<String>) -> Answer<'a, Vec<u8>> {
        let url = self.url().to_string();
        Box::pin(async move { Err(RemoteError::NotARegistry { url }) })
    }

    /// The stored catalogue, never derived, for verification; `None` where this kind of remote has none.
    ///
    /// # Errors
    /// [`RemoteError::NotARegistry`] or [`RemoteError::NotFound`] where it should exist and does not.
    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        Box::pin(async { Ok(None) })
    }

    /// The stored index of a package, like [`written_catalogue`](Self::written_catalogue).
    fn written_index<'a>(&'a self, _package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(async { Ok(None) })
    }

    /// The bytes of a release manifest, whose sha256 is `digest`; at most [`RELEASE_LIMIT`].
    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest)
    -> Answer<'a, Vec<u8>>;

    /// Gives exactly `range.length()` bytes of a blob to `sink`, in order, or fails. The bytes are not checked against
    /// a digest.
    ///
    /// After [`RemoteError::Changed`] the caller discards the bytes that `sink` got before it reads the range again.
    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()>;

    /// Like [`read`](Self::read). Where the answer is the whole blob although a range was asked for, the bytes from the
    /// range's end to `until` (at most the blob's length) follow, which saves another request for them. They may end
    /// early without an error.
    fn read_on<'a>(
        &'a self,
        release: &'a Release,
        blob: &'a Digest,
        range: ByteRange,
        _until: u64,
        sink: Sink<'a>,
    ) -> Answer<'a, ()> {
        self.read(release, blob, range, sink)
    }

    /// Whether ranges save bytes: `true` until the server answers a range with a whole file.
    fn has_ranges(&self) -> bool {
        true
    }

    /// A side document of a release; `None` where there is none.
    fn document<'a>(&'a self, _key: &'a DocumentKey) -> Answer<'a, Option<Object>> {
        Box::pin(async { Ok(None) })
    }

    /// Puts a side document: a new one, or in the place of the version `replaced`. Putting equal bytes again succeeds.
    ///
    /// # Errors
    /// [`RemoteError::DocumentChanged`] where there is another document, or none, than `replaced`;
    /// [`RemoteError::ImmutableDocument`], [`RemoteError::TooLarge`], [`RemoteError::ReadOnly`].
    fn put_document<'a>(
        &'a self,
        _key: &'a DocumentKey,
        _bytes: &'a [u8],
        _replaced: Option<&'a ObjectVersion>,
    ) -> Answer<'a, ()> {
        read_only(self.url())
    }

    /// What this remote uses of a publication apart from the release and its blobs. The caller refuses the rest by
    /// name.
    fn publication_parts(&self) -> PublicationParts {
        PublicationParts::NONE
    }

    /// The blobs that have to be put before the release can be committed, sorted.
    fn missing<'a>(&'a self, _publication: &'a Publication) -> Answer<'a, Vec<Digest>> {
        read_only(self.url())
    }

    /// Copies a blob from the publication's files and checks its digests before it becomes visible. An existing blob
    /// stays as it is.
    ///
    /// On success the numbers given to `sent` add up to the blob's length; a retry never counts a byte twice.
    ///
    /// # Errors
    /// [`RemoteError::WrongContent`], [`RemoteError::WrongManifest`], and what the remote says.
    fn put<'a>(&'a self, _publication: &'a Publication, _blob: &'a Digest, _sent: Sent<'a>) -> Answer<'a, ()> {
        read_only(self.url())
    }

    /// Makes a release visible, whose blobs have been put.
    ///
    /// # Errors
    /// [`RemoteError::VersionExists`] where the version exists with other content.
    fn commit<'a>(&'a self, _publication: &'a Publication) -> Answer<'a, Commit> {
        read_only(self.url())
    }
}

/// The outcome of a [`Remote::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The version is new.
    New,
    /// The version existed with the same content.
    AlreadyThere,
}

/// Options for requests to remotes.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The `User-Agent` of requests.
    pub user_agent: String,
    /// How many requests run at once, at least 1.
    pub jobs: usize,
    /// Retries of a request after failures in a row without progress; see [`RetryPolicy`].
    pub retries: u32,
    /// Time limit for establishing a connection.
    pub connect_timeout: Duration,
    /// How long a server may send or take nothing.
    pub stall_timeout: Duration,
    /// Upper bound of the random wait before the first retry; it doubles with every further one.
    pub backoff: Duration,
    /// No wait is longer, whatever the server asks for.
    pub longest_wait: Duration,
    /// Whether the system's proxy settings apply. They always apply to uploads by Xet.
    pub system_proxy: bool,
    /// Address and token of the Hub.
    pub hub: HubOptions,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("mlreg/", env!("CARGO_PKG_VERSION")).to_owned(),
            jobs: 8,
            retries: 5,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(300),
            system_proxy: true,
            hub: HubOptions::default(),
        }
    }
}

/// A remote that was opened.
pub type Opened = Result<Arc<dyn Remote>, RemoteError>;

/// What a remote is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read releases.
    Read,
    /// To publish a release, too. What is read is asked for anew, as rivals may have published since.
    Publish,
}

/// A kind of remote: how its addresses begin, and how they are parsed.
#[derive(Debug)]
pub struct Scheme {
    /// The schemes of its URLs, without `://`.
    pub names: &'static [&'static str],
    /// The forms of its addresses, for help and errors.
    pub forms: &'static [&'static str],
    /// Whether releases can be published to it.
    pub writable: bool,
    /// Parses an address that begins with one of the names and `://`.
    pub parse: fn(&str) -> Result<RemoteUrl, UrlError>,
}

/// Declares the room of every scheme, and [`SCHEMES`], the list of their `SCHEME` constants.
macro_rules! schemes {
    ($($room:ident),+ $(,)?) => {
        $(mod $room;)+

        /// Every kind of remote.
        pub const SCHEMES: &[&Scheme] = &[$(&$room::SCHEME),+];
    };
}

schemes! { folder, http, hub }

/// Opens a remote for reading, with retries around a limit of requests. Nothing is read or written yet.
///
/// # Errors
/// Where its client cannot be set up.
pub fn open(url: &RemoteUrl, options: &RemoteOptions) -> Opened {
    open_for(url, options, Access::Read)
}

/// Opens a remote for publishing, with retries around a limit of requests. Nothing is read or written yet.
///
/// # Errors
/// Where its client cannot be set up.
pub fn open_to_publish(url: &RemoteUrl, options: &RemoteOptions) -> Opened {
    open_for(url, options, Access::Publish)
}

fn open_for(url: &RemoteUrl, options: &RemoteOptions, access: Access) -> Opened {
    Ok(layered(url.open(options, access)?, options))
}

/// A remote with retries around a limit of requests.
fn layered(bare: Arc<dyn Remote>, options: &RemoteOptions) -> Arc<dyn Remote> {
    let limited = LimitedRemote::new(bare, options.jobs);
    Arc::new(RetryingRemote::new(Arc::new(limited), RetryPolicy::of(options)))
}

fn read_only<'a, T>(url: &RemoteUrl) -> Answer<'a, T> {
    let url = url.to_string();
    Box::pin(async move { Err(RemoteError::ReadOnly { url }) })
}

/// `package@version`, for messages.
fn release_name(release: &Release) -> String {
    format!("{}@{}", release.package, release.version)
}

fn blob_of<'a>(release: &'a Release, blob: &Digest) -> Result<&'a Blob, RemoteError> {
    release.blobs.get(blob).ok_or_else(|| RemoteError::UnknownBlob { release: release_name(release), blob: *blob })
}

/// The length of a blob, after checking that `range` lies in it.
fn size_around(release: &Release, blob: &Digest, range: ByteRange) -> Result<u64, RemoteError> {
    let size = blob_of(release, blob)?.size;
    if range.end() > size {
        return Err(RemoteError::OutsideBlob { blob: *blob, range, size });
    }
    Ok(size)
}
