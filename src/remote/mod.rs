//! Where releases are published to and fetched from: one trait, [`Remote`], and a file for every kind of place.
//!
//! A remote is a transaction: what is [`missing`](Remote::missing), [`put`](Remote::put), [`commit`](Remote::commit). Versions and blobs
//! are immutable and put if absent; index and catalogue are derived. Retries and the limit on requests are layers around the trait.
//! A new kind of place is one file with a [`Scheme`] and one word in [`SCHEMES`]. Tokens and the environment are read elsewhere.

mod collection;
mod documents;
mod error;
mod file;
mod folder;
mod http;
mod hub;
mod layers;
mod layout;

use std::{collections::BTreeSet, fmt::Debug, io, path::Path, pin::Pin, sync::Arc, time::Duration};

use semver::Version;

pub use collection::{CollectedBundle, CollectedFile, Collection};
pub use documents::{CATALOGUE_SCHEMA, Catalogue, CatalogueEntry, DocumentError, INDEX_SCHEMA, IndexEntry, PackageIndex};
pub use error::{RemoteError, Retry, is_of_the_client};
pub use folder::{FolderRemote, is_registry, rebuild_index};
pub use http::HttpRemote;
pub use hub::{BlobFiles, Card, HUB_ENDPOINT, HubCheckout, HubError, HubOptions, HubRemote, HubToken, Publication, default_places};
pub use layers::{LimitedRemote, RetryingRemote};

use crate::{
    base::{ByteRange, Digest, PackageName, RemoteUrl, limits},
    manifest::release::{Blob, Release},
};

/// A future on the heap, so that [`Remote`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// What a remote's operation comes to.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RemoteError>>;
/// Takes bytes in order, as they come. An error ends the reading.
pub type Sink<'a> = &'a mut (dyn FnMut(&[u8]) -> io::Result<()> + Send + 'a);
/// Hears of bytes sent since the last call.
pub type Sent<'a> = &'a (dyn Fn(u64) + Send + Sync + 'a);

/// The longest release manifest that is read.
pub const RELEASE_LIMIT: u64 = limits::RELEASE_BYTES;
/// The longest index or catalogue that is read.
pub const INDEX_LIMIT: u64 = limits::INDEX_BYTES;

/// A place with releases. Futures may be dropped at any time: what was not finished leaves nothing visible.
pub trait Remote: Debug + Send + Sync {
    /// Its address.
    fn url(&self) -> &RemoteUrl;

    /// Every package, sorted by name.
    fn packages(&self) -> Answer<'_, Vec<PackageName>>;

    /// The versions of a package; `None` where there is no such package.
    fn index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>>;

    /// What the place was at its first answer, where it keeps a history: a commit.
    fn revision(&self) -> Option<String> {
        None
    }

    /// The bundles of a place that has no releases; `None` everywhere else. Its [`index`](Self::index) has one version, whose digest is that of
    /// the listing, and [`release`](Self::release) makes a release of all bundles.
    fn collection(&self) -> Answer<'_, Option<Arc<Collection>>> {
        Box::pin(async { Ok(None) })
    }

    /// The canonical manifest of a release that has some bundles of the [`collection`](Self::collection), by id.
    fn release_of<'a>(&'a self, _bundles: &'a BTreeSet<String>) -> Answer<'a, Vec<u8>> {
        let url = self.url().to_string();
        Box::pin(async move { Err(RemoteError::NotARegistry { url }) })
    }

    /// The catalogue as it lies there, never derived anew, for verification; `None` where this kind of remote keeps none.
    ///
    /// # Errors
    /// [`RemoteError::NotARegistry`] or [`RemoteError::NotFound`] where it should lie there and does not.
    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        Box::pin(async { Ok(None) })
    }

    /// A package's index as it lies there, as [`written_catalogue`](Self::written_catalogue).
    fn written_index<'a>(&'a self, _package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(async { Ok(None) })
    }

    /// The bytes of a release manifest, whose sha256 is `digest`; at most [`RELEASE_LIMIT`].
    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>>;

    /// Gives exactly `range.length()` bytes of a blob to `sink`, in order, or fails. The bytes are not checked against a digest.
    ///
    /// After [`RemoteError::Changed`] what `sink` has got must be thrown away before the range is read again.
    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()>;

    /// Like [`read`](Self::read). Where the answer is the whole blob although a range was asked for, the bytes from the range's end to `until`
    /// (at most the blob's length) follow, so that they need not be asked for again. They may break off without an error.
    fn read_on<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, _until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        self.read(release, blob, range, sink)
    }

    /// Whether ranges save bytes here. A server is believed until it answers a range with a whole file; then whole blobs are cheaper.
    fn has_ranges(&self) -> bool {
        true
    }

    /// The blobs of a release that have to be put before it can be committed, sorted.
    fn missing<'a>(&'a self, _release: &'a Release) -> Answer<'a, Vec<Digest>> {
        read_only(self.url())
    }

    /// Copies a blob from the file `source` and checks its digests on the way. A blob that is there already stays as it is.
    ///
    /// On success the numbers given to `sent` add up to the blob's length; a retry never counts a byte twice.
    fn put<'a>(&'a self, _release: &'a Release, _blob: &'a Digest, _source: &'a Path, _sent: Sent<'a>) -> Answer<'a, ()> {
        read_only(self.url())
    }

    /// Makes a release visible, whose blobs are all there. `bytes` are its canonical manifest.
    ///
    /// # Errors
    /// [`RemoteError::VersionExists`] where the version exists with other content.
    fn commit<'a>(&'a self, _bytes: &'a [u8]) -> Answer<'a, Commit> {
        read_only(self.url())
    }
}

/// What a [`Remote::commit`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The version is new.
    New,
    /// The version was there with the same content.
    AlreadyThere,
}

/// How remotes are talked to.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// The `User-Agent` of requests.
    pub user_agent: String,
    /// How many requests run at once, at least 1.
    pub jobs: usize,
    /// How often a request that may succeed later is made again, without progress in between.
    pub retries: u32,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    pub stall_timeout: Duration,
    /// The wait before the first retry is random and at most this long; every further one at most twice as long.
    pub backoff: Duration,
    /// No wait is longer, whatever the server asks for.
    pub longest_wait: Duration,
    /// Whether the system's proxy settings hold. They always do for what goes up by Xet.
    pub system_proxy: bool,
    /// The Hub, and who is asking it.
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

/// A kind of remote: how its addresses begin, and how one is opened.
#[derive(Debug)]
pub struct Scheme {
    /// The schemes of its URLs.
    pub names: &'static [&'static str],
    /// Whether releases can be published to it.
    pub writable: bool,
    /// Opens a remote without layers; `None` where the address is of another kind.
    pub open: fn(&RemoteUrl, &RemoteOptions) -> Option<Opened>,
}

/// Every kind of remote.
pub const SCHEMES: &[Scheme] = &[folder::SCHEME, http::SCHEME, hub::SCHEME];

/// Opens a remote, with retries around a limit of requests. Nothing is read or written yet.
///
/// # Errors
/// Where no kind of remote fits the address, or its client cannot be set up.
pub fn open(url: &RemoteUrl, options: &RemoteOptions) -> Opened {
    let unsupported = || RemoteError::Unsupported { url: url.to_string() };
    let bare = SCHEMES.iter().find_map(|scheme| (scheme.open)(url, options)).ok_or_else(unsupported)??;
    Ok(Arc::new(RetryingRemote::new(Arc::new(LimitedRemote::new(bare, options.jobs)), options)))
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

/// The blob's length, after `range` was found to lie in it.
fn size_around(release: &Release, blob: &Digest, range: ByteRange) -> Result<u64, RemoteError> {
    let size = blob_of(release, blob)?.size;
    if range.end() > size {
        return Err(RemoteError::OutsideBlob { blob: *blob, range, size });
    }
    Ok(size)
}
