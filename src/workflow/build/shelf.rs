//! Stores the blobs of one build, counts new bytes, and remembers the segments of known blobs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{
    base::{Blake3, Digest},
    manifest::release::Blob,
    store::{Segmentation, Store, StoreError, StoredBlob},
};

/// Key space of remembered segments; renamed whenever equal bytes would get other segments than before.
const DESCRIPTIONS: &str = "blob-1";
/// Key space of remembered weight files; renamed whenever equal recipes would give other bytes than before.
const WEIGHTS: &str = "weights-2";

/// The store as one build uses it.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    store: &'a Store,
    /// Lengths of the blobs that are new in the store.
    new: Mutex<BTreeMap<Digest, u64>>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, new: Mutex::default() }
    }

    pub(super) fn store(&self) -> &'a Store {
        self.store
    }

    /// Bytes of the blobs that are new in the store.
    pub(super) fn new_bytes(&self) -> u64 {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Stores bytes.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<StoredBlob, StoreError> {
        let stored = self.store.put(bytes, Segmentation::ContentDefined)?;
        self.note(&stored);
        Ok(stored)
    }

    /// Stores a file. A file that is stored already and did not change is not read again.
    pub(super) fn file(
        &self,
        path: &Path,
        segmentation: impl FnOnce() -> Segmentation,
    ) -> Result<StoredBlob, StoreError> {
        let (digest, _) = self.store.file_digest(path)?;
        if let Some(known) = self.known(&digest) {
            return Ok(known);
        }
        let stored = self.store.ingest_file(path, segmentation())?;
        self.note(&stored);
        Ok(stored)
    }

    /// Returns the weight file that an earlier build stored under `key`, or writes it; without a key it is always
    /// written.
    pub(super) fn weights<E: From<StoreError>>(
        &self,
        key: Option<Blake3>,
        segmentation: Segmentation,
        write: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), E>,
    ) -> Result<StoredBlob, E> {
        let earlier =
            key.and_then(|key| Some(Digest::from_bytes(self.store.cache_get(WEIGHTS, &key)?.try_into().ok()?)));
        if let Some(known) = earlier.and_then(|digest| self.known(&digest)) {
            return Ok(known);
        }
        let mut writer = self.store.writer(segmentation)?;
        write(&mut |bytes| writer.write_all(bytes))?;
        let stored = writer.finish()?;
        self.note(&stored);
        key.iter().for_each(|key| self.remember_weights(key, &stored));
        Ok(stored)
    }

    /// Remembers a weight file under a key.
    pub(super) fn remember_weights(&self, key: &Blake3, stored: &StoredBlob) {
        self.store.cache_put(WEIGHTS, key, stored.digest.as_bytes());
    }

    fn known(&self, digest: &Digest) -> Option<StoredBlob> {
        let size = self.store.blob_size(digest)?;
        let description = self.store.cache_get(DESCRIPTIONS, &Self::description_key(digest))?;
        let blob: Blob = serde_json::from_slice(&description).ok()?;
        let is_here = blob.size == size && self.store.has_blob(digest, &blob).unwrap_or(false);
        is_here.then_some(StoredBlob { digest: *digest, blob, is_new: false })
    }

    fn note(&self, stored: &StoredBlob) {
        if stored.is_new {
            self.new.lock().unwrap_or_else(PoisonError::into_inner).insert(stored.digest, stored.blob.size);
        }
        if let Ok(description) = serde_json::to_vec(&stored.blob) {
            self.store.cache_put(DESCRIPTIONS, &Self::description_key(&stored.digest), &description);
        }
    }

    fn description_key(digest: &Digest) -> Blake3 {
        Blake3::of(digest.as_bytes())
    }
}
