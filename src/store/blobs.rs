//! Blobs by address: looking, reading, and the only way by which bytes get their final name.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    base::{Blake3, BlobHasher, Digest},
    manifest::release::Blob,
};

use super::{
    Store, StoreError,
    io::{Stat, hash_path, hash_rest, make_read_only, same_bytes},
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

    /// Whether the blob is here with the right bytes. They are hashed only if its file was touched since they were last known to be right,
    /// or if whoever vouched for them says something else than `blob`; a damaged blob is removed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn has_blob(&self, digest: &Digest, blob: &Blob) -> Result<bool, StoreError> {
        Ok(self.is_untouched(digest, blob.size, blob.blake3.as_ref()) || self.has_blob_hashed(digest, blob.size)?)
    }

    /// As [`has_blob`](Self::has_blob), and hashes the bytes whatever the file's times say.
    ///
    /// # Errors
    /// What the file system says.
    pub fn has_blob_hashed(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        match self.blob_verified(digest) {
            Ok(_) => Ok(self.blob_size(digest) == Some(size)),
            Err(StoreError::MissingBlob { .. } | StoreError::DamagedBlob { .. }) => Ok(false),
            Err(error) => Err(error),
        }
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

    /// The path of the blob after hashing all its bytes: for repairs, where a name is not proof enough, because blobs share their bytes
    /// with hard links in folders of users. A damaged blob is removed, so that it is fetched or built again.
    ///
    /// # Errors
    /// `MissingBlob`, `DamagedBlob`.
    pub fn blob_verified(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let _guard = self.writing()?;
        let path = self.blob_path(digest);
        loop {
            let mut file = self.open_blob(digest)?;
            let seen = Stat::of(&file.metadata().map_err(StoreError::io("stat", &path))?);
            let hashed = hash_rest(&mut file, &|_| ()).map_err(StoreError::io("read", &path))?;
            let _naming = self.naming()?;
            // While it was hashed, somebody may have put another file in its place.
            if self.stat_of(digest) != Some(seen) {
                continue;
            }
            if hashed.sha256 == *digest {
                self.remember_stat(digest);
                self.unmark(digest)?;
                return Ok(path);
            }
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            self.unmark(digest)?;
            return Err(StoreError::DamagedBlob { path, expected: *digest, found: hashed.sha256 });
        }
    }

    /// Gives the finished file `from` its name in the store; `false` where an intact blob was there already, and `from` stays.
    ///
    /// The caller has hashed `file`, which is `from`, and holds a write guard.
    pub(super) fn settle(&self, file: &File, from: &Path, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        if self.has_intact(digest, size, from, None)? {
            return Ok(false);
        }
        self.prepare(file, from, digest)?;
        let _naming = self.naming()?;
        self.give_name(from, digest)?;
        self.unmark(digest)?;
        Ok(true)
    }

    /// As [`settle`](Self::settle), for a file of which the caller has computed the BLAKE3 alone.
    pub(super) fn settle_vouched(&self, file: &File, from: &Path, digest: &Digest, size: u64, blake3: &Blake3) -> Result<bool, StoreError> {
        if self.has_intact(digest, size, from, Some(blake3))? {
            return Ok(false);
        }
        self.prepare(file, from, digest)?;
        loop {
            self.make_room(digest, size, blake3)?;
            let _naming = self.naming()?;
            // Unless somebody was faster.
            if self.stat_of(digest).is_none() {
                self.vouch(digest, blake3)?;
                self.give_name(from, digest)?;
                return Ok(true);
            }
        }
    }

    /// Everything that can be done before a file gets its name.
    fn prepare(&self, file: &File, from: &Path, digest: &Digest) -> Result<(), StoreError> {
        make_read_only(file).map_err(StoreError::io("make read-only", from))?;
        file.sync_data().map_err(StoreError::io("sync", from))?;
        let path = self.blob_path(digest);
        let shard = path.parent().unwrap_or(self.home());
        fs::create_dir_all(shard).map_err(StoreError::io("make", shard))
    }

    fn give_name(&self, from: &Path, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        fs::rename(from, &path).map_err(StoreError::io("move a file to", &path))?;
        self.remember_stat(digest);
        Ok(())
    }

    /// Removes a file of this name that is not the blob, so that one may take its place of which nobody has computed the sha256; one that is
    /// the blob stays, and the description is wrong.
    fn make_room(&self, digest: &Digest, size: u64, blake3: &Blake3) -> Result<(), StoreError> {
        let path = match self.blob_verified(digest) {
            Ok(path) => path,
            Err(StoreError::MissingBlob { .. } | StoreError::DamagedBlob { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let found = hash_path(&path, &|_| ()).map_err(StoreError::io("read", &path))?;
        Err(StoreError::WrongDescription {
            digest: *digest,
            expected_size: size,
            expected: *blake3,
            found_size: found.size,
            found: found.blake3,
        })
    }

    /// Whether the blob is here with the bytes of the file `twin`, whose sha256 is the blob's name or, with `vouched`, whose BLAKE3 is that.
    /// Its bytes are compared only if it was touched since it was written, or if somebody has vouched for something else.
    pub(super) fn has_intact(&self, digest: &Digest, size: u64, twin: &Path, vouched: Option<&Blake3>) -> Result<bool, StoreError> {
        if self.is_untouched(digest, size, vouched) {
            return Ok(true);
        }
        let seen = self.stat_of(digest);
        if self.blob_size(digest) != Some(size) || !same_bytes(&self.blob_path(digest), twin).unwrap_or(false) {
            return Ok(false);
        }
        let _naming = self.naming()?;
        let same = self.stat_of(digest) == seen;
        if same {
            self.remember_stat(digest);
            if vouched.is_none() {
                self.unmark(digest)?;
            }
        }
        Ok(same)
    }

    /// Held while a blob gets or loses its name or its mark, so that both change together. Nothing is hashed meanwhile: the threads that hash
    /// may be asked for a lock of names by other work.
    fn naming(&self) -> Result<ExclusiveGuard, StoreError> {
        lock::exclusive(&self.layout().vouched_lock())
    }

    fn stat_of(&self, digest: &Digest) -> Option<Stat> {
        Some(Stat::of(&fs::metadata(self.blob_path(digest)).ok()?))
    }

    /// Whether the blob is here with this size, its file is as it was when its bytes were last known to be right, and its name is proven
    /// or vouched for by somebody who says the same BLAKE3.
    pub(super) fn is_untouched(&self, digest: &Digest, size: u64, blake3: Option<&Blake3>) -> bool {
        let Ok(metadata) = fs::metadata(self.blob_path(digest)) else { return false };
        let untouched = metadata.is_file() && metadata.len() == size && self.index().blob_stat(digest) == Some(Stat::of(&metadata));
        untouched && self.agrees(digest, blake3)
    }

    fn remember_stat(&self, digest: &Digest) {
        if let Ok(metadata) = fs::metadata(self.blob_path(digest)) {
            self.index().put_blob_stat(digest, Stat::of(&metadata));
        }
    }
}

fn missing_or(error: io::Error, digest: Digest, action: &'static str, path: &Path) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::MissingBlob { digest },
        _ => StoreError::io(action, path)(error),
    }
}
