//! The files of one commit of a repository, for conversions and imports: checkpoints, bundles made elsewhere, plain
//! files.
//!
//! They are the Hub's, or, where the Hub is switched off, those of its client's cache. Every file is checked against
//! the digest that the listing, or the cache's link, names. It is used without the layers of a [`Remote`], so it
//! repeats requests itself.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use super::{
    HubError,
    cache::{self, HubCache},
    client::Hub,
    download::{FileHash, FileInCommit, Files},
    options::MAIN,
    repository::HubRemote,
    tree::{Commit, Content, Entry, git_blob_id},
};
use crate::{
    base::{Digest, HubUrl, RelativePath},
    remote::{Access, CollectedFile, Remote, RemoteError, RemoteOptions, layered},
};

/// The longest small file that is read.
const SMALL: u64 = 64 << 20;

/// One commit of a repository.
#[derive(Debug)]
pub struct HubCheckout {
    address: HubUrl,
    options: RemoteOptions,
    commit: Commit,
    files: BTreeMap<String, CollectedFile>,
    source: Source,
}

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    Hub(Box<Online>),
    /// A snapshot of the Hub client's cache.
    Snapshot(PathBuf),
}

#[derive(Debug)]
struct Online {
    hub: Hub,
    cache: Option<HubCache>,
    files: Files,
}

impl HubCheckout {
    /// Resolves the revision of an address and lists the files of its commit.
    ///
    /// # Errors
    /// What the Hub says; [`HubError::Offline`] where it is switched off and its client's cache does not have the
    /// revision.
    pub async fn open(address: &HubUrl, options: &RemoteOptions) -> Result<Self, RemoteError> {
        let checkout = |commit, files, source| Self { address: address.clone(), options: options.clone(), commit, files, source };
        let cache = options.hub.cache.as_deref().map(|folder| HubCache::new(folder, address.repository()));
        if options.hub.offline {
            let snapshot = cache.and_then(|cache| cache.snapshot(address.revision().unwrap_or(MAIN)));
            let (commit, folder) = snapshot.ok_or_else(|| HubError::Offline { repository: address.repository().to_owned() })?;
            let files = cache::listed(&folder).map_err(|source| RemoteError::File { action: "read", path: folder.clone(), source })?;
            return Ok(checkout(commit, files, Source::Snapshot(folder)));
        }
        let hub = Hub::new(address, options, Access::Read)?;
        let retry = hub.retry();
        let commit = retry.repeat(|| hub.commit_of(hub.revision())).await?;
        let tree = retry.repeat(|| hub.files(&commit, "")).await?;
        let files = tree.into_iter().map(|(path, entry)| (path, entry.collected())).collect();
        Ok(checkout(commit, files, Source::Hub(Box::new(Online { hub, cache, files: Files::default() }))))
    }

    /// The repository's id: `ORG/REPO`.
    pub fn repository(&self) -> &str {
        self.address.repository()
    }

    /// The commit.
    pub fn commit(&self) -> &str {
        self.commit.as_str()
    }

    /// Its files by path. A cached file of unknown digest has an empty `id`.
    pub fn files(&self) -> &BTreeMap<String, CollectedFile> {
        &self.files
    }

    /// Whether only the Hub client's cache is read.
    pub fn is_offline(&self) -> bool {
        matches!(self.source, Source::Snapshot(_))
    }

    /// The address of a file of this commit, for messages.
    pub fn shown(&self, path: &str) -> String {
        format!("hf://{}@{}/{path}", self.repository(), self.commit.as_str())
    }

    /// A file of the Hub client's cache that may have the bytes of `path`: they have to be hashed.
    pub fn cached(&self, path: &str) -> Option<PathBuf> {
        match &self.source {
            Source::Snapshot(folder) => self.files.contains_key(path).then(|| folder.join(path)),
            Source::Hub(online) => {
                let file = self.files.get(path)?;
                online.cache.as_ref()?.blob(&file.id, file.size)
            }
        }
    }

    /// A whole small file, checked against its digest. An empty one is not asked for.
    ///
    /// # Errors
    /// [`RemoteError::NotFound`], [`HubError::DamagedCache`], [`HubError::WrongGitId`], and what the Hub says.
    pub async fn small(&self, path: &str) -> Result<Vec<u8>, RemoteError> {
        let file = self.files.get(path).ok_or_else(|| RemoteError::NotFound { url: self.shown(path) })?;
        let known = self.known(path, file)?;
        match &self.source {
            Source::Snapshot(folder) => read_cached(folder.join(path), &known),
            Source::Hub(online) => {
                let place = FileInCommit { commit: self.commit.clone(), path: path.to_owned() };
                let attempt = || online.files.known_document(&online.hub, &place, &known, SMALL);
                online.hub.retry().repeat(attempt).await
            }
        }
    }

    /// The digest of a file. Everything that the Hub lists has one.
    fn known(&self, path: &str, file: &CollectedFile) -> Result<FileHash, RemoteError> {
        Ok(match file.sha256 {
            Some(digest) => FileHash::Sha256(digest),
            None if Commit::parse(&file.id).is_some() => FileHash::Git(file.id.clone()),
            None if self.is_offline() => FileHash::Nothing,
            None => return Err(HubError::Unexpected { url: self.shown(path), what: "a file without a git id".to_owned() }.into()),
        })
    }

    /// Reads these files by their sha256, with retries around a limit of requests. The bytes are not checked.
    ///
    /// # Errors
    /// [`HubError::Offline`] where the Hub is switched off; where its client cannot be set up.
    pub fn reader(&self, paths: BTreeMap<Digest, RelativePath>) -> Result<Arc<dyn Remote>, RemoteError> {
        if self.is_offline() {
            return Err(HubError::Offline { repository: self.repository().to_owned() }.into());
        }
        let remote = HubRemote::of_files(&self.address, &self.commit, paths, &self.options)?;
        Ok(layered(Arc::new(remote), &self.options))
    }
}

fn read_cached(path: PathBuf, known: &FileHash) -> Result<Vec<u8>, RemoteError> {
    let bytes = fs::read(&path).map_err(|source| RemoteError::File { action: "read", path: path.clone(), source })?;
    let (expected, found) = match known {
        FileHash::Sha256(expected) => (expected.to_string(), Digest::of(&bytes).to_string()),
        FileHash::Git(expected) => (expected.clone(), git_blob_id(&bytes)),
        FileHash::Nothing => return Ok(bytes),
    };
    if found == expected { Ok(bytes) } else { Err(HubError::DamagedCache { path, expected, found }.into()) }
}

impl Entry {
    /// The entry for other rooms.
    pub(super) fn collected(&self) -> CollectedFile {
        let (sha256, id): (Option<Digest>, String) = match &self.content {
            Content::Lfs(digest) => (Some(*digest), digest.to_string()),
            Content::Git(id) => (None, id.clone()),
        };
        CollectedFile { size: self.size, sha256, id }
    }
}
