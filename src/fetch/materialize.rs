//! Placing bundles into `DIR/<package>`: built elsewhere and renamed into it, so that nothing torn is ever visible.
//!
//! "Elsewhere" is a temporary folder beside them, or, where only what was announced may be written (Xcode's sandbox),
//! one in the store's home; should that be on another file system, files are then copied straight to their places.
//!
//! A bundle that is as it should be is left alone, also its times. A damaged one is replaced as a whole: everything in
//! a bundle's folder belongs to mlreg. Beside the bundles nothing is touched that mlreg did not place. Symbolic links
//! inside the folder are never followed: a link that took the place of a bundle is replaced, and a package's folder or
//! proof that is a link is refused. Before the first change the store's record says which names belong to mlreg, so
//! that a killed run leaves nothing that the next one takes for somebody else's.
//!
//! Files are not synced one by one: links and clones share the store's bytes, which are; plain copies are synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::Serialize;
use tempfile::TempDir;

use super::{
    FetchError,
    fill::Filler,
    layout::{Entry, LAYOUT_NAME, PROOF_NAME, PlacedFile, Proof},
    scan::{HAS_EXECUTABLES, Scan, Stat},
    state::{FetchRequest, Journal, destination},
};
use crate::{
    base::{
        AtomicFile, Blake3, Digest, FolderError, PackageName, PathClash, hash_file, limits::INDEX_BYTES, name_key,
        note_temporary, read_plain, remove_dir_all_writable,
    },
    store::Store,
};

const TEMPORARY: &str = ".mlreg-tmp-";

/// Where bundles are built before they are moved into place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Staging {
    /// In the package's folder, which is always on the same file system.
    #[default]
    Beside,
    /// In the store's home: nothing but bundles and the proof is ever written to the package's folder.
    Home,
}

/// The folder of a package, where bundles are placed.
#[derive(Debug)]
pub struct Destination<'a> {
    store: &'a Store,
    folder: PathBuf,
    journal: Option<Journal>,
    placed: Option<Proof>,
    /// Names that belong to mlreg.
    owned: BTreeSet<String>,
    staging: Staging,
    /// Held as long as this lives.
    _lock: Option<File>,
}

/// What a look at a destination found, compared with what should be there.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Bundles and files that are as they should be.
    pub(super) intact: BTreeSet<String>,
    /// What is there and belongs to mlreg, and is not what should be there.
    damaged: BTreeSet<String>,
    /// What has to be built.
    pending: BTreeSet<String>,
    /// What is there and belongs to mlreg, and should not be there.
    unwanted: BTreeSet<String>,
    /// Of these, what is to get another spelling of its name.
    respelled: BTreeSet<String>,
    /// Right files by content.
    sources: BTreeMap<Digest, PathBuf>,
    needed: BTreeMap<Digest, u64>,
    suspects: BTreeSet<Digest>,
}

/// What is known of a name before its content is looked at.
#[derive(Debug, Clone, Copy)]
struct State {
    is_owned: bool,
    is_respelled: bool,
    is_relaid: bool,
}

/// What placing did or would do, by names in the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlaceReport {
    /// Built.
    pub placed: Vec<String>,
    /// Left as they were.
    pub kept: Vec<String>,
    /// Removed because nothing wants them any more.
    pub removed: Vec<String>,
}

impl Survey {
    /// The blobs that building needs, with their lengths.
    pub fn needed(&self) -> &BTreeMap<Digest, u64> {
        &self.needed
    }

    /// Those of them that replace wrong files: the wrong file may be a link to the blob, so that the blob's times prove
    /// nothing.
    pub fn suspects(&self) -> &BTreeSet<Digest> {
        &self.suspects
    }

    /// A right file in the destination that has the bytes of a blob.
    pub fn source(&self, digest: &Digest) -> Option<&Path> {
        self.sources.get(digest).map(PathBuf::as_path)
    }

    /// What placing would do.
    pub fn report(&self) -> PlaceReport {
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect();
        PlaceReport { placed: names(&self.pending), kept: names(&self.intact), removed: names(&self.unwanted) }
    }
}

impl<'a> Destination<'a> {
    /// Takes hold of `DIR/<package>`, which need not exist: waits while another process has it, removes what a killed
    /// one left.
    ///
    /// # Errors
    /// What the file system says.
    pub fn lock(store: &'a Store, out: &Path, package: &PackageName, staging: Staging) -> Result<Self, FetchError> {
        let folder = destination(out, package)?;
        let lock = lock_path(store, &folder)?;
        if staging == Staging::Beside {
            remove_leftovers(&folder).map_err(FetchError::io("clean up in", &folder))?;
        }
        let stage = stage_in_home(store, &folder);
        remove_dir_all_writable(&stage).map_err(FetchError::io("clean up", &stage))?;
        Ok(Self { _lock: Some(lock), staging, ..Self::look(store, out, package)? })
    }

    /// Only looks at `DIR/<package>`, which need not exist.
    ///
    /// # Errors
    /// What the file system says.
    pub fn look(store: &'a Store, out: &Path, package: &PackageName) -> Result<Self, FetchError> {
        let folder = destination(out, package)?;
        let is_ours = |proof: &Proof| proof.package == *package;
        let journal = Journal::read(store, &folder).filter(|journal| journal.proof.as_ref().is_none_or(is_ours));
        let recorded = journal.as_ref().and_then(|journal| journal.proof.clone());
        let written = match Proof::read(&folder) {
            Err(error @ FolderError::Link { .. }) => return Err(error.into()),
            other => other.ok().flatten().filter(is_ours),
        };
        let mut owned = BTreeSet::from([PROOF_NAME.to_owned()]);
        owned.extend(journal.iter().flat_map(|journal| journal.names.iter().cloned()));
        owned.extend(written.iter().chain(&recorded).flat_map(Proof::names).map(str::to_owned));
        // The proof in the folder travels with it, so it knows best what is there. A folder without any trace was
        // emptied on purpose.
        let has_trace = |proof: &Proof| proof.names().any(|name| folder.join(name).symlink_metadata().is_ok());
        let placed = written.or_else(|| recorded.filter(has_trace));
        Ok(Self { store, folder, journal, placed, owned, staging: Staging::default(), _lock: None })
    }

    /// Believes no recorded times: the next survey hashes every file.
    pub fn distrust(&mut self) {
        self.journal.iter_mut().for_each(|journal| journal.scan = Scan::default());
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was placed here last, as far as that is known.
    pub fn placed(&self) -> Option<&Proof> {
        self.placed.as_ref()
    }

    /// Compares what is here with what should be. Files whose length or times differ from what was recorded are hashed.
    ///
    /// # Errors
    /// `InTheWay`, or what the file system says.
    pub fn survey(&self, wanted: &Proof) -> Result<Survey, FetchError> {
        let names: BTreeSet<&str> = wanted.names().chain(self.owned.iter().map(String::as_str)).collect();
        let scan = Scan::of(&self.folder, names.iter().copied()).map_err(FetchError::io("look at", &self.folder))?;
        let respelled = self.respelled(wanted)?;
        let is_relaid = self.placed.as_ref().is_some_and(|placed| placed.layout != wanted.layout);
        let mut survey = Survey { respelled: respelled.values().cloned().collect(), ..Survey::default() };
        for (name, entry) in wanted.entries() {
            let state =
                State { is_owned: self.owned.contains(name), is_respelled: respelled.contains_key(name), is_relaid };
            self.judge(name, &scan.part(name), &entry, state, &mut survey)?;
        }
        if let Some(document) = wanted.files.get(LAYOUT_NAME) {
            survey.needed.remove(&document.sha256);
        }
        let kept: BTreeSet<&str> = wanted.names().collect();
        let unwanted = self.owned.iter().filter(|name| !kept.contains(name.as_str()) && !scan.part(name).is_empty());
        survey.unwanted = unwanted.cloned().collect();
        Ok(survey)
    }

    /// Names that belong to mlreg and are to be spelled another way, which some file systems take for the same name:
    /// new by old. What somebody else placed under such a name is in the way.
    fn respelled(&self, wanted: &Proof) -> Result<BTreeMap<String, String>, FetchError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(BTreeMap::new());
            }
            other => other.map_err(FetchError::io("list", &self.folder))?,
        };
        let keys: BTreeMap<String, &str> = wanted.names().map(|name| (name_key(name), name)).collect();
        let mut respelled = BTreeMap::new();
        for entry in entries {
            let Ok(found) = entry.map_err(FetchError::io("list", &self.folder))?.file_name().into_string() else {
                continue;
            };
            let Some(name) = keys.get(&name_key(&found)).filter(|name| **name != found) else { continue };
            if !self.owned.contains(&found) {
                let place = self.folder.display().to_string();
                return Err(FetchError::Collision { place, clash: PathClash::of(&found, name) });
            }
            respelled.insert((*name).to_owned(), found);
        }
        Ok(respelled)
    }

    /// Sorts one bundle or file into intact, damaged or missing.
    fn judge(
        &self,
        name: &str,
        found: &Scan,
        expected: &Entry,
        state: State,
        survey: &mut Survey,
    ) -> Result<(), FetchError> {
        let files = expected.files_with(|path| found.files.contains_key(path));
        let right = self.right_files(&found.files, &files)?;
        survey.sources.extend(right.iter().map(|path| (files[path].sha256, self.folder.join(path))));
        let same_names = found.folders == expected.folders && found.files.keys().eq(files.keys());
        let whole = found.others.is_empty() && same_names && right.len() == files.len();
        if whole && !(state.is_relaid && state.is_owned) && !state.is_respelled {
            survey.intact.insert(name.to_owned());
            return Ok(());
        }
        if !found.is_empty() {
            // Xcode makes the folders of announced outputs before the phase runs.
            let is_skeleton =
                found.files.is_empty() && found.others.is_empty() && found.folders.is_subset(&expected.folders);
            let is_ours = state.is_owned || state.is_respelled || (is_skeleton && self.staging == Staging::Home);
            if !is_ours {
                return Err(FetchError::InTheWay { path: self.folder.join(name) });
            }
            survey.damaged.insert(name.to_owned());
        }
        survey.pending.insert(name.to_owned());
        survey.needed.extend(expected.files.values().map(|file| (file.sha256, file.size)));
        let wrong = expected.files.iter().filter(|(path, _)| found.files.contains_key(*path) && !right.contains(*path));
        survey.suspects.extend(wrong.map(|(_, file)| file.sha256));
        Ok(())
    }

    /// The paths at which the expected bytes lie.
    fn right_files(
        &self,
        found: &BTreeMap<String, Stat>,
        expected: &BTreeMap<String, PlacedFile>,
    ) -> Result<BTreeSet<String>, FetchError> {
        let is_right = |(path, file): (&String, &PlacedFile)| {
            let Some(stat) = found.get(path) else { return Ok(None) };
            let plausible = stat.size == file.size && (!HAS_EXECUTABLES || stat.executable == file.executable);
            let right = plausible && (self.is_known(path, stat, file) || self.has_bytes(path, file)?);
            Ok(right.then(|| path.clone()))
        };
        let right: Vec<Option<String>> = expected.par_iter().map(is_right).collect::<Result<_, FetchError>>()?;
        Ok(right.into_iter().flatten().collect())
    }

    fn has_bytes(&self, path: &str, file: &PlacedFile) -> Result<bool, FetchError> {
        let path = self.folder.join(path);
        Ok(hash_file(&path, &|_| ()).map_err(FetchError::io("read", &path))?.sha256 == file.sha256)
    }

    /// Whether the file is as it was when it was placed with these bytes.
    fn is_known(&self, path: &str, stat: &Stat, file: &PlacedFile) -> bool {
        let Some(journal) = &self.journal else { return false };
        let recorded = journal.proof.as_ref().and_then(|proof| file_in(proof, path));
        journal.scan.files.get(path) == Some(stat) && recorded == Some(*file)
    }

    /// Makes the folder what `wanted` says, after every needed blob was put into the store, and records which request
    /// that satisfies.
    ///
    /// # Errors
    /// `MissingBlob` from the store, or what the file system says.
    pub fn place(
        &self,
        wanted: &Proof,
        survey: &Survey,
        request: Option<FetchRequest>,
    ) -> Result<PlaceReport, FetchError> {
        let _guard = self.store.writing()?;
        let proof = wanted.to_bytes();
        let path = self.folder.join(PROOF_NAME);
        let proven = read_plain(&path, INDEX_BYTES).is_ok_and(|bytes| bytes == proof);
        if !survey.pending.is_empty() || !survey.unwanted.is_empty() || !proven {
            fs::create_dir_all(&self.folder).map_err(FetchError::io("make", &self.folder))?;
            self.announce(wanted)?;
            self.change(wanted, survey, &proof)?;
        }
        self.record(wanted, request)?;
        Ok(survey.report())
    }

    /// Says before the first change which names belong to mlreg, and that no request is satisfied for now.
    fn announce(&self, wanted: &Proof) -> Result<(), FetchError> {
        let names = self.owned.iter().cloned().chain(wanted.names().map(str::to_owned)).collect();
        let journal = self.journal.clone().unwrap_or_default().changing(names);
        journal.write(self.store, &self.folder, Some(wanted.release))
    }

    fn stage(&self) -> Result<TempDir, FetchError> {
        let parent = match self.staging {
            Staging::Beside => self.folder.clone(),
            Staging::Home => stage_in_home(self.store, &self.folder),
        };
        fs::create_dir_all(&parent).map_err(FetchError::io("make", &parent))?;
        let stage = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&parent)
            .map_err(FetchError::io("make a folder in", &parent))?;
        note_temporary(stage.path());
        Ok(stage)
    }

    fn change(&self, wanted: &Proof, survey: &Survey, proof: &[u8]) -> Result<(), FetchError> {
        let temporary = self.stage()?;
        let mut filler = Filler::new(self.store, wanted.layout, &self.folder, wanted, survey);
        let old = OldThings::new(&temporary, &self.folder)?;
        // First, because on some file systems the new name is the old one.
        survey.respelled.iter().try_for_each(|name| old.take(name))?;
        for name in &survey.pending {
            let new = temporary.path().join(name);
            match (wanted.bundles.get(name), wanted.files.get(name)) {
                (Some(bundle), _) => filler.build(bundle, &new)?,
                (None, Some(_)) if name == LAYOUT_NAME => write(&new, &wanted.layout_document().unwrap_or_default())?,
                (None, Some(file)) => filler.put(file, &new)?,
                (None, None) => continue,
            }
            if survey.damaged.contains(name) {
                old.take(name)?;
            }
            let place = self.folder.join(name);
            move_into_place(&new, &place).map_err(FetchError::io("move a finished bundle to", &place))?;
            filler.settle(&new, &place);
        }
        survey.unwanted.difference(&survey.respelled).try_for_each(|name| old.take(name))?;
        let (new, place) = (temporary.path().join(PROOF_NAME), self.folder.join(PROOF_NAME));
        write(&new, proof)?;
        move_into_place(&new, &place).map_err(FetchError::io("write", &place))?;
        temporary.close().map_err(FetchError::io("remove temporary files of", &self.folder))
    }

    /// Remembers how everything looks now.
    fn record(&self, wanted: &Proof, request: Option<FetchRequest>) -> Result<(), FetchError> {
        let scan = Scan::of(&self.folder, wanted.names()).map_err(FetchError::io("look at", &self.folder))?;
        let mut requests = self.journal.as_ref().map_or_else(Vec::new, |journal| journal.standing_requests(wanted));
        requests.extend(request.filter(|request| !requests.contains(request)));
        Journal::new(wanted.clone(), scan, requests).write(self.store, &self.folder, None)
    }
}

/// Waits until nobody else has the destination `folder`.
fn lock_path(store: &Store, folder: &Path) -> Result<File, FetchError> {
    let locks = store.home().join("locks");
    fs::create_dir_all(&locks).map_err(FetchError::io("make", &locks))?;
    let path = locks.join(key_of(folder));
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    open.and_then(|file| file.lock().map(|()| file)).map_err(FetchError::io("lock", &path))
}

fn key_of(folder: &Path) -> String {
    Blake3::of(folder.as_os_str().as_encoded_bytes()).short()
}

/// Where the store's home has what is built for `folder`.
fn stage_in_home(store: &Store, folder: &Path) -> PathBuf {
    store.home().join("tmp").join(format!("place-{}", key_of(folder)))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    AtomicFile::write(path, bytes).map_err(FetchError::io("write", path))
}

/// Renames, or, from another file system, copies file by file without any other name.
fn move_into_place(new: &Path, place: &Path) -> io::Result<()> {
    match fs::rename(new, place) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_tree(new, place),
        other => other,
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Files are made anew, so that no link in their place is written through.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    if !is_folder(from) {
        match fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (mut source, mut target) = (File::open(from)?, File::create_new(to)?);
        io::copy(&mut source, &mut target)?;
        return target.set_permissions(source.metadata()?.permissions());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy_tree(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// What a proof says about a path in the folder.
fn file_in(proof: &Proof, path: &str) -> Option<PlacedFile> {
    match path.split_once('/') {
        Some((name, rest)) => {
            let (bundle, path) = (proof.bundles.get(name)?, rest.parse().ok()?);
            bundle.files.get(&path).or_else(|| proof.files.get(bundle.lifted.get(&path)?)).copied()
        }
        None => proof.files.get(path).copied(),
    }
}

fn remove_leftovers(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(TEMPORARY) {
            remove_dir_all_writable(&entry.path())?;
        } else if name.starts_with(".mlreg-") && name.ends_with(".tmp") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Where things go that make room for others, until the end of the run.
struct OldThings<'a> {
    folder: &'a Path,
    away: PathBuf,
}

impl<'a> OldThings<'a> {
    fn new(temporary: &TempDir, folder: &'a Path) -> Result<Self, FetchError> {
        // No bundle has such a name.
        let away = temporary.path().join(".mlreg-old");
        fs::create_dir(&away).map_err(FetchError::io("make", &away))?;
        Ok(Self { folder, away })
    }

    fn take(&self, name: &str) -> Result<(), FetchError> {
        let place = self.folder.join(name);
        let moved = match fs::rename(&place, self.away.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices && is_folder(&place) => {
                remove_dir_all_writable(&place)
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => fs::remove_file(&place),
            // Its name was another spelling of one that is gone already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        moved.map_err(FetchError::io("move away", &place))
    }
}
