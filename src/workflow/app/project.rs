//! An app's folder: `mlreg.toml`, found upwards, and the `mlreg.lock` beside it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use semver::Version;

use super::AppError;
use crate::{
    app::{AppManifest, AppPackage, LOCK_NAME, Lock, MANIFEST_NAME},
    base::{AtomicFile, Blake3, PackageName},
    store::Store,
    workflow::Error,
};

/// A manifest and its lock.
#[derive(Debug, Clone)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    pub(super) text: String,
    pub(super) manifest: AppManifest,
    /// What the lock says; nothing where there is none.
    pub(super) lock: Lock,
    pub(super) lock_text: Option<String>,
}

/// The folder of the project that `directory` is in, if there is one.
pub(in crate::workflow) fn project_folder(directory: &Path) -> Option<PathBuf> {
    Project::find(directory)
}

/// What the lock of the project that `directory` is in names; `None` where there is no project.
pub(in crate::workflow) fn locked_releases(directory: &Path) -> Result<Option<Vec<(PackageName, Version)>>, AppError> {
    let Some(root) = Project::find(directory) else { return Ok(None) };
    let packages = Project::open(&root)?.lock.packages.into_iter();
    Ok(Some(packages.map(|(name, package)| (name, package.version)).collect()))
}

impl Project {
    /// The folder of the manifest in `directory` or the nearest above it.
    pub(super) fn find(directory: &Path) -> Option<PathBuf> {
        directory.ancestors().find(|folder| folder.join(MANIFEST_NAME).is_file()).map(Path::to_owned)
    }

    /// Reads the project that `directory` is in.
    pub(super) fn open(directory: &Path) -> Result<Self, AppError> {
        let root = Self::find(directory).ok_or_else(|| AppError::NoProject { directory: directory.to_owned() })?;
        let path = root.join(MANIFEST_NAME);
        let text = fs::read_to_string(&path).map_err(AppError::io("read", &path))?;
        Self::with_text(root, text)
    }

    /// The project with another manifest than the one on disk.
    pub(super) fn with_text(root: PathBuf, text: String) -> Result<Self, AppError> {
        let manifest = AppManifest::parse(&text, &root.join(MANIFEST_NAME).display().to_string(), &root)?;
        let path = root.join(LOCK_NAME);
        let lock_text = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(AppError::io("read", &path)(error)),
        };
        let lock = lock_text
            .as_deref()
            .map(|text| Lock::parse(text, &path.display().to_string()))
            .transpose()?
            .unwrap_or_default();
        Ok(Self { root, text, manifest, lock, lock_text })
    }

    pub(super) fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST_NAME)
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.root.join(LOCK_NAME)
    }

    /// Waits until no other process changes the manifest or the lock.
    pub(super) fn hold(root: &Path, store: &Store) -> Result<File, AppError> {
        let locks = store.home().join("locks");
        fs::create_dir_all(&locks).map_err(AppError::io("make", &locks))?;
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let path = locks.join(format!("app-{}", Blake3::of(root.as_os_str().as_encoded_bytes()).short()));
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        open.and_then(|file| file.lock().map(|()| file)).map_err(AppError::io("lock", &path))
    }

    /// Writes the lock, if that changes it. Says whether it did.
    pub(super) fn write_lock(&self, lock: &Lock) -> Result<bool, AppError> {
        let (path, text) = (self.lock_path(), lock.to_text());
        if self.lock_text.as_deref() == Some(&text) || (self.lock_text.is_none() && lock.packages.is_empty()) {
            return Ok(false);
        }
        AtomicFile::write_through_links(&path, text.as_bytes()).map_err(AppError::io("write", &path))?;
        Ok(true)
    }

    /// An entry of the manifest.
    pub(super) fn package(&self, name: &PackageName) -> Result<&AppPackage, AppError> {
        self.manifest.packages.get(name).ok_or_else(|| AppError::NotListed {
            manifest: self.manifest_path(),
            package: name.clone(),
            known: self.manifest.packages.keys().map(PackageName::to_string).collect(),
        })
    }

    /// Adds to an error that the user can do something about where its package stands.
    pub(super) fn at(&self, package: &AppPackage, error: Error) -> Error {
        if error.kind() != crate::workflow::ErrorKind::Input
            || error.place().is_some()
            || matches!(error, Error::App(_) | Error::Store(_))
        {
            return error;
        }
        let (line, column) = (package.line, package.column);
        AppError::Package { file: self.manifest_path(), line, column, source: Box::new(error) }.into()
    }

    /// Everything that the app places, by folder: who joins or leaves changes it.
    pub(super) fn members(&self, out: impl Fn(&AppPackage) -> PathBuf) -> BTreeMap<PathBuf, &PackageName> {
        self.manifest.packages.iter().map(|(name, package)| (out(package).join(name.as_str()), name)).collect()
    }
}
