//! Writing blobs: bytes are hashed and cut in one pass while they are written, and get their name only when all of them
//! are there.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use tempfile::NamedTempFile;

use crate::{
    base::{Blake3, BlobHasher, Digest, HashedBytes, PIECE, note_temporary, pump},
    manifest::release::Blob,
};

use super::{
    Segmentation, Store, StoreError, WriteGuard,
    segments::{SegmentError, Segmenter},
};

/// A blob that is in the store, and what a release manifest says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its address.
    pub digest: Digest,
    /// Its size, BLAKE3 and segments.
    pub blob: Blob,
    /// Whether the store did not have it before.
    pub is_new: bool,
}

/// Everything that is computed from the bytes of a blob.
#[derive(Debug)]
struct Digestion {
    hasher: BlobHasher,
    segmenter: Segmenter,
}

/// What was computed.
#[derive(Debug)]
struct Digested {
    hashed: HashedBytes,
    stored: StoredBlob,
}

impl Digestion {
    fn new(segmentation: Segmentation) -> Result<Self, SegmentError> {
        Ok(Self { hasher: BlobHasher::default(), segmenter: Segmenter::new(segmentation)? })
    }

    fn update(&mut self, bytes: &[u8]) {
        let Self { hasher, segmenter } = self;
        rayon::join(|| hasher.update(bytes), || segmenter.update(bytes));
    }

    fn finish(self) -> Result<Digested, SegmentError> {
        let hashed = self.hasher.finish();
        let blob = Blob { size: hashed.size, blake3: Some(hashed.blake3), segments: self.segmenter.finish()? };
        Ok(Digested { hashed, stored: StoredBlob { digest: hashed.sha256, blob, is_new: false } })
    }
}

/// A blob that is being written. Dropped without [`finish`](BlobWriter::finish), it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    temporary: NamedTempFile,
    buffer: Vec<u8>,
    digestion: Digestion,
    _guard: WriteGuard,
}

impl BlobWriter {
    /// Makes everything written a blob. Where it is in the store already, nothing changes, unless that file is damaged:
    /// then it is replaced.
    ///
    /// # Errors
    /// What the file system says; `Segments` where a cut reaches beyond the last byte.
    pub fn finish(mut self) -> Result<StoredBlob, StoreError> {
        let path = self.temporary.path().to_owned();
        self.absorb_buffer().map_err(StoreError::io("write", &path))?;
        let digested = self
            .digestion
            .finish()
            .map_err(|source| StoreError::Segments { what: path.display().to_string(), source })?;
        self.store.settle_temporary(self.temporary, digested)
    }

    fn absorb_buffer(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let done = self.absorb(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        done
    }

    /// Writes to the file while other threads hash.
    fn absorb(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { temporary, digestion, .. } = self;
        rayon::join(|| temporary.as_file_mut().write_all(bytes), || digestion.update(bytes)).0
    }
}

/// Bytes are gathered to pieces of some MiB before they are hashed and written, so small writes are cheap.
impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.buffer.len());
        if taken == PIECE {
            self.absorb(&bytes[..taken])?;
            return Ok(taken);
        }
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE {
            self.absorb_buffer()?;
        }
        Ok(taken)
    }

    /// Does nothing: no byte is visible before [`finish`](BlobWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Starts a blob.
    ///
    /// # Errors
    /// What the file system says; `Segments` for cuts that are not in order.
    pub fn writer(&self, segmentation: Segmentation) -> Result<BlobWriter, StoreError> {
        let guard = self.writing()?;
        let temporary = self.temporary_file()?;
        let what = || temporary.path().display().to_string();
        let digestion = Digestion::new(segmentation).map_err(|source| StoreError::Segments { what: what(), source })?;
        Ok(BlobWriter { store: self.clone(), temporary, buffer: Vec::new(), digestion, _guard: guard })
    }

    /// Stores `bytes`. Where the blob is here already, nothing is written.
    ///
    /// # Errors
    /// As [`writer`](Self::writer) and [`BlobWriter::finish`].
    pub fn put(&self, bytes: &[u8], segmentation: Segmentation) -> Result<StoredBlob, StoreError> {
        let _guard = self.writing()?;
        let wrong = |source| StoreError::Segments { what: "bytes in memory".to_owned(), source };
        let mut digestion = Digestion::new(segmentation).map_err(wrong)?;
        digestion.update(bytes);
        let digested = digestion.finish().map_err(wrong)?;
        let stored = &digested.stored;
        if self.is_untouched(&stored.digest, stored.blob.size) {
            self.index_segments(&stored.digest, &stored.blob);
            return Ok(digested.stored);
        }
        let mut temporary = self.temporary_file()?;
        temporary.write_all(bytes).map_err(StoreError::io("write", temporary.path()))?;
        self.settle_temporary(temporary, digested)
    }

    /// Stores the file `path`. It is cloned where the file system can; else copied while it is hashed, unless a blob of
    /// its length is here: then it is hashed first, so that what is here is not written again; what is new is then
    /// copied under its BLAKE3, which costs far less than a second sha256.
    ///
    /// # Errors
    /// As [`writer`](Self::writer) and [`BlobWriter::finish`].
    pub fn ingest_file(&self, path: &Path, segmentation: Segmentation) -> Result<StoredBlob, StoreError> {
        let guard = self.writing()?;
        let mut source = File::open(path).map_err(StoreError::io("open", path))?;
        let size = source.metadata().map_err(StoreError::io("stat", path))?.len();
        if let Some(clone) = self.clone_file(&source)? {
            let digested =
                digest_file(&mut File::open(clone.path()).map_err(StoreError::io("open", path))?, path, segmentation)?;
            return self.settle_temporary(clone, digested);
        }
        if self.index().has_blob_of_size(size) {
            let digested = digest_file(&mut source, path, segmentation.clone())?;
            if self.has_intact(&digested.hashed, path)? {
                self.index_segments(&digested.stored.digest, &digested.stored.blob);
                return Ok(digested.stored);
            }
            if let Some(copy) = self.copy_file(path, &digested.hashed.blake3)? {
                return self.settle_temporary(copy, digested);
            }
            source = File::open(path).map_err(StoreError::io("open", path))?;
        }
        let mut writer = self.writer(segmentation)?;
        drop(guard);
        pump(&mut source, |bytes| writer.absorb(bytes)).map_err(StoreError::io("copy", path))?;
        writer.finish()
    }

    /// Stores several files at once; the results are in the order of the files.
    ///
    /// # Errors
    /// The error of the first file, in order, that has one.
    pub fn ingest_files(&self, files: Vec<(PathBuf, Segmentation)>) -> Result<Vec<StoredBlob>, StoreError> {
        let _guard = self.writing()?;
        let results: Vec<_> =
            files.into_par_iter().map(|(path, segmentation)| self.ingest_file(&path, segmentation)).collect();
        results.into_iter().collect()
    }

    fn temporary_file(&self) -> Result<NamedTempFile, StoreError> {
        let folder = self.temporary_folder()?;
        let temporary = NamedTempFile::new_in(&folder).map_err(StoreError::io("write in", &folder))?;
        note_temporary(temporary.path());
        Ok(temporary)
    }

    /// A copy-on-write clone of `source` in the temporary folder; `None` where the file system has no such thing.
    fn clone_file(&self, source: &File) -> Result<Option<NamedTempFile>, StoreError> {
        let folder = self.temporary_folder()?;
        let clone = |path: &Path| reflink_copy::reflink_file_to_path(source, path).and_then(|()| File::open(path));
        let clone = tempfile::Builder::new().make_in(&folder, clone).ok();
        clone.iter().for_each(|clone| note_temporary(clone.path()));
        Ok(clone)
    }

    /// A copy of the file in the temporary folder; `None` where the file no longer has the bytes of `expected`.
    pub(super) fn copy_file(&self, path: &Path, expected: &Blake3) -> Result<Option<NamedTempFile>, StoreError> {
        let mut source = File::open(path).map_err(StoreError::io("open", path))?;
        let mut copy = self.temporary_file()?;
        let mut hasher = blake3::Hasher::new();
        let absorb = |bytes: &[u8]| rayon::join(|| copy.write_all(bytes), || hasher.update(bytes)).0;
        pump(&mut source, absorb).map_err(StoreError::io("copy", path))?;
        Ok((hasher.finalize().as_bytes() == expected.as_bytes()).then_some(copy))
    }

    fn settle_temporary(
        &self,
        temporary: NamedTempFile,
        Digested { hashed, stored }: Digested,
    ) -> Result<StoredBlob, StoreError> {
        let (file, path) = temporary.into_parts();
        let is_new = self.settle(&file, &path, &hashed)?;
        if is_new {
            // The name is gone already, so that there is nothing to remove.
            let _ = path.keep();
        }
        self.index_segments(&stored.digest, &stored.blob);
        Ok(StoredBlob { is_new, ..stored })
    }
}

fn digest_file(source: &mut File, path: &Path, segmentation: Segmentation) -> Result<Digested, StoreError> {
    let wrong = |source| StoreError::Segments { what: path.display().to_string(), source };
    let mut digestion = Digestion::new(segmentation).map_err(wrong)?;
    pump(source, |bytes| {
        digestion.update(bytes);
        Ok(())
    })
    .map_err(StoreError::io("read", path))?;
    digestion.finish().map_err(wrong)
}
