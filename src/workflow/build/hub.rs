//! Checkpoints and bundles that lie in a repository of the Hub: only what a build needs of them comes here.
//!
//! A checkpoint becomes a folder of links: small files are there, weight files are sparse files of the store that are filled where somebody
//! reads them, tensor by tensor. A file of which all bytes came is hashed before its tensors are used; of a part of a file nobody publishes a
//! hash, so that lengths, ranges and the file's identity are what is checked then.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::error::BuildError;
use crate::{
    base::{ByteRange, Digest, HubUrl, RelativePath, map_file, note_temporary},
    checkpoint::{Checkpoint, CheckpointError, TensorInfo, Weights, read_safetensors_header},
    fetch::{FetchError, ranges},
    manifest::release::Blob,
    remote::{CollectedFile, HubCheckout, RemoteError},
    store::{Download, PartialBlob, Segmentation, Store, StoreError},
    workflow::{Context, Error},
};

const SAFETENSORS: &str = ".safetensors";
const WEIGHTS: &[&str] = &[SAFETENSORS, ".bin", ".pth", ".pt", ".ckpt"];
/// A header of safetensors is not longer (the format's own limit).
const LONGEST_HEADER: u64 = 100_000_000;

/// What a manifest names when it is an address of the Hub.
pub(super) fn address(text: &str) -> Option<Result<HubUrl, BuildError>> {
    text.starts_with("hf://").then(|| HubUrl::parse(text).map_err(|source| BuildError::Address { source }))
}

/// A checkpoint in a repository.
#[derive(Debug)]
pub(super) struct HubCheckpoint {
    store: Store,
    handle: Handle,
    repository: String,
    commit: String,
    /// Links to what is here. Where the Hub is switched off, there is nothing to link.
    folder: Option<TempDir>,
    path: PathBuf,
    /// The folder in the repository.
    base: String,
    remote: Option<Arc<HubCheckout>>,
    files: BTreeMap<String, Arc<HubFile>>,
    failure: Failure,
}

/// Why a tensor did not come. Whoever reads tensors learns only that it did not.
type Failure = Arc<Mutex<Option<Error>>>;

/// What whoever reads tensors learns.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DidNotCome(String);

/// Whether an error is there because a tensor did not come.
fn is_of_the_network(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<DidNotCome>()) || error.source().is_some_and(is_of_the_network)
}

/// A weight file that is filled where it is read.
#[derive(Debug)]
struct HubFile {
    /// Its path in the repository.
    path: String,
    link: PathBuf,
    digest: Digest,
    size: u64,
    /// `None` once all of it is here.
    partial: Mutex<Option<PartialBlob>>,
}

impl HubCheckpoint {
    /// Resolves the address and takes in the small files.
    pub(super) fn open(context: &Context, url: &HubUrl) -> Result<Self, Error> {
        let options = context.remote_options();
        if options.hub.offline {
            let (commit, folder) = HubCheckout::cached(url, options).ok_or_else(|| offline(url))?;
            let path = url.path().map_or_else(|| folder.clone(), |path| folder.join(path));
            let repository = url.repository().to_owned();
            let (store, handle) = (context.store().clone(), handle_of(context)?);
            return Ok(Self {
                store,
                handle,
                repository,
                commit,
                folder: None,
                path,
                base: String::new(),
                remote: None,
                files: BTreeMap::new(),
                failure: Failure::default(),
            });
        }
        let remote = Arc::new(context.block_on(HubCheckout::open(url, "", options))??);
        let all = remote.files();
        let base = base_of(url, &all);
        let folder = scratch(context.store())?;
        let mut checkpoint = Self {
            store: context.store().clone(),
            handle: handle_of(context)?,
            repository: url.repository().to_owned(),
            commit: remote.commit().to_owned(),
            path: folder.path().to_owned(),
            folder: Some(folder),
            base: base.clone(),
            remote: Some(remote),
            files: BTreeMap::new(),
            failure: Failure::default(),
        };
        if let Some(file) = url.path().filter(|path| all.contains_key(*path)) {
            checkpoint.path = checkpoint.path.join(file.rsplit('/').next().unwrap_or(file));
        }
        for (path, file) in &all {
            let name = if base.is_empty() { Some(path.as_str()) } else { path.strip_prefix(&format!("{base}/")) };
            if let Some(name) = name.filter(|name| name.parse::<RelativePath>().is_ok_and(|path| path.parent().is_none())) {
                checkpoint.take_in(name, path, file)?;
            }
        }
        Ok(checkpoint)
    }

    /// Where the checkpoint is read.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// The error that `error` comes from, where a tensor did not come.
    pub(super) fn cause_of(&self, error: Error) -> Error {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.filter(|_| is_of_the_network(&error)).unwrap_or(error)
    }

    /// The sha256 of a file that need not be here.
    pub(super) fn digest(&self, name: &str) -> Option<Digest> {
        self.files.get(name).map(|file| file.digest)
    }

    fn remote(&self) -> Option<&HubCheckout> {
        self.remote.as_deref()
    }

    fn take_in(&mut self, name: &str, path: &str, file: &CollectedFile) -> Result<(), Error> {
        let (Some(folder), Some(remote)) = (&self.folder, self.remote()) else { return Ok(()) };
        let link = folder.path().join(name);
        let is_weights = WEIGHTS.iter().any(|ending| name.ends_with(ending));
        let is_description = name == "config.json" || name.ends_with(".index.json");
        match file.sha256 {
            Some(digest) if is_weights => {
                let weights = lazily(&self.store, remote, path, file, digest, link)?;
                self.files.insert(name.to_owned(), Arc::new(weights));
            }
            None if is_weights || is_description => write(&link, &self.handle.block_on(remote.small(path))?)?,
            Some(_) if is_description => write(&link, &self.handle.block_on(remote.small(path))?)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes in a small file below the checkpoint's folder, if the repository has it.
    pub(super) fn bring_document(&self, path: &str) -> Result<(), Error> {
        let (Some(folder), Some(remote), Ok(relative)) = (&self.folder, self.remote(), path.parse::<RelativePath>()) else { return Ok(()) };
        let place = relative.below(folder.path());
        let source = if self.base.is_empty() { path.to_owned() } else { format!("{}/{path}", self.base) };
        if place.exists() || !remote.has(&source) {
            return Ok(());
        }
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(BuildError::read(parent))?;
        }
        Ok(write(&place, &self.handle.block_on(remote.small(&source))?)?)
    }

    /// Makes the tensors of some files known: the headers of safetensors, and pickles as they are.
    pub(super) fn describe(&self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let Some(file) = self.files.get(name) else { continue };
            if !name.ends_with(SAFETENSORS) {
                self.fill(file, ByteRange::new(0, file.size))?;
                continue;
            }
            self.fill(file, ByteRange::new(0, file.size.min(8)))?;
            let start = fs::File::open(&file.link).and_then(|mut file| {
                let mut length = [0; 8];
                io::Read::read_exact(&mut file, &mut length).map(|()| u64::from_le_bytes(length))
            });
            // A file that is too short, or a length that cannot be, is found by the reader of the header.
            let length = start.unwrap_or(0).min(LONGEST_HEADER).min(file.size.saturating_sub(8));
            self.fill(file, ByteRange::new(8, length))?;
        }
        Ok(())
    }

    /// The tensors of some files, which come when they are asked for.
    pub(super) fn weights(&self, checkpoint: &Checkpoint, names: &[String]) -> Result<Arc<dyn Weights>, CheckpointError> {
        let mut places = BTreeMap::new();
        for name in names.iter().filter(|name| name.ends_with(SAFETENSORS)) {
            let Some(file) = self.files.get(name) else { continue };
            let map = map_file(&file.link).map_err(|source| CheckpointError::Io { path: file.link.clone(), source })?;
            // What is wrong with a header is said when the file is opened below.
            for (tensor, stored) in read_safetensors_header(&map).unwrap_or_default() {
                let range = stored.info.bytes().and_then(|length| ByteRange::new(stored.begin, length));
                places.extend(range.map(|range| (tensor, (file.clone(), range))));
            }
        }
        let inner = checkpoint.weights(names)?;
        let remote = self.remote.clone();
        Ok(Arc::new(HubWeights { inner, handle: self.handle.clone(), remote, places, failure: self.failure.clone() }))
    }

    fn fill(&self, file: &HubFile, range: Option<ByteRange>) -> Result<(), Error> {
        match (self.remote(), range) {
            (Some(remote), Some(range)) => file.fill(&self.handle, remote, range),
            _ => Ok(()),
        }
    }

    /// Hashes the files that came whole, which become blobs of the store.
    pub(super) fn settle(&self, names: &[String]) -> Result<(), Error> {
        names.iter().filter_map(|name| self.files.get(name)).try_for_each(|file| file.settle(&self.store, &self.repository))
    }
}

/// The runtime of a context, for whoever outlives the borrow.
fn handle_of(context: &Context) -> Result<Handle, Error> {
    context.block_on(async { Handle::current() })
}

/// The folder of the files that count: the address's own, or that of the file that it names.
fn base_of(url: &HubUrl, files: &BTreeMap<String, CollectedFile>) -> String {
    match url.path() {
        Some(path) if files.contains_key(path) => path.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned()),
        Some(path) => path.to_owned(),
        None => String::new(),
    }
}

fn offline(url: &HubUrl) -> RemoteError {
    crate::remote::HubError::Offline { repository: url.repository().to_owned() }.into()
}

/// A folder beside the store, so that files of the store can be linked into it.
pub(super) fn scratch(store: &Store) -> Result<TempDir, BuildError> {
    let failed = |source| BuildError::Read { path: store.home().to_owned(), source };
    fs::create_dir_all(store.home()).map_err(failed)?;
    let scratch = tempfile::Builder::new().prefix(".mlreg-hub-").tempdir_in(store.home()).map_err(failed)?;
    note_temporary(scratch.path());
    Ok(scratch)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    fs::write(path, bytes).map_err(BuildError::read(path))
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

/// A file of the Hub client's cache whose bytes are right.
fn cached(store: &Store, remote: &HubCheckout, file: &CollectedFile, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
    let Some(path) = remote.cached_file(file) else { return Ok(None) };
    Ok((store.file_digest(&path)?.0 == digest).then_some(path))
}

/// Links a file to where its bytes are, or to a sparse file that will have them.
fn lazily(store: &Store, remote: &HubCheckout, path: &str, file: &CollectedFile, digest: Digest, place: PathBuf) -> Result<HubFile, Error> {
    let here = match store.confirm(&digest)? && store.blob_size(&digest) == Some(file.size) {
        true => Some(store.blob_path(&digest)),
        false => cached(store, remote, file, digest)?,
    };
    let (source, partial) = match here {
        Some(source) => (source, None),
        None => match store.partial(&digest, &Blob::of_size(file.size))? {
            Download::Present => (store.blob_path(&digest), None),
            Download::Partial(partial) => (partial.path(), Some(partial)),
        },
    };
    link(&source, &place).map_err(BuildError::read(&place))?;
    Ok(HubFile { path: path.to_owned(), link: place, digest, size: file.size, partial: Mutex::new(partial) })
}

impl HubFile {
    /// Brings in what is missing of a range.
    fn fill(&self, handle: &Handle, remote: &HubCheckout, range: ByteRange) -> Result<(), Error> {
        let partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(partial) = &*partial else { return Ok(()) };
        for missing in ranges::subtract(&[range], &partial.present()) {
            let mut at = missing.offset();
            let mut failed = None;
            let mut sink = |bytes: &[u8]| {
                let written = partial.write_at(at, bytes);
                at += bytes.len() as u64;
                written.map_err(|error| {
                    let text = io::Error::other(error.to_string());
                    failed = Some(error);
                    text
                })
            };
            let outcome = handle.block_on(remote.read(&self.path, missing, &mut sink));
            if let Some(error) = failed {
                return Err(error.into());
            }
            outcome?;
        }
        Ok(())
    }

    /// Checks a file of which every byte came.
    fn settle(&self, store: &Store, repository: &str) -> Result<(), Error> {
        let mut slot = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = ByteRange::new(0, self.size);
        let is_whole = slot.as_ref().zip(whole).is_some_and(|(partial, whole)| ranges::subtract(&[whole], &partial.present()).is_empty());
        let Some(partial) = slot.take_if(|_| is_whole) else { return Ok(()) };
        match partial.finish(&Blob::of_size(self.size)) {
            Ok(()) => {}
            Err(StoreError::WrongBytes { received, .. }) => {
                let remote = format!("hf://{repository}/{}", self.path);
                return Err(FetchError::DamagedBlob { expected: self.digest, received, size: self.size, remote }.into());
            }
            Err(error) => return Err(error.into()),
        }
        let failed = |source| BuildError::Read { path: self.link.clone(), source };
        fs::remove_file(&self.link).map_err(failed)?;
        Ok(link(&store.blob_path(&self.digest), &self.link).map_err(failed)?)
    }
}

/// Tensors that come when they are asked for.
struct HubWeights {
    inner: Arc<dyn Weights>,
    handle: Handle,
    remote: Option<Arc<HubCheckout>>,
    places: BTreeMap<String, (Arc<HubFile>, ByteRange)>,
    failure: Failure,
}

impl std::fmt::Debug for HubWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubWeights").field("inner", &self.inner).field("tensors", &self.places.len()).finish_non_exhaustive()
    }
}

impl Weights for HubWeights {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        self.inner.names()
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.inner.info(name)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        if let (Some((file, range)), Some(remote)) = (self.places.get(name), &self.remote) {
            let failed = |error: Error| {
                let source = io::Error::other(DidNotCome(error.to_string()));
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                CheckpointError::Io { path: file.path.clone().into(), source }
            };
            file.fill(&self.handle, remote, *range).map_err(failed)?;
        }
        self.inner.data(name)
    }

    fn release(&self, name: &str, bytes: Range<u64>) {
        self.inner.release(name, bytes);
    }
}

/// Bundles of a repository that match a pattern, as folders of links.
pub(super) struct HubBundles {
    /// Keeps the links.
    pub(super) folder: TempDir,
    /// Their paths in the form of the pattern, and where they are.
    pub(super) bundles: Vec<(String, PathBuf)>,
}

impl HubBundles {
    /// Brings in every bundle below the repository of `url` for which `matches` holds, given `<prefix><path in the repository>`.
    pub(super) fn fetch(context: &Context, url: &HubUrl, prefix: &str, matches: impl Fn(&str) -> bool) -> Result<Self, Error> {
        let remote = context.block_on(HubCheckout::open(url, "", context.remote_options()))??;
        let folder = scratch(context.store())?;
        let mut bundles: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (path, file) in remote.files() {
            // A path that would lead out of the folder is no file of a bundle.
            let Ok(relative) = path.parse::<RelativePath>() else { continue };
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let Some(bundle) = ends.map(|end| &path[..end]).find(|part| matches(&format!("{prefix}{part}"))) else { continue };
            let place = relative.below(folder.path());
            fs::create_dir_all(place.parent().unwrap_or(folder.path())).map_err(BuildError::read(&place))?;
            bring(context, &remote, &path, &file, &place)?;
            bundles.insert(format!("{prefix}{bundle}"), folder.path().join(bundle));
        }
        Ok(Self { folder, bundles: bundles.into_iter().collect() })
    }
}

/// Brings in a whole file, checked against its hash.
fn bring(context: &Context, remote: &HubCheckout, path: &str, file: &CollectedFile, place: &Path) -> Result<(), Error> {
    let Some(digest) = file.sha256 else { return Ok(write(place, &context.block_on(remote.small(path))??)?) };
    let store = context.store();
    let temporary = place.with_extension("mlreg-link");
    let weights = lazily(store, remote, path, file, digest, temporary.clone())?;
    if let Some(whole) = ByteRange::new(0, file.size) {
        weights.fill(&handle_of(context)?, remote, whole)?;
    }
    weights.settle(store, path)?;
    let source = fs::canonicalize(&temporary).map_err(BuildError::read(&temporary))?;
    fs::remove_file(&temporary).map_err(BuildError::read(&temporary))?;
    // A tree may not have links out of it.
    fs::hard_link(&source, place).or_else(|_| fs::copy(&source, place).map(|_| ())).map_err(BuildError::read(place))?;
    if store.blob_size(&digest) != Some(file.size) {
        store.ingest_file(place, Segmentation::Whole)?;
    }
    Ok(())
}
