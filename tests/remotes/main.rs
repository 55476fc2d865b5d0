//! Remotes: one list of behaviours for every kind that can be written, a server that misbehaves, publishers at the same
//! time.

mod conformance;
mod hostile;
#[path = "../support/http_server.rs"]
mod http_server;
#[path = "../support/hub_server.rs"]
mod hub_server;
mod memory;
mod publishers;
#[path = "../support/xet_server.rs"]
mod xet_server;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlreg::{
    base::{BlobHasher, ByteRange, Digest, PackageName},
    manifest::release::{Blob, BundleKind, Delivery, FileEntry, Release, Variant},
    remote::{Commit, IndexEntry, Publication, Remote, RemoteError, RemoteOptions, RemoteUrl},
};
use semver::Version;

/// A release and its blobs as files.
struct Fixture {
    folder: tempfile::TempDir,
    release: Release,
    bytes: Vec<u8>,
}

impl Fixture {
    fn new(package: &str, version: &str, blobs: &[&[u8]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut release = Release {
            schema: mlreg::manifest::release::SCHEMA.to_owned(),
            package: package.parse().unwrap(),
            version: version.parse().unwrap(),
            description: None,
            license: None,
            sources: Default::default(),
            variants: Vec::new(),
            blobs: Default::default(),
            other: Default::default(),
        };
        let mut files = Vec::new();
        for (number, bytes) in blobs.iter().enumerate() {
            let hashed = BlobHasher::hash(bytes);
            fs::write(folder.path().join(hashed.sha256.to_string()), bytes).unwrap();
            let path = format!("{number}.bin").parse().unwrap();
            files.push(FileEntry { path, sha256: hashed.sha256, size: hashed.size, executable: false });
            release
                .blobs
                .insert(hashed.sha256, Blob { size: hashed.size, blake3: Some(hashed.blake3), segments: Vec::new() });
        }
        if !files.is_empty() {
            release.variants.push(variant(files));
        }
        let bytes = release.to_canonical().unwrap();
        Self { folder, release, bytes }
    }

    /// The release as it is now, with the blobs in the fixture's folder.
    fn publication(&self) -> Publication {
        Publication::new(self.release.to_canonical().unwrap(), Arc::new(self.folder.path().to_owned())).unwrap()
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    fn file(&self, blob: &Digest) -> PathBuf {
        self.folder.path().join(blob.to_string())
    }

    async fn put_missing(&self, remote: &dyn Remote) -> Result<usize, RemoteError> {
        let publication = self.publication();
        let missing = remote.missing(&publication).await?;
        for blob in &missing {
            remote.put(&publication, blob, &|_| ()).await?;
        }
        Ok(missing.len())
    }

    async fn publish(&self, remote: &dyn Remote) -> Result<Commit, RemoteError> {
        self.put_missing(remote).await?;
        remote.commit(&self.publication()).await
    }

    /// What a range of a blob delivers, with or without an error at its end.
    async fn try_read(
        &self,
        remote: &dyn Remote,
        blob: &Digest,
        range: (u64, u64),
    ) -> (Vec<u8>, Result<(), RemoteError>) {
        let mut bytes = Vec::new();
        let mut sink = |step: &[u8]| {
            bytes.extend_from_slice(step);
            Ok(())
        };
        let result = remote.read(&self.release, blob, ByteRange::new(range.0, range.1).unwrap(), &mut sink).await;
        (bytes, result)
    }

    async fn read(&self, remote: &dyn Remote, blob: &Digest, range: (u64, u64)) -> Vec<u8> {
        let (bytes, result) = self.try_read(remote, blob, range).await;
        result.unwrap();
        bytes
    }
}

/// The variant of a fixture.
fn variant(files: Vec<FileEntry>) -> Variant {
    Variant {
        id: "all".to_owned(),
        name: "all".to_owned(),
        component: "all".to_owned(),
        target: None,
        kind: BundleKind::MlPackage,
        axes: Default::default(),
        tags: Default::default(),
        delivery: Delivery::default(),
        interface: None,
        compiled: None,
        files,
        folders: Vec::new(),
        other: Default::default(),
    }
}

/// The versions of a package with their entries; `None` without such a package.
async fn index(
    remote: &dyn Remote,
    package: &PackageName,
) -> Result<Option<BTreeMap<Version, IndexEntry>>, RemoteError> {
    let Some(versions) = remote.versions(package).await? else { return Ok(None) };
    let mut entries = BTreeMap::new();
    for version in versions {
        let entry = remote.resolve(package, &version).await?.expect("a listed version has an entry");
        entries.insert(version, entry);
    }
    Ok(Some(entries))
}

/// Options that wait next to nothing.
fn quick() -> RemoteOptions {
    RemoteOptions {
        backoff: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(10),
        system_proxy: false,
        ..RemoteOptions::default()
    }
}

/// Options that also give up a silent server soon; on a busy machine an honest one may seem silent too.
fn impatient() -> RemoteOptions {
    RemoteOptions { stall_timeout: Duration::from_millis(300), ..quick() }
}

fn open(url: &str, options: &RemoteOptions) -> Arc<dyn Remote> {
    mlreg::remote::open(&RemoteUrl::parse(url, Path::new("/")).unwrap(), options).unwrap()
}

/// Bytes without a period that a range could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Every file below a folder, sorted, as paths with `/`.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

fn message(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
