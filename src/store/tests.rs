//! What several tests of the store share, and the tests that span its parts.

use std::{collections::BTreeSet, fs, io::Write, path::Path, thread};

use super::*;
use crate::{base::Digest, manifest::release::Blob};

/// A store in a folder of its own.
pub(super) struct Home {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Store,
}

pub(super) fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("home")).unwrap();
    Home { folder, store }
}

impl Home {
    /// Another instance on the same folder, as another process would have it.
    pub(super) fn other(&self) -> Store {
        Store::open(self.store.home()).unwrap()
    }
}

/// Bytes that look random and are always the same.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A release manifest that names these blobs.
pub(super) fn manifest(package: &str, version: &str, blobs: &[&StoredBlob]) -> Vec<u8> {
    let blobs: serde_json::Map<_, _> =
        blobs.iter().map(|it| (it.digest.to_string(), serde_json::to_value(&it.blob).unwrap())).collect();
    let manifest = serde_json::json!({ "schema": "mlreg/release/1", "package": package, "version": version, "variants": [], "blobs": blobs });
    serde_json::to_vec(&manifest).unwrap()
}

pub(super) fn built() -> Origin {
    Origin::Built { published_to: BTreeSet::new() }
}

pub(super) fn fetched() -> Origin {
    Origin::Fetched { from: ["https://host/".to_owned()].into() }
}

/// Replaces the bytes of a file that may be read-only.
pub(super) fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn temporary_files(store: &Store) -> usize {
    fs::read_dir(store.layout().temporary()).map_or(0, Iterator::count)
}

#[test]
fn opening_touches_nothing() {
    let home = home();
    assert!(home.store.blob_size(&Digest::of(b"")).is_none());
    assert!(home.store.packages().unwrap().is_empty() && home.store.placements().unwrap().is_empty());
    assert!(!home.store.home().exists());
}

#[test]
fn written_put_and_ingested_bytes_are_the_same_blob() {
    let home = home();
    let bytes = noise(1, 5_000_000);
    let mut writer = home.store.writer(Segmentation::ContentDefined).unwrap();
    bytes.chunks(99_991).for_each(|chunk| writer.write_all(chunk).unwrap());
    let written = writer.finish().unwrap();
    let file = home.folder.path().join("file");
    fs::write(&file, &bytes).unwrap();
    assert!(written.is_new);
    let again = StoredBlob { is_new: false, ..written.clone() };
    assert_eq!(home.store.ingest_file(&file, Segmentation::ContentDefined).unwrap(), again);
    assert_eq!(home.store.put(&bytes, Segmentation::ContentDefined).unwrap(), again);
    assert_eq!(written.digest, Digest::of(&bytes));
    segments::check(&written.blob).unwrap();
    assert_eq!(home.store.read_blob(&written.digest, 5_000_000).unwrap(), bytes);
    assert!(matches!(
        home.store.read_blob(&written.digest, 4_999_999),
        Err(StoreError::TooLarge { size: 5_000_000, .. })
    ));
    assert!(matches!(home.store.read_blob(&Digest::of(b"other"), 1), Err(StoreError::MissingBlob { .. })));
    assert_eq!(temporary_files(&home.store), 0);
}

#[test]
fn empty_and_dropped_writers() {
    let home = home();
    let empty = home.store.writer(Segmentation::ContentDefined).unwrap().finish().unwrap();
    assert_eq!((empty.digest, empty.blob.size, home.store.blob_size(&empty.digest)), (Digest::of(b""), 0, Some(0)));
    let mut dropped = home.store.writer(Segmentation::Whole).unwrap();
    dropped.write_all(&noise(2, 3 << 20)).unwrap();
    drop(dropped);
    assert_eq!((temporary_files(&home.store), home.store.all_blobs().unwrap().len()), (0, 1));
}

#[test]
fn a_blob_that_cannot_get_its_name_is_an_error() {
    let home = home();
    fs::create_dir_all(home.store.home()).unwrap();
    fs::write(home.store.home().join("blobs"), "a file where a folder should be").unwrap();
    let mut writer = home.store.writer(Segmentation::Whole).unwrap();
    writer.write_all(b"bytes").unwrap();
    assert!(matches!(writer.finish(), Err(StoreError::Io { action: "make", .. })));
    assert!(matches!(home.store.put(b"bytes", Segmentation::Whole), Err(StoreError::Io { action: "make", .. })));
    assert_eq!(temporary_files(&home.store), 0);
}

#[cfg(unix)]
#[test]
fn blobs_are_read_only_and_keep_their_file() {
    use std::os::unix::fs::MetadataExt;
    let home = home();
    let stored = home.store.put(b"bytes", Segmentation::Whole).unwrap();
    let stat = |store: &Store| fs::metadata(store.blob_path(&stored.digest)).unwrap();
    let first = stat(&home.store);
    assert_eq!(first.mode() & 0o777, 0o444);
    home.store.put(b"bytes", Segmentation::Whole).unwrap();
    fs::remove_file(home.store.layout().index()).unwrap();
    let other = home.other();
    other.put(b"bytes", Segmentation::Whole).unwrap();
    assert_eq!(stat(&other).ino(), first.ino(), "an intact blob was written again");
}

#[test]
fn a_damaged_blob_is_replaced_when_its_bytes_come_again() {
    let home = home();
    let bytes = noise(3, 300_000);
    let path = home.folder.path().join("file");
    fs::write(&path, &bytes).unwrap();
    let stored = home.store.put(&bytes, Segmentation::Whole).unwrap();
    let blob = home.store.blob_path(&stored.digest);
    let puts: [&dyn Fn() -> StoredBlob; 3] = [
        &|| home.store.put(&bytes, Segmentation::Whole).unwrap(),
        &|| home.store.ingest_file(&path, Segmentation::Whole).unwrap(),
        &|| {
            let mut writer = home.store.writer(Segmentation::Whole).unwrap();
            writer.write_all(&bytes).unwrap();
            writer.finish().unwrap()
        },
    ];
    for (index, put) in puts.iter().enumerate() {
        for change in [(|bytes| bytes[77] ^= 1) as fn(&mut Vec<u8>), |bytes| bytes.truncate(5)] {
            damage(&blob, change);
            assert!(home.store.read_blob(&stored.digest, u64::MAX).is_err());
            assert_eq!(put(), stored);
            assert_eq!(home.store.read_blob(&stored.digest, u64::MAX).unwrap(), bytes, "way {index}");
        }
    }
}

#[test]
fn a_damaged_blob_is_removed_before_it_repairs_anything() {
    let home = home();
    let stored = home.store.put(b"some bytes", Segmentation::Whole).unwrap();
    let path = home.store.blob_verified(&stored.digest).unwrap();
    damage(&path, |bytes| bytes[0] ^= 1);
    assert!(
        matches!(home.store.blob_verified(&stored.digest), Err(StoreError::DamagedBlob { expected, .. }) if expected == stored.digest)
    );
    assert!(matches!(home.store.blob_verified(&stored.digest), Err(StoreError::MissingBlob { .. })));
}

#[test]
fn many_threads_and_instances_write_at_once() {
    let home = home();
    let stores: Vec<Store> = (0..4).map(|_| home.other()).collect();
    let results: Vec<Vec<StoredBlob>> = thread::scope(|scope| {
        let write = |store: &Store| -> Vec<StoredBlob> {
            (0..12)
                .map(|seed| {
                    store.put(&noise(seed % 6, 300_000 + seed as usize % 6), Segmentation::ContentDefined).unwrap()
                })
                .collect()
        };
        let threads: Vec<_> = stores.iter().map(|store| scope.spawn(move || write(store))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let blobs =
        |results: &[StoredBlob]| results.iter().map(|stored| (stored.digest, stored.blob.clone())).collect::<Vec<_>>();
    assert!(results.windows(2).all(|pair| blobs(&pair[0]) == blobs(&pair[1])));
    let report = home.store.verify(&|_, _| ()).unwrap();
    assert_eq!((report.blobs, report.findings, temporary_files(&home.store)), (6, vec![], 0));
}

#[test]
fn a_file_as_long_as_a_blob_is_told_from_it() {
    let home = home();
    let path = home.folder.path().join("file");
    home.store.put(&noise(1, 3_000_000), Segmentation::Whole).unwrap();
    fs::write(&path, noise(2, 3_000_000)).unwrap();
    let stored = home.store.ingest_file(&path, Segmentation::ContentDefined).unwrap();
    assert_eq!(home.store.read_blob(&stored.digest, u64::MAX).unwrap(), noise(2, 3_000_000));
    assert_eq!(
        home.store.copy_file(&path, &stored.blob.blake3.unwrap()).unwrap().map(|copy| fs::read(copy.path()).unwrap()),
        Some(noise(2, 3_000_000))
    );
    fs::write(&path, noise(3, 3_000_000)).unwrap();
    assert!(
        home.store.copy_file(&path, &stored.blob.blake3.unwrap()).unwrap().is_none(),
        "the file changed after it was hashed"
    );
}

#[test]
fn files_are_ingested_in_order() {
    let home = home();
    let paths: Vec<_> = (0..6_u64).map(|index| home.folder.path().join(index.to_string())).collect();
    for (index, path) in paths.iter().enumerate() {
        fs::write(path, noise(index as u64 / 2, 100_000 * (6 - index))).unwrap();
    }
    let stored =
        home.store.ingest_files(paths.iter().map(|path| (path.clone(), Segmentation::Whole)).collect()).unwrap();
    for (path, stored) in paths.iter().zip(&stored) {
        assert_eq!(stored.digest, Digest::of(&fs::read(path).unwrap()));
    }
    let mut missing: Vec<_> = paths.into_iter().map(|path| (path, Segmentation::Whole)).collect();
    missing.push((home.folder.path().join("none"), Segmentation::Whole));
    assert!(matches!(home.store.ingest_files(missing), Err(StoreError::Io { action: "open", .. })));
}

/// A blob of noise with segments, as a manifest describes it.
pub(super) fn described(seed: u64, length: usize) -> (Vec<u8>, Digest, Blob) {
    let scratch = home();
    let bytes = noise(seed, length);
    let StoredBlob { digest, blob, .. } = scratch.store.put(&bytes, Segmentation::ContentDefined).unwrap();
    (bytes, digest, blob)
}
