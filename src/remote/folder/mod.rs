//! A registry in a folder: published to and read from, also by many processes at once, and served as it is by any web server.
//!
//! Disk work runs on tokio's blocking threads; bytes cross over in bounded steps, so that dropping a future ends its copy and leaves
//! nothing behind. What needs the registry's lock is in [`registry`].

mod registry;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use semver::Version;
use tokio::{sync::mpsc, task};

pub use self::registry::rebuild_index;
use self::registry::{Registry, failed};
use super::{
    Answer, Commit, RELEASE_LIMIT, Remote, RemoteError, RemoteOptions, Scheme, Sent, Sink, blob_of,
    file::{STEP, WAITING, send_range},
    layout, size_around,
};
use crate::{
    base::{AtomicFile, BlobHasher, ByteRange, Digest, HashedBytes, PackageName, RemoteUrl, sync_parent},
    manifest::release::{Blob, Release},
    remote::{Catalogue, PackageIndex},
};

/// Opens folders.
pub(super) const SCHEME: Scheme = Scheme {
    names: &["file"],
    writable: true,
    open: |url, _: &RemoteOptions| match url {
        RemoteUrl::Folder(path) => Some(Ok(Arc::new(FolderRemote::new(path.clone())))),
        _ => None,
    },
};

/// A registry in a folder, which need not exist before the first publication.
#[derive(Debug)]
pub struct FolderRemote {
    url: RemoteUrl,
    registry: Registry,
}

impl FolderRemote {
    /// The registry in `path`. Nothing is looked at yet. Needs a tokio runtime when it is used.
    pub fn new(path: PathBuf) -> Self {
        Self { url: RemoteUrl::Folder(path.clone()), registry: Registry::new(path) }
    }

    /// Runs disk work where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RemoteError> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let registry = self.registry.clone();
        join(task::spawn_blocking(move || work(&registry)), self.registry.root()).await
    }

    fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.registry.root().join(layout::blob(blob))
    }

    async fn read_range(&self, release: &Release, blob: &Digest, range: ByteRange, sink: Sink<'_>) -> Result<(), RemoteError> {
        let size = size_around(release, blob, range)?;
        let path = self.blob_path(blob);
        let url = path.display().to_string();
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let reading = task::spawn_blocking(move || send_range(&path, size, range, &sender));
        while let Some(bytes) = receiver.recv().await {
            let bytes: Vec<u8> = bytes;
            sink(&bytes).map_err(|source| RemoteError::Sink { url: url.clone(), source })?;
        }
        join(reading, self.registry.root()).await
    }

    async fn put_blob(&self, release: &Release, blob: &Digest, source: &Path, sent: Sent<'_>) -> Result<(), RemoteError> {
        let known = blob_of(release, blob)?;
        let (blob, known) = (*blob, known.clone());

        let (registry, source, target) = (self.registry.clone(), source.to_owned(), self.blob_path(&blob));
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let copying = task::spawn_blocking(move || {
            registry.check_place()?;
            copy_blob(&source, &target, blob, &known, &sender)
        });
        while let Some(count) = receiver.recv().await {
            sent(count);
        }
        join(copying, self.registry.root()).await
    }
}

/// Whether a folder is a registry: it has a catalogue.
pub fn is_registry(folder: &Path) -> bool {
    folder.join(layout::CATALOGUE).is_file()
}

/// The result of blocking work; its panic goes on in the caller.
async fn join<T>(work: task::JoinHandle<Result<T, RemoteError>>, root: &Path) -> Result<T, RemoteError> {
    match work.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(failed("finish work in", root, io::Error::new(io::ErrorKind::Interrupted, error))),
        },
    }
}

/// Copies `source` to `target` while it is hashed; visible only when every digest fits.
fn copy_blob(source: &Path, target: &Path, blob: Digest, known: &Blob, sent: &mpsc::Sender<u64>) -> Result<(), RemoteError> {
    let write_failed = |error| failed("write", target, error);
    if has_blob(target, known.size) {
        // The receiver may be gone; the blob is there all the same.
        let _ = sent.blocking_send(known.size);
        return Ok(());
    }
    let mut input = File::open(source).map_err(|error| failed("read", source, error))?;
    let mut output = AtomicFile::create(target).map_err(write_failed)?;
    let mut hasher = BlobHasher::default();
    let mut buffer = vec![0; STEP];
    loop {
        let count = input.read(&mut buffer).map_err(|error| failed("read", source, error))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        output.file().write_all(&buffer[..count]).map_err(write_failed)?;
        if sent.blocking_send(count as u64).is_err() {
            return Ok(());
        }
    }
    check_hashes(source, blob, known, &hasher.finish())?;
    output.commit().and_then(|()| sync_parent(target)).map_err(write_failed)
}

fn check_hashes(source: &Path, expected: Digest, known: &Blob, found: &HashedBytes) -> Result<(), RemoteError> {
    if found.sha256 != expected {
        return Err(RemoteError::WrongContent { path: source.to_owned(), expected, found: found.sha256 });
    }
    // The sha256 fits, so that the manifest is wrong about the same bytes.
    if !known.describes(found) {
        return Err(RemoteError::WrongManifest { blob: expected });
    }
    Ok(())
}

/// Whether a blob is there: what has its name has its content, unless something cut it off.
fn has_blob(path: &Path, size: u64) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

fn missing_blobs<'a>(root: &Path, blobs: impl IntoIterator<Item = (&'a Digest, &'a Blob)>) -> Vec<Digest> {
    blobs.into_iter().filter(|(digest, blob)| !has_blob(&root.join(layout::blob(digest)), blob.size)).map(|(digest, _)| *digest).collect()
}

impl Remote for FolderRemote {
    fn url(&self) -> &RemoteUrl {
        &self.url
    }

    fn packages(&self) -> Answer<'_, Vec<PackageName>> {
        Box::pin(self.blocking(|registry| Ok(registry.catalogue()?.packages.into_keys().collect())))
    }

    fn index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        let package = package.clone();
        Box::pin(self.blocking(move |registry| Ok(Some(registry.index(&package)?).filter(|index| !index.versions.is_empty()))))
    }

    fn written_catalogue(&self) -> Answer<'_, Option<Catalogue>> {
        Box::pin(self.blocking(|registry| registry.written_catalogue().map(Some)))
    }

    fn written_index<'a>(&'a self, package: &'a PackageName) -> Answer<'a, Option<PackageIndex>> {
        let package = package.clone();
        Box::pin(self.blocking(move |registry| registry.written_index(&package).map(Some)))
    }

    fn release<'a>(&'a self, package: &'a PackageName, version: &'a Version, digest: &'a Digest) -> Answer<'a, Vec<u8>> {
        let (path, digest) = (layout::release(package, version), *digest);
        Box::pin(self.blocking(move |registry| {
            let bytes = registry.read(&path, RELEASE_LIMIT)?;
            match Digest::of(&bytes) {
                found if found == digest => Ok(bytes),
                found => Err(RemoteError::WrongDigest { url: registry.shown(&path), expected: digest, found }),
            }
        }))
    }

    fn read<'a>(&'a self, release: &'a Release, blob: &'a Digest, range: ByteRange, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(self.read_range(release, blob, range, sink))
    }

    fn missing<'a>(&'a self, release: &'a Release) -> Answer<'a, Vec<Digest>> {
        let blobs = release.blobs.clone();
        Box::pin(self.blocking(move |registry| {
            registry.check_writable()?;
            Ok(missing_blobs(registry.root(), &blobs))
        }))
    }

    fn put<'a>(&'a self, release: &'a Release, blob: &'a Digest, source: &'a Path, sent: Sent<'a>) -> Answer<'a, ()> {
        Box::pin(self.put_blob(release, blob, source, sent))
    }

    fn commit<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, Commit> {
        let bytes = bytes.to_owned();
        Box::pin(self.blocking(move |registry| registry.commit(&bytes)))
    }
}
