//! Folders as storages: written and read by many processes at once, and served as they are by any web server.
//!
//! Disk work runs on tokio's blocking threads; bytes cross over in bounded steps, so that dropping a future ends its
//! copy and leaves nothing behind. A version is the sha256 of the bytes. A replacement compares and renames under the
//! folder's lock.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{sync::mpsc, task};

use super::{
    Access, Address, Answer, Condition, Freshness, Object, ObjectVersion, Opened, RegistryRemote, RemoteError, RemoteOptions, RemoteUrl,
    Scheme, Sent, Sink, Storage,
    file::{WAITING, failed, read_checked, send_range},
    registry::layout,
};
use crate::{
    base::{AtomicFile, ByteRange, Digest, UrlError, redacted, sync_parent},
    manifest::release::Blob,
};

/// Folders. Text without a scheme is one, too.
pub(super) const SCHEME: Scheme = Scheme { names: &["file"], forms: &["a folder", "file://"], writable: true, parse };

/// Held while an object is compared and replaced.
const LOCK: &str = ".lock";

fn parse(text: &str) -> Result<RemoteUrl, UrlError> {
    let invalid = |why: String| UrlError::Invalid { url: redacted(text), why };
    let url = url::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
    url.to_file_path().map(RemoteUrl::folder).map_err(|()| invalid("expected an absolute path after file://".to_owned()))
}

/// The path of a folder.
pub(super) struct FolderAddress(pub(super) PathBuf);

impl Address for FolderAddress {
    fn identity(&self) -> OsString {
        self.0.clone().into()
    }

    fn open(&self, _: &RemoteOptions, _: Access) -> Opened {
        Ok(Arc::new(FolderRemote::in_folder(self.0.clone())))
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.0)
    }
}

impl fmt::Display for FolderAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A registry in a folder, which need not exist before the first publication.
pub type FolderRemote = RegistryRemote<FolderStorage>;

impl FolderRemote {
    /// The registry in `path`. Nothing is read yet. Needs a tokio runtime when it is used.
    pub fn in_folder(path: PathBuf) -> Self {
        Self::new(RemoteUrl::folder(path.clone()), FolderStorage { root: path })
    }
}

/// Whether a folder is a registry: it has a catalogue.
pub fn is_registry(folder: &Path) -> bool {
    folder.join(layout::CATALOGUE).is_file()
}

/// Files below a folder.
#[derive(Debug, Clone)]
pub struct FolderStorage {
    root: PathBuf,
}

impl FolderStorage {
    /// Runs disk work where it may block.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T, RemoteError> + Send + 'static) -> Result<T, RemoteError> {
        let storage = self.clone();
        self.join(task::spawn_blocking(move || work(&storage))).await
    }

    /// The result of blocking work; its panic continues in the caller.
    async fn join<T>(&self, work: task::JoinHandle<Result<T, RemoteError>>) -> Result<T, RemoteError> {
        match work.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(failed("finish work in", &self.root, io::Error::new(io::ErrorKind::Interrupted, error))),
            },
        }
    }

    fn read_if_there(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let full = self.root.join(path);
        let read_failed = |source| failed("read", &full, source);
        let Some(file) = if_there(File::open(&full)).map_err(read_failed)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(read_failed)?;
        if bytes.len() as u64 > limit {
            return Err(RemoteError::TooLarge { url: self.shown(path), limit });
        }
        Ok(Some(bytes))
    }

    fn names(&self, folder: &str) -> Result<BTreeSet<String>, RemoteError> {
        let full = self.root.join(folder);
        let list_failed = |source| failed("list", &full, source);
        let Some(entries) = if_there(fs::read_dir(&full)).map_err(list_failed)? else { return Ok(BTreeSet::new()) };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<BTreeSet<_>>>();
        Ok(names.map_err(list_failed)?.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    /// Waits for other writers; the lock ends with the returned file.
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

    /// Writes an object that does not exist; `false` where it does.
    fn write_new(&self, path: &str, bytes: &[u8]) -> Result<bool, RemoteError> {
        let full = self.root.join(path);
        let write = || {
            let mut file = AtomicFile::create(&full)?;
            file.file().write_all(bytes)?;
            let is_new = file.commit_new()?;
            sync_parent(&full)?;
            Ok(is_new)
        };
        write().map_err(|source| failed("write", &full, source))
    }

    /// Replaces an object that still has a version; `false` where it has another one, or is gone.
    fn replace(&self, path: &str, bytes: &[u8], version: &ObjectVersion) -> Result<bool, RemoteError> {
        let full = self.root.join(path);
        let _lock = self.lock()?;
        let existing = self.read_if_there(path, u64::MAX)?;
        if existing.as_deref().map(version_of).as_ref() != Some(version) {
            return Ok(false);
        }
        AtomicFile::write(&full, bytes).and_then(|()| sync_parent(&full)).map_err(|source| failed("write", &full, source))?;
        Ok(true)
    }

    async fn read_range(&self, path: &str, size: u64, range: ByteRange, sink: Sink<'_>) -> Result<(), RemoteError> {
        let (path, url) = (self.root.join(path), self.shown(path));
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let reading = task::spawn_blocking(move || send_range(&path, size, range, &sender));
        while let Some(bytes) = receiver.recv().await {
            let bytes: Vec<u8> = bytes;
            sink(&bytes).map_err(|source| RemoteError::Sink { url: url.clone(), source })?;
        }
        self.join(reading).await
    }

    async fn copy(&self, path: &str, source: &Path, blob: &Digest, known: &Blob, sent: Sent<'_>) -> Result<(), RemoteError> {
        let (source, target, blob, known) = (source.to_owned(), self.root.join(path), *blob, known.clone());
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let copying = task::spawn_blocking(move || copy_blob(&source, &target, &blob, &known, &sender));
        while let Some(count) = receiver.recv().await {
            sent(count);
        }
        self.join(copying).await
    }
}

fn version_of(bytes: &[u8]) -> ObjectVersion {
    ObjectVersion(Digest::of(bytes).to_string())
}

/// `None` where a file or folder does not exist.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The length of a file; `None` where there is none.
fn length_of(path: &Path) -> Option<u64> {
    path.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len())
}

/// Copies `source` to `target` while it is hashed; visible only when every digest fits.
fn copy_blob(source: &Path, target: &Path, blob: &Digest, known: &Blob, sent: &mpsc::Sender<u64>) -> Result<(), RemoteError> {
    let write_failed = |error| failed("write", target, error);
    if length_of(target) == Some(known.size) {
        // The receiver may be gone; the blob exists all the same.
        let _ = sent.blocking_send(known.size);
        return Ok(());
    }
    let mut output = AtomicFile::create(target).map_err(write_failed)?;
    let is_complete = read_checked(source, blob, known, |bytes| {
        output.file().write_all(bytes).map_err(write_failed)?;
        Ok(sent.blocking_send(bytes.len() as u64).is_ok())
    })?;
    if is_complete { output.commit().and_then(|()| sync_parent(target)).map_err(write_failed) } else { Ok(()) }
}

impl Storage for FolderStorage {
    fn shown(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    fn get<'a>(&'a self, path: &'a str, limit: u64, _: Freshness) -> Answer<'a, Object> {
        let path = path.to_owned();
        Box::pin(self.blocking(move |storage| {
            let bytes = storage.read_if_there(&path, limit)?.ok_or_else(|| RemoteError::NotFound { url: storage.shown(&path) })?;
            Ok(Object { version: version_of(&bytes), bytes })
        }))
    }

    fn read<'a>(&'a self, path: &'a str, size: u64, range: ByteRange, _: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(path, size, range, sink))
    }

    fn head<'a>(&'a self, path: &'a str) -> Answer<'a, Option<u64>> {
        let path = self.root.join(path);
        Box::pin(self.blocking(move |_| Ok(length_of(&path))))
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Option<BTreeSet<String>>> {
        let folder = folder.to_owned();
        Box::pin(self.blocking(move |storage| storage.names(&folder).map(Some)))
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, path: &'a str, bytes: &'a [u8], condition: Condition<'a>) -> Answer<'a, bool> {
        let (path, bytes) = (path.to_owned(), bytes.to_owned());
        match condition {
            Condition::Absent => Box::pin(self.blocking(move |storage| storage.write_new(&path, &bytes))),
            Condition::Unchanged(version) => {
                let version = version.clone();
                Box::pin(self.blocking(move |storage| storage.replace(&path, &bytes, &version)))
            }
        }
    }

    fn put_file<'a>(&'a self, path: &'a str, source: &'a Path, blob: &'a Digest, known: &'a Blob, sent: Sent<'a>) -> Answer<'a, ()> {
        Box::pin(self.copy(path, source, blob, known, sent))
    }
}
