//! Checkpoints, bundles and plain files that lie in a repository of the Hub.
//!
//! Files are downloaded whole and verified: small files against git's id or their sha256, large files against their
//! sha256 while they are written to the store. A checkpoint becomes a folder of links. Its weight files are empty
//! placeholders until their tensors are read, because an unchanged build needs only their digests, which the Hub lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    slice,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use semver::Version;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::error::BuildError;
use crate::{
    base::{ByteRange, Digest, HubUrl, PackageName, RelativePath, note_temporary},
    checkpoint::{Checkpoint, CheckpointError, Weights},
    fetch::{Facts, FetchError, FetchPlan, download},
    manifest::{
        nearest,
        release::{Blob, Other, Release, SCHEMA, Source},
    },
    remote::{CollectedFile, HubCheckout, HubError, RemoteError},
    store::{Store, StoreError},
    workflow::{Amount, Context, Error, Progress},
};

const SAFETENSORS: &str = ".safetensors";
const WEIGHTS: &[&str] = &[SAFETENSORS, ".bin", ".pth", ".pt", ".ckpt"];
/// Maximum length of a safetensors header in bytes, as the format limits it.
const LONGEST_HEADER: u64 = 100_000_000;
/// Number of concurrent requests for small files.
const READERS: usize = 8;

/// Parses an address of the Hub; `None` for other texts.
pub(super) fn address(text: &str) -> Option<Result<HubUrl, BuildError>> {
    text.starts_with("hf://").then(|| HubUrl::parse(text).map_err(|source| BuildError::Address { source }))
}

/// The files of a commit, and the store that they are downloaded to.
#[derive(Debug)]
pub(super) struct HubFiles {
    store: Store,
    handle: Handle,
    progress: Arc<dyn Progress>,
    checkout: HubCheckout,
}

/// How a file is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placing {
    /// As a symbolic link, where the system supports them.
    Link,
    /// As a separate file, copy-on-write where possible.
    Own,
}

impl HubFiles {
    /// Resolves the revision of an address and lists its files.
    pub(super) fn open(context: &Context, url: &HubUrl) -> Result<Self, Error> {
        Ok(Self {
            store: context.store().clone(),
            handle: context.block_on(async { Handle::current() })?,
            progress: context.progress().clone(),
            checkout: context.block_on(HubCheckout::open(url, context.remote_options()))??,
        })
    }

    pub(super) fn repository(&self) -> &str {
        self.checkout.repository()
    }

    pub(super) fn commit(&self) -> &str {
        self.checkout.commit()
    }

    /// The files by path.
    pub(super) fn list(&self) -> &BTreeMap<String, CollectedFile> {
        self.checkout.files()
    }

    /// What a release records about files of this commit; `files` has their names and digests.
    pub(super) fn source(&self, files: BTreeMap<String, Digest>) -> Source {
        Source {
            architecture: None,
            files,
            repository: Some(self.repository().to_owned()),
            revision: Some(self.commit().to_owned()),
            more: Vec::new(),
            stand_in: None,
            ignored_config: BTreeSet::new(),
            other: Other::default(),
        }
    }

    /// The error for a path that the commit does not have.
    pub(super) fn missing(&self, path: &str) -> BuildError {
        let name = |path: &str| path.rsplit('/').next().map(str::to_lowercase);
        let is_elsewhere = |other: &&str| {
            name(other) == name(path) || other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        let known = || self.list().keys().map(String::as_str);
        let mut found: Vec<&str> = known().filter(is_elsewhere).collect();
        found.extend(nearest(path, known().filter(|other| !is_elsewhere(other)), 3));
        let nearest = found.into_iter().take(3).map(str::to_owned).collect();
        let (repository, commit) = (self.repository().to_owned(), self.commit().to_owned());
        BuildError::NoHubFile {
            path: path.to_owned(),
            repository,
            commit,
            is_offline: self.checkout.is_offline(),
            nearest,
        }
    }

    /// Places files as separate copies; `files` maps paths in the repository to paths on this machine, which no other
    /// process uses.
    pub(super) fn place(&self, files: &BTreeMap<String, PathBuf>) -> Result<(), Error> {
        self.place_as(files, Placing::Own)
    }

    /// Downloads, verifies and places files.
    fn place_as(&self, files: &BTreeMap<String, PathBuf>, placing: Placing) -> Result<(), Error> {
        for place in files.values() {
            let folder = place.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).map_err(BuildError::read(folder))?;
        }
        let (mut small, mut local, mut large) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (path, place) in files {
            let file = self.list().get(path).ok_or_else(|| self.missing(path))?;
            match file.sha256 {
                Some(digest) => {
                    large.insert(path.as_str(), (digest, file.size, place));
                }
                // Files of the cache of which nobody says the digest: what is computed counts.
                None if file.id.is_empty() && self.checkout.is_offline() => {
                    local.extend(self.checkout.cached(path).map(|from| (from, place)))
                }
                None => small.push((path, place)),
            }
        }
        let read = |(path, place): (&String, &PathBuf)| {
            let (path, place) = (path.clone(), place.clone());
            async move {
                let bytes = self.checkout.small(&path).await?;
                Ok::<_, Error>(write(&place, &bytes)?)
            }
        };
        self.handle.block_on(stream::iter(small).map(read).buffer_unordered(READERS).try_collect::<()>())?;
        let wanted = large.iter().map(|(path, (digest, size, _))| (*path, (*digest, *size))).collect();
        let mut brought = self.bring(&wanted)?;
        local.extend(large.into_iter().filter_map(|(path, (_, _, place))| Some((brought.remove(path)?, place))));
        for (from, place) in local {
            put(&from, place, placing).map_err(BuildError::read(place))?;
        }
        Ok(())
    }

    /// Paths of verified large files: in the store, or in the cache of the Hub's client. Missing files are downloaded.
    fn bring<'p>(&self, wanted: &BTreeMap<&'p str, (Digest, u64)>) -> Result<BTreeMap<&'p str, PathBuf>, Error> {
        let mut places = BTreeMap::new();
        let mut missing: BTreeMap<Digest, (&str, u64)> = BTreeMap::new();
        for (path, (digest, size)) in wanted {
            if self.store.has_blob(digest, &Blob::of_size(*size))? {
                places.insert(*path, self.store.blob_path(digest));
                continue;
            }
            match self.cached(path, digest)? {
                Some(place) => _ = places.insert(*path, place),
                None => _ = missing.insert(*digest, (path, *size)),
            }
        }
        if !missing.is_empty() {
            self.download(&missing)?;
        }
        for (path, (digest, _)) in wanted {
            places.entry(*path).or_insert_with(|| self.store.blob_path(digest));
        }
        Ok(places)
    }

    /// A verified file in the cache of the Hub's client. A file with a wrong digest is an error offline, and ignored
    /// otherwise.
    fn cached(&self, path: &str, digest: &Digest) -> Result<Option<PathBuf>, Error> {
        let Some(place) = self.checkout.cached(path) else { return Ok(None) };
        let found = self.store.file_digest(&place)?.0;
        if found != *digest && self.checkout.is_offline() {
            let damaged =
                HubError::DamagedCache { path: place, expected: digest.to_string(), found: found.to_string() };
            return Err(RemoteError::from(damaged).into());
        }
        Ok((found == *digest).then_some(place))
    }

    /// Downloads files into the store in parallel and resumes earlier downloads. The sha256 is computed during the
    /// download; wrong bytes are discarded and requested again.
    fn download(&self, missing: &BTreeMap<Digest, (&str, u64)>) -> Result<(), Error> {
        let release = Arc::new(description(missing.iter().map(|(digest, (_, size))| (*digest, *size))));
        let partial = missing.iter().map(|(digest, (_, size))| (*digest, self.store.arrived(digest, *size))).collect();
        let plan = FetchPlan::new(&release, missing.keys().copied(), &Facts { partial, ..Facts::default() })
            .map_err(Error::from)?;
        let remote = self.checkout.reader(self.paths(missing)?)?;
        let task = self
            .progress
            .begin(&format!("fetching from hf://{}", self.repository()), Amount::Bytes(plan.totals().download));
        let seen = |bytes| task.advance(bytes);
        let done = self.handle.block_on(download(&self.store, remote.as_ref(), &release, &plan, &seen));
        done.map_err(|error| self.explained(error, missing))?;
        task.finish(&format!("fetched {} files of hf://{}", missing.len(), self.repository()));
        Ok(())
    }

    fn paths(&self, files: &BTreeMap<Digest, (&str, u64)>) -> Result<BTreeMap<Digest, RelativePath>, BuildError> {
        let path = |(digest, (path, _)): (&Digest, &(&str, u64))| {
            let parsed =
                path.parse().map_err(|source| BuildError::Path { path: self.checkout.shown(path).into(), source })?;
            Ok((*digest, parsed))
        };
        files.iter().map(path).collect()
    }

    /// Names the file whose digest was wrong at every attempt.
    fn explained(&self, error: FetchError, files: &BTreeMap<Digest, (&str, u64)>) -> Error {
        match error {
            FetchError::DamagedBlob { expected, received, size, .. } => {
                let path = files.get(&expected).map_or("", |(path, _)| *path);
                BuildError::Damaged { file: self.checkout.shown(path), expected, received, size }.into()
            }
            other => other.into(),
        }
    }
}

/// A release that describes unreleased blobs, which the downloader expects.
fn description(files: impl Iterator<Item = (Digest, u64)>) -> Release {
    Release {
        schema: SCHEMA.to_owned(),
        package: "checkpoint".parse::<PackageName>().expect("this is a name"),
        version: Version::new(0, 0, 0),
        description: None,
        license: None,
        sources: BTreeMap::new(),
        variants: Vec::new(),
        blobs: files.map(|(digest, size)| (digest, Blob::of_size(size))).collect(),
        other: Other::default(),
    }
}

/// A checkpoint in a repository.
#[derive(Debug)]
pub(super) struct HubCheckpoint {
    files: HubFiles,
    folder: TempDir,
    path: PathBuf,
    /// Path of the checkpoint's folder in the repository.
    base: String,
    /// Names of the files whose verified bytes are in the folder.
    brought: Mutex<BTreeSet<String>>,
}

impl HubCheckpoint {
    /// Resolves the address and downloads the small files.
    pub(super) fn open(context: &Context, url: &HubUrl) -> Result<Self, Error> {
        let files = HubFiles::open(context, url)?;
        let base = base_of(url, files.list());
        let folder = scratch(context.store())?;
        let mut path = folder.path().to_owned();
        if let Some(file) = url.path().filter(|path| files.list().contains_key(*path)) {
            path.push(file.rsplit('/').next().unwrap_or(file));
        }
        let checkpoint = Self { files, folder, path, base, brought: Mutex::default() };
        let beside = checkpoint.beside();
        if let Some(path) = url.path().filter(|_| beside.is_empty()) {
            return Err(checkpoint.files.missing(path).into());
        }
        let is_weights = |name: &str| WEIGHTS.iter().any(|ending| name.ends_with(ending));
        let is_description = |name: &str| name == "config.json" || name.ends_with(".index.json");
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for (name, file) in beside {
            match file.sha256 {
                Some(_) if is_weights(name) => later.push(name),
                _ if is_weights(name) || is_description(name) => now.push(name.to_owned()),
                _ => {}
            }
        }
        if later.is_empty() && !now.iter().any(|name| name != "config.json") {
            return Err(checkpoint.without_weights().into());
        }
        for name in later {
            let place = checkpoint.folder.path().join(name);
            fs::File::create(&place).map_err(BuildError::read(&place))?;
        }
        checkpoint.bring(&now)?;
        Ok(checkpoint)
    }

    /// The files that lie directly in the checkpoint's folder, by name.
    fn beside(&self) -> BTreeMap<&str, &CollectedFile> {
        let named = |(path, file)| {
            let path: &String = path;
            let name = if self.base.is_empty() {
                path.as_str()
            } else {
                path.strip_prefix(self.base.as_str())?.strip_prefix('/')?
            };
            name.parse::<RelativePath>().is_ok_and(|path| path.parent().is_none()).then_some((name, file))
        };
        self.files.list().iter().filter_map(named).collect()
    }

    /// The error for a folder without weights.
    fn without_weights(&self) -> BuildError {
        let has_weights = |path: &&String| WEIGHTS.iter().any(|ending| path.ends_with(ending));
        let folder = |path: &String| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let folders: BTreeSet<String> = self.files.list().keys().filter(has_weights).filter_map(folder).collect();
        let place = self.files.checkout.shown(&self.base);
        BuildError::NoHubWeights {
            place: place.trim_end_matches('/').to_owned(),
            folders: folders.into_iter().take(3).collect(),
        }
    }

    /// The folder of links on this machine.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn repository(&self) -> &str {
        self.files.repository()
    }

    pub(super) fn commit(&self) -> &str {
        self.files.commit()
    }

    /// The sha256 that the Hub lists for a weight file, which may not be downloaded. Later reads are verified against
    /// it.
    pub(super) fn digest(&self, name: &str) -> Option<Digest> {
        let is_weights = WEIGHTS.iter().any(|ending| name.ends_with(ending));
        self.files.list().get(&self.source(name)).filter(|_| is_weights)?.sha256
    }

    /// The path in the repository of a file below the checkpoint's folder.
    fn source(&self, name: &str) -> String {
        if self.base.is_empty() { name.to_owned() } else { format!("{}/{name}", self.base) }
    }

    /// Downloads a file below the checkpoint's folder, if the repository has it.
    pub(super) fn bring_document(&self, path: &str) -> Result<(), Error> {
        if self.files.list().contains_key(&self.source(path)) { self.bring(&[path.to_owned()]) } else { Ok(()) }
    }

    /// Downloads and verifies files below the checkpoint's folder.
    fn bring(&self, names: &[String]) -> Result<(), Error> {
        // Held meanwhile, so that nobody sees half of them.
        let mut brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = BTreeMap::new();
        for name in names.iter().filter(|name| !brought.contains(*name)) {
            let path = name.parse::<RelativePath>().map_err(|source| BuildError::Path { path: name.into(), source })?;
            places.insert(self.source(name), path.below(self.folder.path()));
        }
        self.files.place_as(&places, Placing::Link)?;
        brought.extend(names.iter().cloned());
        Ok(())
    }

    /// Downloads the headers of some weight files, to choose between them by their tensors. The headers are not
    /// verified, so they serve no other purpose and are not stored.
    pub(super) fn peek(&self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let source = self.source(name);
            let Some((digest, size)) = self.files.list().get(&source).and_then(|file| Some((file.sha256?, file.size)))
            else {
                continue;
            };
            if !name.ends_with(SAFETENSORS) || self.is_here(&digest, size)? || self.files.checkout.is_offline() {
                self.bring(slice::from_ref(name))?;
                continue;
            }
            let place = self.folder.path().join(name);
            let begin = self.beginning(&source, digest, size)?;
            let written = fs::File::create(&place)
                .and_then(|mut file| io::Write::write_all(&mut file, &begin).and_then(|()| file.set_len(size)));
            written.map_err(BuildError::read(&place))?;
        }
        Ok(())
    }

    fn is_here(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        self.files.store.has_blob(digest, &Blob::of_size(size))
    }

    /// The header of a safetensors file, not verified.
    fn beginning(&self, source: &str, digest: Digest, size: u64) -> Result<Vec<u8>, Error> {
        let release = description([(digest, size)].into_iter());
        let reader = self.files.checkout.reader(self.files.paths(&[(digest, (source, size))].into())?)?;
        let mut bytes = Vec::new();
        // First its length, then itself. A length that cannot be is found by the reader of the header.
        for _ in 0..2 {
            let end =
                bytes.first_chunk().map_or(8, |length| 8 + u64::from_le_bytes(*length).min(LONGEST_HEADER)).min(size);
            let Some(range) = ByteRange::new(bytes.len() as u64, end - bytes.len() as u64) else { break };
            let mut sink = |part: &[u8]| {
                bytes.extend_from_slice(part);
                Ok(())
            };
            self.files.handle.block_on(reader.read(&release, &digest, range, &mut sink))?;
        }
        Ok(bytes)
    }

    /// The tensors of some weight files, which are downloaded and verified now.
    pub(super) fn weights(
        &self,
        checkpoint: &Checkpoint,
        names: &[String],
    ) -> Result<Result<Arc<dyn Weights>, CheckpointError>, Error> {
        self.bring(names)?;
        Ok(checkpoint.weights(names))
    }
}

/// The folder that an address names, or the folder of the file that it names.
fn base_of(url: &HubUrl, files: &BTreeMap<String, CollectedFile>) -> String {
    match url.path() {
        Some(path) if files.contains_key(path) => {
            path.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
        }
        Some(path) => path.to_owned(),
        None => String::new(),
    }
}

/// A temporary folder on the file system of the store, so that files of the store can be linked into it.
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

/// Places the file `from` at `to`, where at most a placeholder exists.
fn put(from: &Path, to: &Path, placing: Placing) -> io::Result<()> {
    // A link into the cache of the Hub's client leads to a link.
    let from = fs::canonicalize(from)?;
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match placing {
        Placing::Link => link(&from, to),
        Placing::Own => fs::hard_link(&from, to).or_else(|_| fs::copy(&from, to).map(|_| ())),
    }
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

/// Bundles of a repository that match a pattern.
pub(super) struct HubBundles {
    /// Temporary folder that holds the bundles.
    pub(super) folder: TempDir,
    /// Paths as the pattern spells them, and paths on this machine.
    pub(super) bundles: Vec<(String, PathBuf)>,
}

impl HubBundles {
    /// Downloads every bundle in the repository of `url` whose `<prefix><path in the repository>` satisfies `matches`.
    pub(super) fn fetch(
        context: &Context,
        url: &HubUrl,
        prefix: &str,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Self, Error> {
        let files = HubFiles::open(context, url)?;
        let folder = scratch(context.store())?;
        let (mut bundles, mut places) = (BTreeMap::new(), BTreeMap::new());
        for path in files.list().keys() {
            // A path that would lead out of the folder is no file of a bundle.
            let Ok(relative) = path.parse::<RelativePath>() else { continue };
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let Some(bundle) = ends.map(|end| &path[..end]).find(|part| matches(&format!("{prefix}{part}"))) else {
                continue;
            };
            places.insert(path.clone(), relative.below(folder.path()));
            bundles.insert(format!("{prefix}{bundle}"), folder.path().join(bundle));
        }
        files.place(&places)?;
        Ok(Self { folder, bundles: bundles.into_iter().collect() })
    }
}
