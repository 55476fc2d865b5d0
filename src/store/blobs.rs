//! Blobs by address: looking, reading, and the only way by which bytes get their final name.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    base::{BlobHasher, Digest, FileStat, HashedBytes, hash_rest, same_bytes},
    manifest::release::Blob,
};

use super::{
    Store, StoreError,
    io::make_read_only,
    lock::{self, ExclusiveGuard},
};

impl Store {
    /// Where the blob lies, or would lie.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout().blob(digest)
    }

    /// The length of the blob, if it is here. Only looks at the file's name and length.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let metadata = fs::metadata(self.blob_path(digest)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Whether a file of the blob's name and length is here. Its bytes are not looked at.
    pub fn seems_here(&self, digest: &Digest, blob: &Blob) -> bool {
        self.blob_size(digest) == Some(blob.size)
    }

    /// Whether the blob is here with the right bytes. They are hashed only if its file was touched since they were last
    /// known to be right; a damaged blob is removed.
    ///
    /// # Errors
    /// `WrongDescription` where the right bytes are here, and `blob` says another length or BLAKE3; what the file
    /// system says.
    pub fn has_blob(&self, digest: &Digest, blob: &Blob) -> Result<bool, StoreError> {
        match self.untouched(digest) {
            Some(hashed) => check_description(blob, &hashed).map(|()| true),
            None => self.has_blob_hashed(digest, blob),
        }
    }

    /// Like [`has_blob`](Self::has_blob), and hashes the bytes whatever the file's times say.
    ///
    /// # Errors
    /// As [`has_blob`](Self::has_blob).
    pub fn has_blob_hashed(&self, digest: &Digest, blob: &Blob) -> Result<bool, StoreError> {
        match self.hash_blob(digest) {
            Ok(hashed) => check_description(blob, &hashed).map(|()| true),
            Err(StoreError::MissingBlob { .. } | StoreError::DamagedBlob { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Compares what a release says of its blobs with what is known of those that are here. Nothing is hashed for this.
    ///
    /// # Errors
    /// `WrongDescription` for the first blob of which the release says another length or BLAKE3.
    pub fn check_descriptions(&self, blobs: &BTreeMap<Digest, Blob>) -> Result<(), StoreError> {
        let known = blobs.iter().filter_map(|(digest, blob)| Some((blob, self.untouched(digest)?)));
        known.into_iter().try_for_each(|(blob, hashed)| check_description(blob, &hashed))
    }

    /// Opens the blob for reading. Its bytes are not checked.
    ///
    /// # Errors
    /// `MissingBlob`, or what the file system says.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| missing_or(error, *digest, "open", &path))
    }

    /// The bytes of the blob, checked against its address.
    ///
    /// # Errors
    /// `MissingBlob`, `TooLarge` for more than `limit` bytes, `DamagedBlob`.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let file = self.open_blob(digest)?;
        let size = file.metadata().map_err(StoreError::io("stat", &path))?.len();
        if size > limit {
            return Err(StoreError::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::with_capacity(size as usize + 1);
        file.take(size).read_to_end(&mut bytes).map_err(StoreError::io("read", &path))?;
        let found = BlobHasher::hash(&bytes).sha256;
        if found == *digest { Ok(bytes) } else { Err(StoreError::DamagedBlob { path, expected: *digest, found }) }
    }

    /// The path of the blob after hashing all its bytes: for repairs, where a name is not proof enough, because blobs
    /// share their bytes with hard links in folders of users. A damaged blob is removed, so that it is fetched or built
    /// again.
    ///
    /// # Errors
    /// `MissingBlob`, `DamagedBlob`.
    pub fn blob_verified(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        self.hash_blob(digest).map(|_| self.blob_path(digest))
    }

    fn hash_blob(&self, digest: &Digest) -> Result<HashedBytes, StoreError> {
        let _guard = self.writing()?;
        let path = self.blob_path(digest);
        loop {
            let mut file = self.open_blob(digest)?;
            let seen = FileStat::of(&file.metadata().map_err(StoreError::io("stat", &path))?);
            let hashed = hash_rest(&mut file, &|_| ()).map_err(StoreError::io("read", &path))?;
            let _naming = self.naming()?;
            // While it was hashed, somebody may have put another file in its place.
            if self.stat_of(digest) != Some(seen) {
                continue;
            }
            if hashed.sha256 == *digest {
                self.remember(&hashed);
                return Ok(hashed);
            }
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            return Err(StoreError::DamagedBlob { path, expected: *digest, found: hashed.sha256 });
        }
    }

    /// Gives the finished file `from` its name in the store; `false` where an intact blob was there already, and `from`
    /// stays.
    ///
    /// The caller has hashed `file`, which is `from`, and holds a write guard.
    pub(super) fn settle(&self, file: &File, from: &Path, hashed: &HashedBytes) -> Result<bool, StoreError> {
        if self.has_intact(hashed, from)? {
            return Ok(false);
        }
        make_read_only(file).map_err(StoreError::io("make read-only", from))?;
        file.sync_data().map_err(StoreError::io("sync", from))?;
        let path = self.blob_path(&hashed.sha256);
        let shard = path.parent().unwrap_or(self.home());
        fs::create_dir_all(shard).map_err(StoreError::io("make", shard))?;
        let _naming = self.naming()?;
        fs::rename(from, &path).map_err(StoreError::io("move a file to", &path))?;
        self.remember(hashed);
        Ok(true)
    }

    /// Whether the blob is here with the bytes of the file `twin`, which was hashed. Its bytes are compared only if it
    /// was touched since it was written.
    pub(super) fn has_intact(&self, hashed: &HashedBytes, twin: &Path) -> Result<bool, StoreError> {
        let digest = &hashed.sha256;
        if self.is_untouched(digest, hashed.size) {
            return Ok(true);
        }
        let seen = self.stat_of(digest);
        if self.blob_size(digest) != Some(hashed.size) || !same_bytes(&self.blob_path(digest), twin).unwrap_or(false) {
            return Ok(false);
        }
        let _naming = self.naming()?;
        let same = self.stat_of(digest) == seen;
        if same {
            self.remember(hashed);
        }
        Ok(same)
    }

    /// Held while a blob gets or loses its name. Nothing is hashed meanwhile: the threads that hash may be asked for a
    /// lock of names by other work.
    fn naming(&self) -> Result<ExclusiveGuard, StoreError> {
        lock::exclusive(&self.layout().blobs_lock())
    }

    fn stat_of(&self, digest: &Digest) -> Option<FileStat> {
        Some(FileStat::of(&fs::metadata(self.blob_path(digest)).ok()?))
    }

    /// Whether the blob is here with this size, and its file is as it was when its bytes were last known to be right.
    pub(super) fn is_untouched(&self, digest: &Digest, size: u64) -> bool {
        self.untouched(digest).is_some_and(|hashed| hashed.size == size)
    }

    /// What the bytes of the blob hash to, if its file is as it was when they were hashed.
    fn untouched(&self, digest: &Digest) -> Option<HashedBytes> {
        let metadata = fs::metadata(self.blob_path(digest)).ok().filter(fs::Metadata::is_file)?;
        let (stat, blake3) = self.index().hashed_blob(digest)?;
        (stat == FileStat::of(&metadata)).then_some(HashedBytes { sha256: *digest, blake3, size: stat.size })
    }

    fn remember(&self, hashed: &HashedBytes) {
        if let Some(stat) = self.stat_of(&hashed.sha256) {
            self.index().put_hashed_blob(&hashed.sha256, stat, &hashed.blake3);
        }
    }
}

/// Whether a release describes the bytes that were hashed.
pub(super) fn check_description(blob: &Blob, hashed: &HashedBytes) -> Result<(), StoreError> {
    if blob.describes(hashed) {
        return Ok(());
    }
    Err(StoreError::WrongDescription {
        digest: hashed.sha256,
        expected_size: blob.size,
        expected: blob.blake3.unwrap_or(hashed.blake3),
        found_size: hashed.size,
        found: hashed.blake3,
    })
}

fn missing_or(error: io::Error, digest: Digest, action: &'static str, path: &Path) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::MissingBlob { digest },
        _ => StoreError::io(action, path)(error),
    }
}
