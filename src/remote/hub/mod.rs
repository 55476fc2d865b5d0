//! Model repositories of the Hugging Face Hub: published to, and fetched from.
//!
//! | file | has |
//! |---|---|
//! | `client`, `limits`, `error` | addresses, the token, redirects, rate limits, what refusals mean |
//! | `tree` | revisions, tags, files of a commit |
//! | `download` | bytes of files, behind signed addresses |
//! | `layout` | where a release lies in a repository |
//! | `checkout`, `cache` | files of a commit for others than fetchers; the Hub client's cache |
//! | `collection` | repositories that mlreg did not publish |
//! | `draft`, `attributes` | what a publication changes (pure) |
//! | `lfs`, `xet`, `commit`, `publish` | carrying that out |
//!
//! A revision is resolved to a commit once, and every file is read from a commit. Files are read and written by this client rather than
//! by the crate `hf-hub`; ARCHITECTURE.md says why. Xet is spoken for uploads alone: everything can be had without it.

mod attributes;
mod cache;
mod checkout;
mod client;
mod collection;
mod commit;
mod download;
mod draft;
mod error;
mod layout;
mod lfs;
mod limits;
mod options;
mod publish;
mod tree;
#[cfg(feature = "xet")]
mod xet;
#[cfg(not(feature = "xet"))]
#[path = "without_xet.rs"]
mod xet;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use semver::Version;
use tokio::sync::OnceCell;

use self::{
    client::Hub,
    download::{Files, Known, Place},
    layout::{HubEntry, HubIndex, Locations},
    publish::Draft,
    tree::{Commit, References},
};
use super::{
    Answer, Collection, DocumentError, INDEX_LIMIT, PackageIndex, RELEASE_LIMIT, Remote, RemoteError, RemoteOptions, Scheme, Sent, Sink,
    read_only, size_around,
};
use crate::{
    base::{ByteRange, Digest, HubUrl, PackageName, RelativePath, RemoteUrl},
    manifest::release::Release,
};

pub use checkout::HubCheckout;
pub use error::HubError;
pub use layout::default_places;
pub use options::{BlobFiles, Card, HUB_ENDPOINT, HubOptions, HubToken, Publication};

/// The branch that is meant where an address names no revision.
const MAIN: &str = "main";

/// Opens `hf://`.
pub(super) const SCHEME: Scheme = Scheme {
    names: &["hf"],
    writable: true,
    open: |url, options| match url {
        RemoteUrl::Hub(_) => Some(HubRemote::new(url, options).map(|remote| Arc::new(remote) as Arc<dyn Remote>)),
        _ => None,
    },
};

/// A repository of the Hub.
pub struct HubRemote {
    url: RemoteUrl,
    hub: Hub,
    is_main: bool,
    files: Files,
    snapshot: OnceCell<Snapshot>,
    indexes: Mutex<HashMap<PackageName, Arc<HubIndex>>>,
    places: Mutex<HashMap<Digest, Arc<Places>>>,
    collection: OnceCell<Option<Arc<Collection>>>,
    /// Where every blob lies, for readers of single files; releases do not count then.
    loose: Option<Arc<Places>>,
    publication: Option<Arc<Publication>>,
    made: OnceCell<()>,
    draft: Mutex<Option<Arc<Draft>>>,
    committed: AtomicBool,
}

impl fmt::Debug for HubRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubRemote").field("url", &self.url).field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// The repository as it was when it was first looked at.
#[derive(Debug)]
struct Snapshot {
    commit: Commit,
    references: References,
}

/// Where the blobs of a release lie.
#[derive(Debug)]
struct Places {
    commit: Commit,
    paths: BTreeMap<Digest, RelativePath>,
}

impl Places {
    fn key(package: &PackageName, version: &Version, entry: Option<&HubEntry>) -> Digest {
        entry.map_or_else(|| Digest::of(layout::tag(package, version).as_bytes()), |entry| entry.entry.release)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HubRemote {
    /// The repository at `url`, without layers. Needs a tokio runtime when it is used.
    ///
    /// # Errors
    /// [`RemoteError::Unsupported`] where `url` is not `hf://`; [`HubError::Endpoint`]; [`RemoteError::Client`].
    pub fn new(url: &RemoteUrl, options: &RemoteOptions) -> Result<Self, RemoteError> {
        let RemoteUrl::Hub(address) = url else { return Err(RemoteError::Unsupported { url: url.to_string() }) };
        Ok(Self {
            url: url.clone(),
            hub: Hub::new(address, options)?,
            is_main: address.revision().is_none(),
            files: Files::default(),
            snapshot: OnceCell::new(),
            indexes: Mutex::default(),
            places: Mutex::default(),
            collection: OnceCell::new(),
            loose: None,
            publication: options.hub.publication.clone(),
            made: OnceCell::new(),
            draft: Mutex::default(),
            committed: AtomicBool::new(false),
        })
    }

    /// Files of a commit by sha256, whatever release the reader describes them with.
    fn of_files(
        address: &HubUrl,
        commit: &Commit,
        paths: BTreeMap<Digest, RelativePath>,
        options: &RemoteOptions,
    ) -> Result<Self, RemoteError> {
        let loose = Some(Arc::new(Places { commit: commit.clone(), paths }));
        Ok(Self { loose, ..Self::new(&RemoteUrl::Hub(address.clone()), options)? })
    }

    async fn snapshot(&self) -> Result<&Snapshot, RemoteError> {
        self.snapshot.get_or_try_init(|| self.look()).await
    }

    async fn look(&self) -> Result<Snapshot, RemoteError> {
        let commit = self.hub.commit_of(self.hub.revision()).await?;
        Ok(Snapshot { commit, references: self.hub.references().await? })
    }

    async fn document(&self, commit: &Commit, path: &str, limit: u64) -> Result<Vec<u8>, RemoteError> {
        self.files.document(&self.hub, &Place { commit: commit.clone(), path: path.to_owned() }, limit).await
    }

    fn damaged(&self, commit: &Commit, path: &str, source: DocumentError) -> RemoteError {
        RemoteError::document(super::http::client::shown(&self.hub.file(commit.as_str(), path)), source)
    }

    async fn read_index(&self, commit: &Commit, package: &PackageName) -> Result<Option<HubIndex>, RemoteError> {
        let path = layout::index(package);
        let bytes = match self.document(commit, &path, INDEX_LIMIT).await {
            Err(RemoteError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        HubIndex::parse(&bytes, package).map(Some).map_err(|source| self.damaged(commit, &path, source))
    }

    async fn index_of(&self, package: &PackageName) -> Result<Option<Arc<HubIndex>>, RemoteError> {
        if let Some(index) = locked(&self.indexes).get(package) {
            return Ok(Some(index.clone()));
        }
        let Snapshot { commit, .. } = self.snapshot().await?;
        let Some(index) = self.read_index(commit, package).await?.map(Arc::new) else { return Ok(None) };
        locked(&self.indexes).insert(package.clone(), index.clone());
        Ok(Some(index))
    }

    /// The versions that are published: those with a tag. An address that names a revision shows all that it has.
    async fn package_index(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        let (index, references) = match &self.publication {
            None => (self.index_of(package).await?, self.snapshot().await?.references.clone()),
            // Whoever publishes wants to know how it is now.
            Some(_) => match self.look().await {
                Err(RemoteError::Hub(HubError::NoRepository { with_token: true, .. })) => return Ok(None),
                Err(error) => return Err(error),
                Ok(now) => (self.read_index(&now.commit, package).await?.map(Arc::new), now.references),
            },
        };
        let Some(index) = index else { return self.index_of_collection(package).await };
        let is_tagged = |version: &Version| references.tags.contains_key(&layout::tag(package, version));
        let only_tagged = self.is_main || self.publication.is_some();
        Ok(Some(index.visible(|version| !only_tagged || is_tagged(version))).filter(|index| !index.versions.is_empty()))
    }

    async fn index_of_collection(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        if self.publication.is_some() {
            return Ok(None);
        }
        let collection = self.collected().await?.filter(|collection| collection.package == *package);
        Ok(collection.map(|collection| Self::collected_index(&collection)))
    }

    async fn package_names(&self) -> Result<Vec<PackageName>, RemoteError> {
        let Snapshot { commit, .. } = self.snapshot().await?;
        let mut names: Vec<PackageName> =
            self.hub.folders(commit, layout::FOLDER).await?.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort();
        if names.is_empty() {
            names.extend(self.collected().await?.map(|collection| collection.package.clone()));
        }
        Ok(names)
    }

    async fn manifest(&self, package: &PackageName, version: &Version, digest: &Digest) -> Result<Vec<u8>, RemoteError> {
        if let Some(collection) = self.known_collection().await?.filter(|it| it.package == *package && it.version == *version) {
            return self.collected_release(&collection.bundles.keys().cloned().collect()).await;
        }
        let Snapshot { commit, .. } = self.snapshot().await?;
        let path = layout::manifest(package, version);
        let bytes = self.document(commit, &path, RELEASE_LIMIT).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let url = super::http::client::shown(&self.hub.file(commit.as_str(), &path));
            return Err(RemoteError::WrongDigest { url, expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Where a release's blobs lie: in the commit of its tag.
    async fn places_of(&self, release: &Release) -> Result<Arc<Places>, RemoteError> {
        if let Some(places) = &self.loose {
            return Ok(places.clone());
        }
        let Release { package, version, .. } = release;
        let Snapshot { commit, references } = self.snapshot().await?;
        let index = self.index_of(package).await?;
        let entry = index.as_ref().and_then(|index| index.versions.get(version));
        let key = Places::key(package, version, entry);
        if let Some(places) = locked(&self.places).get(&key) {
            return Ok(places.clone());
        }
        if index.is_none() && self.collected().await?.is_some_and(|it| it.package == *package && it.version == *version) {
            // A release that was made here before: its bundles still lie where they lay.
            self.collected_release(&release.variants.iter().map(|variant| variant.id.clone()).collect()).await?;
            if let Some(places) = locked(&self.places).get(&key) {
                return Ok(places.clone());
            }
        }
        let paths = match entry.and_then(|entry| entry.locations) {
            None => layout::one_of_each(&default_places(release)),
            Some(digest) => self.locations(commit, package, version, &digest).await?.blobs,
        };
        let commit = references.tags.get(&layout::tag(package, version)).unwrap_or(commit).clone();
        let places = Arc::new(Places { commit, paths });
        locked(&self.places).insert(key, places.clone());
        Ok(places)
    }

    async fn locations(
        &self,
        commit: &Commit,
        package: &PackageName,
        version: &Version,
        digest: &Digest,
    ) -> Result<Locations, RemoteError> {
        let path = layout::locations(package, version);
        let bytes = self.document(commit, &path, INDEX_LIMIT).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let url = super::http::client::shown(&self.hub.file(commit.as_str(), &path));
            return Err(RemoteError::WrongDigest { url, expected: *digest, found });
        }
        Locations::parse(&bytes).map_err(|source| self.damaged(commit, &path, source))
    }

    async fn read_range(&self, release: &Release, blob: &Digest, range: ByteRange, until: u64, sink: Sink<'_>) -> Result<(), RemoteError> {
        let size = size_around(release, blob, range)?;
        let places = self.places_of(release).await?;
        let path = places.paths.get(blob).ok_or_else(|| RemoteError::NotFound { url: format!("{}: sha256:{blob}", self.url) })?;
        let place = Place { commit: places.commit.clone(), path: path.to_string() };
        self.files.read(&self.hub, &place, &Known::Sha256(*blob), size, (range, until), sink).await
    }

    fn remember(&self, draft: Arc<Draft>) -> Arc<Draft> {
        *locked(&self.draft) = Some(draft.clone());
        draft
    }

    fn draft(&self) -> Option<Arc<Draft>> {
        locked(&self.draft).clone()
    }

    /// The commit that makes the release visible is being made.
    fn note_commit(&self) {
        self.committed.store(true, Ordering::Relaxed);
    }

    fn has_committed(&self) -> bool {
        self.committed.load(Ordering::Relaxed)
    }
}

impl Remote for HubRemote {
    fn url(&self) -> &RemoteUrl {
        &self.url
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        Box::pin(self.package_names())
    }

    fn revision(&self) -> Option<String> {
        self.snapshot.get().map(|snapshot| snapshot.commit.as_str().to_owned())
    }

    fn index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        Box::pin(self.package_index(package))
    }

    fn collection(&self) -> Answer<'_, Option<Arc<Collection>>> {
        Box::pin(self.known_collection())
    }

    fn release_of<'a>(&'a self, bundles: &'a BTreeSet<String>) -> Answer<'a, Vec<u8>> {
        Box::pin(self.collected_release(bundles))
    }

    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(self.manifest(package, version, digest))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, range.end(), sink))
    }

    fn read_on<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, until: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, until, sink))
    }

    fn has_ranges(&self) -> bool {
        self.files.has_ranges()
    }

    fn missing<'a>(&'a self, release: &'a Release) -> Answer<'a, Vec<Digest>> {
        match &self.publication {
            Some(publication) => Box::pin(self.missing_blobs(publication, release)),
            None => read_only(&self.url),
        }
    }

    fn put<'a>(&'a self, release: &'a Release, blob: &'a Digest, source: &'a Path, sent: Sent<'a>) -> Answer<'a, ()> {
        match &self.publication {
            Some(publication) => Box::pin(self.put_blob(publication, release, blob, source.to_owned(), sent)),
            None => read_only(&self.url),
        }
    }

    fn commit<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, super::Commit> {
        match &self.publication {
            Some(publication) => Box::pin(self.publish(publication, bytes)),
            None => read_only(&self.url),
        }
    }
}
