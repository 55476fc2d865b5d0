//! The documents of a registry folder: read, committed under the registry's lock, rebuilt. All of it blocks.
//!
//! The version files are the truth. Index and catalogue are derived step by step: names come from the folder, everything else from the
//! document that is there, and only what it does not know is read; so a crash between two steps heals with the next one.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use semver::Version;

use crate::{
    base::{AtomicFile, Digest, PackageName, sync_parent},
    manifest::release::{Release, SCHEMA},
    remote::{
        Catalogue, CatalogueEntry, Commit, DocumentError, INDEX_LIMIT, IndexEntry, PackageIndex, RELEASE_LIMIT, RemoteError, documents,
        layout, release_name,
    },
};

/// Held from the look at a version until the catalogue names it.
const LOCK: &str = ".lock";

/// A registry folder.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    root: PathBuf,
}

/// Derives every index and the catalogue of the registry in `folder` again from its release manifests, and reads all of them. Blocks.
///
/// # Errors
/// Where a manifest is damaged or `folder` is no registry; what was not reached stays as it was.
pub fn rebuild_index(folder: &Path) -> Result<Catalogue, RemoteError> {
    let registry = Registry::new(folder.to_owned());
    registry.check_writable()?;
    let _lock = registry.lock()?;
    for package in registry.package_names()? {
        let index = registry.derive_index(PackageIndex::empty(package))?;
        registry.write(&layout::index(&index.package), &documents::to_bytes(&index))?;
    }
    let catalogue = registry.derive_catalogue(Catalogue::empty())?;
    registry.write(layout::CATALOGUE, &documents::to_bytes(&catalogue))?;
    Ok(catalogue)
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> RemoteError {
    RemoteError::File { action, path: path.to_owned(), source }
}

/// `None` where a file or folder is not there.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Registry {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn shown(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    /// Reads a document of at most `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, RemoteError> {
        self.read_if_there(path, limit)?.ok_or_else(|| RemoteError::NotFound { url: self.shown(path) })
    }

    fn read_if_there(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let full = self.root.join(path);
        let read_failed = |source| failed("read", &full, source);
        let Some(file) = if_there(File::open(&full)).map_err(read_failed)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(read_failed)?;
        if bytes.len() as u64 > limit {
            return Err(RemoteError::TooLarge { url: self.shown(path), limit });
        }
        Ok(Some(bytes))
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), RemoteError> {
        let path = self.root.join(path);
        AtomicFile::write(&path, bytes).and_then(|()| sync_parent(&path)).map_err(|source| failed("write", &path, source))
    }

    /// The names in a folder that are not hidden, sorted; none where there is no folder.
    fn names(&self, path: &str) -> Result<BTreeSet<String>, RemoteError> {
        let full = self.root.join(path);
        let list_failed = |source| failed("list", &full, source);
        let Some(entries) = if_there(fs::read_dir(&full)).map_err(list_failed)? else { return Ok(BTreeSet::new()) };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<BTreeSet<_>>>();
        Ok(names.map_err(list_failed)?.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    fn package_names(&self) -> Result<BTreeSet<PackageName>, RemoteError> {
        Ok(self.names(layout::PACKAGES)?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn versions(&self, package: &PackageName) -> Result<BTreeSet<Version>, RemoteError> {
        let names = self.names(&format!("{}/{package}", layout::PACKAGES))?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
    }

    /// Refuses a folder that holds something else, or a registry of a newer mlreg.
    pub(super) fn check_writable(&self) -> Result<(), RemoteError> {
        self.check_place()?;
        self.known_catalogue().map(|_| ())
    }

    /// Refuses a folder that holds something else. Hidden files do not count: `.git`, `.DS_Store`, our own `.lock`.
    pub(super) fn check_place(&self) -> Result<(), RemoteError> {
        if self.root.join(layout::CATALOGUE).is_file() {
            return Ok(());
        }
        // Another publisher may have written the catalogue since.
        let ours = |name: &String| [layout::PACKAGES, layout::BLOBS, layout::CATALOGUE].contains(&name.as_str());
        match self.names("")?.into_iter().find(|name| !ours(name)) {
            Some(entry) => Err(RemoteError::ForeignFolder { path: self.root.clone(), entry }),
            None => Ok(()),
        }
    }

    /// Waits for other publishers; the lock ends with the returned file.
    fn lock(&self) -> Result<File, RemoteError> {
        let path = self.root.join(LOCK);
        let open = || {
            fs::create_dir_all(&self.root)?;
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|source| failed("lock", &path, source))
    }

    /// The catalogue that is there; `None` where it is missing or damaged.
    fn known_catalogue(&self) -> Result<Option<Catalogue>, RemoteError> {
        let Some(bytes) = self.read_if_there(layout::CATALOGUE, INDEX_LIMIT)? else { return Ok(None) };
        self.unless_newer(layout::CATALOGUE, documents::parse_catalogue(&bytes))
    }

    /// The index that is there; `None` where it is missing or damaged.
    fn known_index(&self, package: &PackageName) -> Result<Option<PackageIndex>, RemoteError> {
        let path = layout::index(package);
        let Some(bytes) = self.read_if_there(&path, INDEX_LIMIT)? else { return Ok(None) };
        self.unless_newer(&path, documents::parse_index(&bytes, package))
    }

    /// Damaged derived documents are made again; those of a newer mlreg are left alone.
    fn unless_newer<T>(&self, path: &str, parsed: Result<T, DocumentError>) -> Result<Option<T>, RemoteError> {
        match parsed {
            Ok(document) => Ok(Some(document)),
            Err(source) if source.is_newer() => Err(RemoteError::document(self.shown(path), source)),
            Err(_) => Ok(None),
        }
    }

    /// The catalogue that is there.
    pub(super) fn written_catalogue(&self) -> Result<Catalogue, RemoteError> {
        let bytes = self.read_if_there(layout::CATALOGUE, INDEX_LIMIT)?;
        let bytes = bytes.ok_or_else(|| RemoteError::NotARegistry { url: self.root.display().to_string() })?;
        documents::parse_catalogue(&bytes).map_err(|source| RemoteError::document(self.shown(layout::CATALOGUE), source))
    }

    /// The index that is there.
    pub(super) fn written_index(&self, package: &PackageName) -> Result<PackageIndex, RemoteError> {
        let path = layout::index(package);
        let bytes = self.read(&path, INDEX_LIMIT)?;
        documents::parse_index(&bytes, package).map_err(|source| RemoteError::document(self.shown(&path), source))
    }

    /// The catalogue as it is, or derived in memory where it is missing or damaged.
    pub(super) fn catalogue(&self) -> Result<Catalogue, RemoteError> {
        if let Some(catalogue) = self.known_catalogue()? {
            return Ok(catalogue);
        }
        if !self.root.join(layout::PACKAGES).is_dir() {
            return Err(RemoteError::NotARegistry { url: self.root.display().to_string() });
        }
        self.derive_catalogue(Catalogue::empty())
    }

    /// The index as it is, or derived in memory where it is missing or damaged; without versions where there is no such package.
    pub(super) fn index(&self, package: &PackageName) -> Result<PackageIndex, RemoteError> {
        match self.known_index(package)? {
            Some(index) => Ok(index),
            None => self.derive_index(PackageIndex::empty(package.clone())),
        }
    }

    /// Makes `known` name exactly the versions in the folder; reads only those it does not know.
    fn derive_index(&self, mut known: PackageIndex) -> Result<PackageIndex, RemoteError> {
        let versions = self.versions(&known.package)?;
        known.versions.retain(|version, _| versions.contains(version));
        for version in versions {
            if !known.versions.contains_key(&version) {
                let bytes = self.read(&layout::release(&known.package, &version), RELEASE_LIMIT)?;
                self.check_release(&bytes, &known.package, &version)?;
                known.versions.insert(version, entry_of(&bytes));
            }
        }
        Ok(known)
    }

    fn check_release(&self, bytes: &[u8], package: &PackageName, version: &Version) -> Result<(), RemoteError> {
        let damaged = |source| RemoteError::document(self.shown(&layout::release(package, version)), source);
        let release: Release = documents::parse(bytes, SCHEMA).map_err(damaged)?;
        if release.package != *package {
            return Err(damaged(DocumentError::Package { expected: package.clone(), found: release.package }));
        }
        if release.version != *version {
            return Err(damaged(DocumentError::Version { expected: version.clone(), found: release.version }));
        }
        Ok(())
    }

    /// Makes `known` name exactly the packages in the folder; looks only into those it does not know.
    fn derive_catalogue(&self, mut known: Catalogue) -> Result<Catalogue, RemoteError> {
        let packages = self.package_names()?;
        known.packages.retain(|package, _| packages.contains(package));
        for package in packages {
            if !known.packages.contains_key(&package) {
                note(&mut known, &self.index(&package)?);
            }
        }
        Ok(known)
    }

    /// Puts a release whose blobs are there, and moves index and catalogue.
    pub(super) fn commit(&self, bytes: &[u8]) -> Result<Commit, RemoteError> {
        let release: Release = documents::parse(bytes, SCHEMA).map_err(|source| RemoteError::InvalidRelease { source })?;
        self.check_writable()?;
        let missing = super::missing_blobs(&self.root, &release.blobs);
        if let Some(first) = missing.first() {
            return Err(RemoteError::MissingBlobs { release: release_name(&release), first: *first, count: missing.len() });
        }
        let _lock = self.lock()?;
        // Read before anything is put, so that the index of a newer mlreg ends the publication early.
        let (index, catalogue) = (self.known_index(&release.package)?, self.known_catalogue()?);
        let outcome = self.put_release(&release, bytes)?;
        let index = self.move_index(index, &release, bytes)?;
        self.move_catalogue(catalogue, &index)?;
        Ok(outcome)
    }

    fn put_release(&self, release: &Release, bytes: &[u8]) -> Result<Commit, RemoteError> {
        let path = layout::release(&release.package, &release.version);
        let full = self.root.join(&path);
        let write = || {
            let mut file = AtomicFile::create(&full)?;
            file.file().write_all(bytes)?;
            let is_new = file.commit_new()?;
            sync_parent(&full)?;
            Ok(is_new)
        };
        if write().map_err(|source| failed("write", &full, source))? {
            return Ok(Commit::New);
        }
        let (existing, offered) = (Digest::of(&self.read(&path, RELEASE_LIMIT)?), Digest::of(bytes));
        if existing == offered {
            return Ok(Commit::AlreadyThere);
        }
        Err(RemoteError::VersionExists { release: release_name(release), existing, offered })
    }

    /// Adds the release to the index. Also heals what an earlier publisher, or one that broke off, left behind.
    fn move_index(&self, known: Option<PackageIndex>, release: &Release, bytes: &[u8]) -> Result<PackageIndex, RemoteError> {
        let mut index = known.clone().unwrap_or_else(|| PackageIndex::empty(release.package.clone()));
        index.versions.insert(release.version.clone(), entry_of(bytes));
        let index = self.derive_index(index)?;
        if known.as_ref() != Some(&index) {
            self.write(&layout::index(&index.package), &documents::to_bytes(&index))?;
        }
        Ok(index)
    }

    fn move_catalogue(&self, known: Option<Catalogue>, index: &PackageIndex) -> Result<(), RemoteError> {
        let mut catalogue = self.derive_catalogue(known.clone().unwrap_or_else(Catalogue::empty))?;
        note(&mut catalogue, index);
        if known.as_ref() != Some(&catalogue) {
            self.write(layout::CATALOGUE, &documents::to_bytes(&catalogue))?;
        }
        Ok(())
    }
}

fn entry_of(bytes: &[u8]) -> IndexEntry {
    IndexEntry { release: Digest::of(bytes), size: bytes.len() as u64 }
}

fn note(catalogue: &mut Catalogue, index: &PackageIndex) {
    if let Some(latest) = index.latest() {
        let entry = CatalogueEntry { latest: latest.clone(), versions: index.versions.len() as u64 };
        catalogue.packages.insert(index.package.clone(), entry);
    }
}
