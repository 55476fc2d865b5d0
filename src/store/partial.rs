//! Downloads under way: a sparse file and a journal of what arrived, so that a kill costs only what was not yet
//! journaled.
//!
//! The journal is a row of records of two little-endian 64-bit words, offset and length; the length's highest bit says
//! that the range is forgotten. A record is appended after its bytes were written; a torn last record is ignored. After
//! a power loss the journal may claim bytes that never reached the disk, so nothing gets its final name before the
//! whole file was hashed.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{
    base::{Blake3, ByteRange, Digest, limits},
    manifest::release::Blob,
};

use super::{
    Location, Store, StoreError, WriteGuard,
    ahead::HashAhead,
    blobs::check_description,
    io::{read_at, write_at},
    ranges::RangeSet,
};

const RECORD: usize = 16;
const FORGOTTEN: u64 = 1 << 63;
/// From this length on a file is put on disk while the end of it is hashed.
const LONG: u64 = 8 << 20;

/// What a request to download a blob finds.
#[derive(Debug)]
pub enum Download {
    /// The blob is here, perhaps because somebody else has just finished it.
    Present,
    /// It is ours to fill.
    Partial(PartialBlob),
}

/// A blob that is being downloaded, locked against everybody else. Dropped, it keeps what arrived for the next time.
#[derive(Debug)]
pub struct PartialBlob {
    store: Store,
    digest: Digest,
    size: u64,
    content: Arc<Content>,
    _guard: WriteGuard,
}

/// What threads share that write it and hash it.
#[derive(Debug)]
struct Content {
    file: File,
    journal: Mutex<Journal>,
    ahead: HashAhead,
}

impl Content {
    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// Where the next record goes: behind the last whole one.
    end: u64,
    present: RangeSet,
}

impl Store {
    /// Opens the download of the blob that `blob` describes, waiting while somebody else has it. Not for rayon's
    /// threads: one that waits inside a task may wait for a task beneath it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn partial(&self, digest: &Digest, blob: &Blob) -> Result<Download, StoreError> {
        let guard = self.writing()?;
        let folder = self.layout().partials();
        fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        let path = self.layout().partial(digest);
        loop {
            if self.has_blob(digest, blob)? {
                return Ok(Download::Present);
            }
            let file = open(&path).map_err(StoreError::io("open", &path))?;
            file.lock().map_err(StoreError::io("lock", &path))?;
            // While we waited, the holder may have given the file another name: then the lock is on something else.
            if !is_named(&file, &path).map_err(StoreError::io("stat", &path))? {
                continue;
            }
            return self.resume(*digest, blob, file, guard).map(Download::Partial);
        }
    }

    /// What has arrived of a blob that is or was being downloaded, in order: a fact for plans, which may be out of date
    /// when it is given. Takes no lock and makes no file. The bytes are not checked.
    pub fn arrived(&self, digest: &Digest, size: u64) -> Vec<ByteRange> {
        let whole = fs::metadata(self.layout().partial(digest)).is_ok_and(|metadata| metadata.len() == size);
        let journal = File::open(self.layout().journal(digest)).ok().filter(|_| whole);
        journal
            .and_then(|file| Journal::load(file, size).ok())
            .map_or_else(Vec::new, |journal| journal.present.iter().collect())
    }

    fn resume(&self, digest: Digest, blob: &Blob, file: File, guard: WriteGuard) -> Result<PartialBlob, StoreError> {
        let size = blob.size;
        let (path, journal_path) = (self.layout().partial(&digest), self.layout().journal(&digest));
        let journal = open(&journal_path).map_err(StoreError::io("open", &journal_path))?;
        let length = file.metadata().map_err(StoreError::io("stat", &path))?.len();
        if length != size {
            journal.set_len(0).map_err(StoreError::io("write", &journal_path))?;
            file.set_len(0).and_then(|()| file.set_len(size)).map_err(StoreError::io("make room in", &path))?;
        }
        let journal = Journal::load(journal, size).map_err(StoreError::io("read", &journal_path))?;
        if journal.end == 0 {
            journal.file.set_len(0).map_err(StoreError::io("write", &journal_path))?;
        }
        let content = Content { file, journal: Mutex::new(journal), ahead: HashAhead::default() };
        Ok(PartialBlob { store: self.clone(), digest, size, content: Arc::new(content), _guard: guard })
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Reads a whole record; `false` at the end, also where the last one is torn.
fn read_record(source: &mut impl Read, record: &mut [u8; RECORD]) -> io::Result<bool> {
    match source.read_exact(record) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(unix)]
fn is_named(file: &File, path: &std::path::Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_named(_: &File, path: &std::path::Path) -> io::Result<bool> {
    path.try_exists()
}

impl Journal {
    fn load(mut file: File, size: u64) -> io::Result<Self> {
        let mut present = RangeSet::default();
        let (mut end, mut source) = (0, BufReader::with_capacity(1 << 16, &mut file));
        let mut record = [0; RECORD];
        // A torn last record ends it, too.
        while read_record(&mut source, &mut record)? {
            end += RECORD as u64;
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| record[at + index]));
            let (offset, length) = (word(0), word(8));
            let Some(range) = ByteRange::new(offset, length & !FORGOTTEN).filter(|range| range.end() <= size) else {
                continue;
            };
            if length & FORGOTTEN == 0 {
                present.insert(range)
            } else {
                present.remove(range)
            }
            if present.count() > limits::JOURNAL_RANGES {
                // No download comes in so many pieces: nothing of it is believed.
                present = RangeSet::default();
                end = 0;
                break;
            }
        }
        Ok(Self { file, end, present })
    }

    /// How many bytes are there without a hole.
    fn beginning(&self) -> u64 {
        self.present.iter().next().filter(|first| first.offset() == 0).map_or(0, |first| first.end())
    }

    fn append(&mut self, range: ByteRange, flag: u64) -> io::Result<()> {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&range.offset().to_le_bytes());
        record[8..].copy_from_slice(&(range.length() | flag).to_le_bytes());
        write_at(&self.file, &record, self.end)?;
        self.end += RECORD as u64;
        Ok(())
    }
}

impl Drop for PartialBlob {
    fn drop(&mut self) {
        self.content.ahead.close();
    }
}

impl PartialBlob {
    /// The blob's address.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The sparse file, which has its whole length from the start; it moves when the blob is finished.
    pub fn path(&self) -> std::path::PathBuf {
        self.store.layout().partial(&self.digest)
    }

    /// The blob's length.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What arrived, in order, neighbours merged. The bytes are not checked.
    pub fn present(&self) -> Vec<ByteRange> {
        self.content.journal().present.iter().collect()
    }

    /// Writes bytes that arrived, then journals them. Several threads may write at once.
    ///
    /// # Errors
    /// `OutOfBounds`, or what the file system says.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let Some(range) = self.range(offset, bytes.len() as u64)? else { return Ok(()) };
        write_at(&self.content.file, bytes, offset)
            .map_err(StoreError::io("write", &self.store.layout().partial(&self.digest)))?;
        let content = &self.content;
        let mut journal = content.journal();
        let before = journal.beginning();
        journal.append(range, 0).map_err(StoreError::io("write", &self.store.layout().journal(&self.digest)))?;
        journal.present.insert(range);
        let beginning = journal.beginning();
        // Under the journal's lock, so that what it hears is in order.
        content.ahead.changed(offset, before);
        let shared = content.clone();
        content.ahead.arrived(beginning, move || shared.ahead.run(&shared.file));
        Ok(())
    }

    /// Marks bytes as missing, because they are wrong.
    ///
    /// # Errors
    /// `OutOfBounds`, or what the file system says.
    pub fn forget(&self, range: ByteRange) -> Result<(), StoreError> {
        self.range(range.offset(), range.length())?;
        let mut journal = self.content.journal();
        journal
            .append(range, FORGOTTEN)
            .map_err(StoreError::io("write", &self.store.layout().journal(&self.digest)))?;
        journal.present.remove(range);
        self.content.ahead.changed(range.offset(), journal.beginning());
        Ok(())
    }

    /// Reads bytes back, whether they arrived or not; the holes are zeros.
    ///
    /// # Errors
    /// `OutOfBounds`, or what the file system says.
    pub fn read(&self, range: ByteRange) -> Result<Vec<u8>, StoreError> {
        self.range(range.offset(), range.length())?;
        let mut bytes = vec![0; range.length() as usize];
        read_at(&self.content.file, &mut bytes, range.offset())
            .map_err(StoreError::io("read", &self.store.layout().partial(&self.digest)))?;
        Ok(bytes)
    }

    /// Takes a segment from another blob of this store, if its bytes are those of `expected`.
    ///
    /// # Errors
    /// `StaleLocation` where other bytes lie there, `MissingBlob`, `OutOfBounds`, or what the file system says.
    pub fn copy_from(&self, location: &Location, offset: u64, expected: &Blake3) -> Result<(), StoreError> {
        let Location { digest, range } = *location;
        self.range(offset, range.length())?;
        let file = self.store.open_blob(&digest)?;
        let path = self.store.blob_path(&digest);
        let size = file.metadata().map_err(StoreError::io("stat", &path))?.len();
        if range.end() > size {
            return Err(StoreError::OutOfBounds { digest, offset: range.offset(), length: range.length(), size });
        }
        let mut bytes = vec![0; range.length() as usize];
        read_at(&file, &mut bytes, range.offset()).map_err(StoreError::io("read", &path))?;
        let found = Blake3::of(&bytes);
        if found != *expected {
            return Err(StoreError::StaleLocation { digest, offset: range.offset(), expected: *expected, found });
        }
        self.write_at(offset, &bytes)
    }

    /// Makes the download a blob, if every byte arrived and all of them together are what the address and `blob` say:
    /// both hashes are computed. Wrong bytes are discarded: whoever has segments checks those first and calls
    /// [`forget`](Self::forget) for the wrong ones alone. Right bytes under a wrong description stay.
    ///
    /// # Errors
    /// `Incomplete`, `WrongBytes`, `WrongDescription`, `Segments`, or what the file system says.
    pub fn finish(self, blob: &Blob) -> Result<(), StoreError> {
        super::segments::check(blob)
            .map_err(|source| StoreError::Segments { what: self.digest.to_string(), source })?;
        let missing = self.size - self.content.journal().present.total();
        if missing > 0 {
            return Err(StoreError::Incomplete { digest: self.digest, missing, size: self.size });
        }
        let path = self.store.layout().partial(&self.digest);
        let hashed = thread::scope(|scope| {
            // A disk takes long for what it has not seen yet, and this needs no processor. Whoever gives the file its
            // name does it again.
            let sync = || self.content.file.sync_data();
            let syncing = if self.size >= LONG { thread::Builder::new().spawn_scoped(scope, sync).ok() } else { None };
            let hashed = self.content.ahead.finish(&self.content.file, self.size);
            let synced =
                syncing.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            synced.and(hashed)
        });
        let hashed = hashed.map_err(StoreError::io("read", &path))?;
        if hashed.sha256 != self.digest {
            let expected = self.digest;
            self.discard()?;
            return Err(StoreError::WrongBytes { expected, received: hashed.sha256 });
        }
        check_description(blob, &hashed)?;
        if !self.store.settle(&self.content.file, &path, &hashed)? {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
        self.remove_journal()?;
        self.store.index_segments(&self.digest, blob);
        Ok(())
    }

    /// Throws away what arrived.
    ///
    /// # Errors
    /// What the file system says.
    pub fn discard(self) -> Result<(), StoreError> {
        self.remove_journal()?;
        let path = self.store.layout().partial(&self.digest);
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))
    }

    fn remove_journal(&self) -> Result<(), StoreError> {
        let path = self.store.layout().journal(&self.digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The range, if it is inside the blob; `None` where it is empty.
    fn range(&self, offset: u64, length: u64) -> Result<Option<ByteRange>, StoreError> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size);
        if !inside {
            return Err(StoreError::OutOfBounds { digest: self.digest, offset, length, size: self.size });
        }
        Ok(ByteRange::new(offset, length))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::{
        manifest::release::SegmentContent,
        store::tests::{described, home, noise},
        store::{Segmentation, StoredBlob},
    };

    fn begin(store: &Store, digest: &Digest, size: u64) -> PartialBlob {
        match store.partial(digest, &Blob::of_size(size)).unwrap() {
            Download::Partial(partial) => partial,
            Download::Present => panic!("the blob is not here"),
        }
    }

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange::new(offset, length).unwrap()
    }

    #[test]
    fn what_arrived_can_be_seen_from_outside() {
        let home = home();
        let bytes = noise(7, 1000);
        let digest = Digest::of(&bytes);
        assert_eq!(home.store.arrived(&digest, 1000), []);
        assert!(!home.store.home().join("partial").exists(), "looking makes no file");
        let partial = begin(&home.store, &digest, 1000);
        partial.write_at(10, &bytes[10..30]).unwrap();
        assert_eq!(home.other().arrived(&digest, 1000), [range(10, 20)], "also while it is locked");
        assert_eq!(home.other().arrived(&digest, 999), []);
    }

    #[test]
    fn ranges_from_several_threads_become_the_blob() {
        let home = home();
        let (bytes, digest, blob) = described(1, 1_000_000);
        let partial = begin(&home.store, &digest, blob.size);
        thread::scope(|scope| {
            for part in 0..4 {
                let (partial, bytes) = (&partial, &bytes);
                scope.spawn(move || {
                    for offset in (part * 250_000..(part + 1) * 250_000).step_by(50_000) {
                        partial.write_at(offset as u64, &bytes[offset..offset + 50_000]).unwrap();
                    }
                });
            }
        });
        assert_eq!(partial.present(), [range(0, 1_000_000)]);
        partial.finish(&blob).unwrap();
        assert_eq!(home.store.read_blob(&digest, u64::MAX).unwrap(), bytes);
        assert_eq!(fs::read_dir(home.store.layout().partials()).unwrap().count(), 0);
        assert!(matches!(home.store.partial(&digest, &blob).unwrap(), Download::Present));
    }

    /// The state on disk is copied at every step, as a kill would leave it; the journal's last record is torn at every
    /// length.
    #[test]
    fn a_kill_costs_only_what_was_not_journaled() {
        let home = home();
        let (bytes, digest, blob) = described(2, 300);
        let partial = begin(&home.store, &digest, blob.size);
        partial.write_at(0, &bytes[..100]).unwrap();
        partial.write_at(200, &bytes[200..]).unwrap();
        partial.forget(range(50, 20)).unwrap();
        drop(partial);
        let journal = fs::read(home.store.layout().journal(&digest)).unwrap();
        assert_eq!(journal.len(), 3 * RECORD);
        let expected = [
            vec![],
            vec![range(0, 100)],
            vec![range(0, 100), range(200, 100)],
            vec![range(0, 50), range(70, 30), range(200, 100)],
        ];
        for length in 0..=journal.len() {
            fs::write(home.store.layout().journal(&digest), &journal[..length]).unwrap();
            let partial = begin(&home.other(), &digest, blob.size);
            assert_eq!(partial.present(), expected[length / RECORD], "journal of {length} bytes");
            partial.write_at(100, &bytes[100..110]).unwrap();
            drop(partial);
            assert!(begin(&home.other(), &digest, blob.size).present().iter().any(|it| it.contains(&range(100, 10))));
        }
        let partial = begin(&home.store, &digest, blob.size);
        partial.write_at(0, &bytes).unwrap();
        partial.finish(&blob).unwrap();
        assert_eq!(home.store.read_blob(&digest, 300).unwrap(), bytes);
    }

    #[test]
    fn nonsense_in_the_journal_and_lost_files_are_survived() {
        let home = home();
        let (bytes, digest, blob) = described(3, 300);
        begin(&home.store, &digest, 300).write_at(0, &bytes[..10]).unwrap();
        let journal = home.store.layout().journal(&digest);
        let mut records = fs::read(&journal).unwrap();
        for (offset, length) in [(u64::MAX, 1), (0, 0), (299, 2), (1, u64::MAX), (20, 5)] {
            records.extend([u64::to_le_bytes(offset), u64::to_le_bytes(length)].concat());
        }
        fs::write(&journal, &records).unwrap();
        assert_eq!(begin(&home.store, &digest, blob.size).present(), [range(0, 10), range(20, 5)]);
        fs::remove_file(home.store.layout().partial(&digest)).unwrap();
        assert_eq!(begin(&home.store, &digest, blob.size).present(), [], "without the file the journal means nothing");
    }

    #[test]
    fn nothing_wrong_or_incomplete_becomes_a_blob() {
        let home = home();
        let (mut bytes, digest, blob) = described(4, 1000);
        let partial = begin(&home.store, &digest, 1000);
        assert!(matches!(partial.write_at(999, &[0; 2]), Err(StoreError::OutOfBounds { .. })));
        assert!(matches!(partial.write_at(u64::MAX, &[0; 2]), Err(StoreError::OutOfBounds { .. })));
        partial.write_at(0, &bytes[..999]).unwrap();
        assert!(matches!(partial.finish(&blob), Err(StoreError::Incomplete { missing: 1, size: 1000, .. })));

        let partial = begin(&home.store, &digest, 1000);
        assert_eq!(partial.present(), [range(0, 999)], "an incomplete download stays");
        partial.write_at(999, &bytes[999..]).unwrap();
        let lie = Blob { blake3: Some(Blake3::of(b"lie")), ..blob.clone() };
        assert!(matches!(partial.finish(&lie), Err(StoreError::WrongDescription { .. })));

        let partial = begin(&home.store, &digest, 1000);
        assert_eq!(partial.present(), [range(0, 1000)], "right bytes stay");
        bytes[500] ^= 1;
        partial.write_at(500, &bytes[500..501]).unwrap();
        assert!(matches!(partial.finish(&blob), Err(StoreError::WrongBytes { expected, .. }) if expected == digest));
        assert_eq!(begin(&home.store, &digest, 1000).present(), [], "wrong bytes are discarded");
        assert_eq!(home.store.blob_size(&digest), None);
    }

    /// Which of the two a release is wrong about is found for files of any length.
    #[test]
    fn both_hashes_count() {
        for length in [1000, LONG as usize + 5] {
            let home = home();
            let (bytes, other) = (noise(8, length), noise(9, length));
            let digest = Digest::of(&bytes);
            let described = |bytes: &[u8]| Blob { blake3: Some(Blake3::of(bytes)), ..Blob::of_size(length as u64) };
            let download = |bytes: &[u8], blob: &Blob| {
                let Download::Partial(partial) = home.store.partial(&digest, blob)? else { return Ok(()) };
                partial.write_at(0, bytes)?;
                partial.finish(blob)
            };
            assert!(
                matches!(download(&other, &described(&other)), Err(StoreError::WrongBytes { expected, .. }) if expected == digest)
            );
            assert_eq!(home.store.arrived(&digest, length as u64), []);
            assert!(matches!(download(&bytes, &described(&other)), Err(StoreError::WrongDescription { .. })));
            assert_eq!(home.store.blob_size(&digest), None);
            download(&bytes, &described(&bytes)).unwrap();
            // What is here is known, and nobody is told otherwise, also by another instance.
            let (truth, lie, shorter) = (described(&bytes), described(&other), Blob::of_size(length as u64 - 1));
            assert!(
                home.other().has_blob(&digest, &truth).unwrap()
                    && home.other().has_blob(&digest, &Blob::of_size(length as u64)).unwrap()
            );
            for wrong in [lie, shorter] {
                let refused =
                    |result: Result<bool, StoreError>| matches!(result, Err(StoreError::WrongDescription { .. }));
                assert!(
                    refused(home.store.has_blob(&digest, &wrong))
                        && refused(home.store.has_blob_hashed(&digest, &wrong))
                );
                assert!(matches!(home.store.partial(&digest, &wrong), Err(StoreError::WrongDescription { .. })));
                assert!(home.store.check_descriptions(&[(digest, wrong)].into()).is_err());
            }
            home.store.check_descriptions(&[(digest, truth)].into()).unwrap();
            assert_eq!(home.store.read_blob(&digest, u64::MAX).unwrap(), bytes);
        }
    }

    #[test]
    fn who_waits_for_a_download_learns_that_it_is_done() {
        let home = home();
        let (bytes, digest, blob) = described(5, 1000);
        let partial = begin(&home.store, &digest, 1000);
        let (sender, receiver) = mpsc::channel();
        let other = home.other();
        let waiting = thread::spawn(move || {
            sender.send(matches!(other.partial(&digest, &Blob::of_size(1000)).unwrap(), Download::Present))
        });
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "a second holder of one download");
        partial.write_at(0, &bytes).unwrap();
        partial.finish(&blob).unwrap();
        assert!(receiver.recv().unwrap());
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn segments_on_this_machine_are_reused_after_a_check() {
        let home = home();
        let bytes = noise(6, 3_000_000);
        let StoredBlob { digest: old, .. } = home.store.put(&bytes, Segmentation::ContentDefined).unwrap();
        let (new_bytes, mut moved) = ([b"more".as_slice(), &bytes].concat(), 0);
        let scratch = crate::store::tests::home();
        let new = scratch.store.put(&new_bytes, Segmentation::ContentDefined).unwrap();
        let partial = begin(&home.store, &new.digest, new.blob.size);
        let keys: Vec<_> = new
            .blob
            .segments
            .iter()
            .filter_map(|it| if let SegmentContent::Blake3(key) = it.content { Some(key) } else { None })
            .collect();
        let found = home.store.find_segments(&keys);
        for (segment, key) in new.blob.segments.iter().zip(&keys) {
            match found.get(key) {
                Some(location) => partial.copy_from(location, segment.offset, key).unwrap(),
                None => {
                    moved += 1;
                    let start = segment.offset as usize;
                    partial.write_at(segment.offset, &new_bytes[start..start + segment.length as usize]).unwrap();
                }
            }
        }
        assert!(moved <= 3 && keys.len() > 5, "{moved} of {} segments were not found", keys.len());
        let stale = Location { digest: old, range: range(1, 10) };
        assert!(matches!(partial.copy_from(&stale, 0, &keys[0]), Err(StoreError::StaleLocation { .. })));
        let beyond = Location { digest: old, range: range(2_999_999, 2) };
        assert!(matches!(partial.copy_from(&beyond, 0, &keys[0]), Err(StoreError::OutOfBounds { .. })));
        partial.finish(&new.blob).unwrap();
        assert_eq!(home.store.read_blob(&new.digest, u64::MAX).unwrap(), new_bytes);
    }
}
