//! The state that reading and publishing share: the repository, what was read of it, and where blobs lie.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use semver::Version;
use tokio::sync::OnceCell;

use super::{
    client::Hub,
    download::{FileInCommit, Files},
    draft::Draft,
    layout::{self, HubEntry, HubIndex},
    tree::{Commit, References},
    xet::Xet,
};
use crate::{
    base::{Digest, HubUrl, PackageName, RelativePath},
    remote::{
        Access, Collection, DocumentError, INDEX_LIMIT, RemoteError, RemoteOptions, RemoteUrl, http::client, indexes::ReadIndexes,
    },
};

/// A repository of the Hub.
pub struct HubRemote {
    pub(super) url: RemoteUrl,
    pub(super) hub: Hub,
    pub(super) access: Access,
    /// Whether the address names no revision.
    pub(super) is_main: bool,
    pub(super) files: Files,
    pub(super) snapshot: OnceCell<Snapshot>,
    indexes: Mutex<HashMap<PackageName, Arc<HubIndex>>>,
    pub(super) read: ReadIndexes,
    pub(super) places: Mutex<HashMap<Digest, Arc<Places>>>,
    pub(super) collection: OnceCell<Option<Arc<Collection>>>,
    /// Where every blob lies, for readers of single files; releases do not count then.
    pub(super) loose: Option<Arc<Places>>,
    /// The way to upload by Xet, where that is wanted.
    pub(super) xet: Option<Xet>,
    /// Whether a repository exists to publish to.
    pub(super) made: OnceCell<()>,
    /// What the branch lacks of the release with that digest.
    draft: Mutex<Option<(Digest, Arc<Draft>)>>,
    /// Releases whose last commit was sent and whose publication has not been reported as a success yet.
    committed: Mutex<BTreeSet<Digest>>,
}

impl fmt::Debug for HubRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubRemote").field("url", &self.url).field("hub", &self.hub).finish_non_exhaustive()
    }
}

/// The repository as it was when it was first looked at.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) commit: Commit,
    pub(super) references: References,
}

/// Where the blobs of a release lie.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) commit: Commit,
    pub(super) paths: BTreeMap<Digest, RelativePath>,
}

impl Places {
    pub(super) fn key(package: &PackageName, version: &Version, entry: Option<&HubEntry>) -> Digest {
        entry.map_or_else(|| Digest::of(layout::tag(package, version).as_bytes()), |entry| entry.entry.release)
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HubRemote {
    /// A repository without layers. Needs a tokio runtime when it is used.
    ///
    /// # Errors
    /// [`HubError::Endpoint`](super::HubError::Endpoint), [`RemoteError::Client`].
    pub(super) fn new(address: &HubUrl, options: &RemoteOptions, access: Access) -> Result<Self, RemoteError> {
        Ok(Self {
            url: RemoteUrl::new(address.clone()),
            hub: Hub::new(address, options, access)?,
            access,
            is_main: address.revision().is_none(),
            files: Files::default(),
            snapshot: OnceCell::new(),
            indexes: Mutex::default(),
            read: ReadIndexes::default(),
            places: Mutex::default(),
            collection: OnceCell::new(),
            loose: None,
            xet: Xet::new(options).filter(|_| access == Access::Publish),
            made: OnceCell::new(),
            draft: Mutex::default(),
            committed: Mutex::default(),
        })
    }

    /// Files of a commit by sha256, whatever release the reader describes them with.
    pub(super) fn of_files(
        address: &HubUrl,
        commit: &Commit,
        paths: BTreeMap<Digest, RelativePath>,
        options: &RemoteOptions,
    ) -> Result<Self, RemoteError> {
        let loose = Some(Arc::new(Places { commit: commit.clone(), paths }));
        Ok(Self { loose, ..Self::new(address, options, Access::Read)? })
    }

    /// Whether no index has been read.
    pub(super) fn has_no_index(&self) -> bool {
        locked(&self.indexes).is_empty()
    }

    pub(super) async fn snapshot(&self) -> Result<&Snapshot, RemoteError> {
        self.snapshot.get_or_try_init(|| self.look()).await
    }

    pub(super) async fn look(&self) -> Result<Snapshot, RemoteError> {
        let commit = self.hub.commit_of(self.hub.revision()).await?;
        Ok(Snapshot { commit, references: self.hub.references().await? })
    }

    pub(super) async fn document(&self, commit: &Commit, path: &str, limit: u64) -> Result<Vec<u8>, RemoteError> {
        self.files.document(&self.hub, &FileInCommit { commit: commit.clone(), path: path.to_owned() }, limit).await
    }

    pub(super) fn damaged(&self, commit: &Commit, path: &str, source: DocumentError) -> RemoteError {
        RemoteError::document(client::shown(&self.hub.file(commit.as_str(), path)), source)
    }

    pub(super) async fn read_index(&self, commit: &Commit, package: &PackageName) -> Result<Option<HubIndex>, RemoteError> {
        let path = layout::index(package);
        let bytes = match self.document(commit, &path, INDEX_LIMIT).await {
            Err(RemoteError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        HubIndex::parse(&bytes, package).map(Some).map_err(|source| self.damaged(commit, &path, source))
    }

    pub(super) async fn index_of(&self, package: &PackageName) -> Result<Option<Arc<HubIndex>>, RemoteError> {
        if let Some(index) = locked(&self.indexes).get(package) {
            return Ok(Some(index.clone()));
        }
        let Snapshot { commit, .. } = self.snapshot().await?;
        let Some(index) = self.read_index(commit, package).await?.map(Arc::new) else { return Ok(None) };
        locked(&self.indexes).insert(package.clone(), index.clone());
        Ok(Some(index))
    }

    /// Keeps what the branch lacks of a release.
    pub(super) fn keep_draft(&self, release: Digest, draft: Arc<Draft>) -> Arc<Draft> {
        *locked(&self.draft) = Some((release, draft.clone()));
        draft
    }

    /// What the branch lacked of a release when it was last compared.
    pub(super) fn draft(&self, release: &Digest) -> Option<Arc<Draft>> {
        locked(&self.draft).as_ref().filter(|(of, _)| of == release).map(|(_, draft)| draft.clone())
    }

    /// Notes that the commit which makes a release visible is sent now.
    pub(super) fn note_commit(&self, release: Digest) {
        locked(&self.committed).insert(release);
    }

    /// Whether that commit was sent by this publication; forgets it.
    pub(super) fn take_commit(&self, release: &Digest) -> bool {
        locked(&self.committed).remove(release)
    }
}
