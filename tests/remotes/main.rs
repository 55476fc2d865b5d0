//! Remotes: one list of behaviours for every kind that can be written, a server that misbehaves, publishers at the same time.

mod conformance;
mod hostile;
#[path = "../support/http_server.rs"]
mod http_server;
mod publishers;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mlreg::{
    base::{BlobHasher, ByteRange, Digest, RemoteUrl},
    manifest::release::{Blob, Release},
    remote::{Commit, Remote, RemoteError, RemoteOptions},
};

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
        for bytes in blobs {
            let hashed = BlobHasher::hash(bytes);
            fs::write(folder.path().join(hashed.sha256.to_string()), bytes).unwrap();
            release.blobs.insert(hashed.sha256, Blob { size: hashed.size, blake3: Some(hashed.blake3), segments: Vec::new() });
        }
        let bytes = serde_json::to_vec(&serde_json::to_value(&release).unwrap()).unwrap();
        Self { folder, release, bytes }
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    fn file(&self, blob: &Digest) -> PathBuf {
        self.folder.path().join(blob.to_string())
    }

    async fn put_missing(&self, remote: &dyn Remote) -> Result<usize, RemoteError> {
        let missing = remote.missing(&self.release).await?;
        for blob in &missing {
            remote.put(&self.release, blob, &self.file(blob), &|_| ()).await?;
        }
        Ok(missing.len())
    }

    async fn publish(&self, remote: &dyn Remote) -> Result<Commit, RemoteError> {
        self.put_missing(remote).await?;
        remote.commit(&self.bytes).await
    }

    /// What a range of a blob delivers, with or without an error at its end.
    async fn try_read(&self, remote: &dyn Remote, blob: &Digest, range: (u64, u64)) -> (Vec<u8>, Result<(), RemoteError>) {
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
