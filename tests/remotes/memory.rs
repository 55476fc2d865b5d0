//! A storage in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use mlreg::{
    base::{BlobHasher, ByteRange, Digest},
    manifest::release::Blob,
    remote::{Answer, Condition, Freshness, Object, ObjectVersion, RemoteError, Sent, Sink, Storage},
};

/// Objects by path. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl MemoryStorage {
    fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(path).cloned()
    }

    fn found(&self, path: &str) -> Result<Vec<u8>, RemoteError> {
        self.object(path).ok_or_else(|| RemoteError::NotFound { url: self.shown(path) })
    }

    fn file(&self, path: &str, source: &Path, blob: &Digest, known: &Blob, sent: Sent<'_>) -> Result<(), RemoteError> {
        if self.object(path).is_none_or(|bytes| bytes.len() as u64 != known.size) {
            let bytes = std::fs::read(source).map_err(|source_error| RemoteError::File {
                action: "read",
                path: source.to_owned(),
                source: source_error,
            })?;
            let found = BlobHasher::hash(&bytes);
            if found.sha256 != *blob {
                return Err(RemoteError::WrongContent {
                    path: source.to_owned(),
                    expected: *blob,
                    found: found.sha256,
                });
            }
            if !known.describes(&found) {
                return Err(RemoteError::WrongManifest { blob: *blob });
            }
            self.0.lock().unwrap().insert(path.to_owned(), bytes);
        }
        sent(known.size);
        Ok(())
    }
}

fn version_of(bytes: &[u8]) -> ObjectVersion {
    ObjectVersion(Digest::of(bytes).to_string())
}

impl Storage for MemoryStorage {
    fn shown(&self, path: &str) -> String {
        format!("memory/{path}")
    }

    fn get<'a>(&'a self, path: &'a str, limit: u64, _: Freshness) -> Answer<'a, Object> {
        Box::pin(async move {
            let bytes = self.found(path)?;
            if bytes.len() as u64 > limit {
                return Err(RemoteError::TooLarge { url: self.shown(path), limit });
            }
            Ok(Object { version: version_of(&bytes), bytes })
        })
    }

    fn read<'a>(&'a self, path: &'a str, size: u64, range: ByteRange, _: u64, sink: Sink<'a>) -> Answer<'a, ()> {
        Box::pin(async move {
            let (bytes, url) = (self.found(path)?, self.shown(path));
            if bytes.len() as u64 != size {
                return Err(RemoteError::WrongSize { url, expected: size, found: Some(bytes.len() as u64) });
            }
            sink(&bytes[range.offset() as usize..range.end() as usize])
                .map_err(|source| RemoteError::Sink { url, source })
        })
    }

    fn head<'a>(&'a self, path: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(async move { Ok(self.object(path).map(|bytes| bytes.len() as u64)) })
    }

    fn list<'a>(&'a self, folder: &'a str) -> Answer<'a, Option<BTreeSet<String>>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let objects = self.0.lock().unwrap();
        let names = objects
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix)?.split('/').next())
            .map(str::to_owned)
            .collect();
        Box::pin(async { Ok(Some(names)) })
    }

    fn is_writable(&self) -> bool {
        true
    }

    fn put<'a>(&'a self, path: &'a str, bytes: &'a [u8], condition: Condition<'a>) -> Answer<'a, bool> {
        let mut objects = self.0.lock().unwrap();
        let existing = objects.get(path).map(|bytes| version_of(bytes));
        let holds = match condition {
            Condition::Absent => existing.is_none(),
            Condition::Unchanged(version) => existing.as_ref() == Some(version),
        };
        if holds {
            objects.insert(path.to_owned(), bytes.to_owned());
        }
        Box::pin(async move { Ok(holds) })
    }

    fn put_file<'a>(
        &'a self,
        path: &'a str,
        source: &'a Path,
        blob: &'a Digest,
        known: &'a Blob,
        sent: Sent<'a>,
    ) -> Answer<'a, ()> {
        Box::pin(async move { self.file(path, source, blob, known, sent) })
    }
}
