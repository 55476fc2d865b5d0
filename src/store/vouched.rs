//! Blobs whose sha256 nobody has computed yet.
//!
//! A release says two things of a blob: its sha256, which is its name, and its BLAKE3. Either is enough to know that a download has the
//! bytes that the release means, and BLAKE3 is many times as fast where the processor has no instructions for sha256. So a long download is
//! checked by its BLAKE3 and gets its name with a mark, the file `vouched/<sha256>` with that BLAKE3: that both belong together is only the
//! word of a release. Whoever has a release that says the same may use the blob. For everybody else it is hashed first; then the mark goes,
//! or, where the release has lied, the blob. A mark without such a blob does no harm. `vouched/.lock` is held while name and mark change.

use std::{collections::BTreeMap, fs, io};

use super::{
    Store, StoreError,
    releases::{list, remove_optional},
};
use crate::{
    base::{AtomicFile, Blake3, Digest, sync_parent},
    manifest::release::Blob,
};

/// The sha256 of shorter blobs is computed when they arrive.
pub(super) const LONG: u64 = 8 << 20;

/// By what a download is known to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProvenBy {
    /// Its sha256 and its BLAKE3, when all of it is there.
    Both,
    /// Its sha256.
    Address,
    /// Its BLAKE3.
    Description,
}

impl ProvenBy {
    pub(super) fn of(blob: &Blob) -> Self {
        match blob.blake3 {
            _ if blob.size < LONG => Self::Both,
            Some(_) => Self::Description,
            None => Self::Address,
        }
    }
}

impl Store {
    /// Whether a blob of this name and length is here that may be taken for the one that `blob` describes. Looks at names, lengths and marks
    /// alone.
    pub fn seems_here(&self, digest: &Digest, blob: &Blob) -> bool {
        self.blob_size(digest) == Some(blob.size) && self.agrees(digest, blob.blake3.as_ref())
    }

    /// Whether a blob of this name is here whose name is known to be its sha256; hashes one that is only vouched for, and removes it
    /// where it has another. Blobs without a mark are not hashed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn confirm(&self, digest: &Digest) -> Result<bool, StoreError> {
        if self.agrees(digest, None) {
            return Ok(self.blob_size(digest).is_some());
        }
        match self.blob_verified(digest) {
            Ok(_) => Ok(true),
            Err(StoreError::MissingBlob { .. } | StoreError::DamagedBlob { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hashes those of these blobs for whose names somebody else has vouched with another BLAKE3, and removes what is wrong.
    ///
    /// # Errors
    /// What the file system says.
    pub fn confirm_contradicted(&self, blobs: &BTreeMap<Digest, Blob>) -> Result<(), StoreError> {
        for digest in self.marks()? {
            if blobs.get(&digest).is_some_and(|blob| !self.seems_here(&digest, blob)) {
                self.confirm(&digest)?;
            }
        }
        Ok(())
    }

    /// Whether the blob's name is proven, or vouched for by somebody who says the same.
    pub(super) fn agrees(&self, digest: &Digest, blake3: Option<&Blake3>) -> bool {
        match fs::read_to_string(self.layout().vouched(digest)) {
            // A mark that cannot be read says that there is something to prove.
            Ok(mark) => blake3.is_some_and(|blake3| mark == blake3.to_string()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Marks the blob, before it gets its name. The caller holds the lock of names, and no other file has the name.
    pub(super) fn vouch(&self, digest: &Digest, blake3: &Blake3) -> Result<(), StoreError> {
        let folder = self.layout().all_vouched();
        fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        let path = self.layout().vouched(digest);
        // A blob without its mark would pass for proven, also after a power loss.
        let written = AtomicFile::write(&path, blake3.to_string().as_bytes()).and_then(|()| sync_parent(&path));
        written.map_err(StoreError::io("write", &path))
    }

    /// Removes the mark of a blob whose sha256 is known, or that is gone.
    pub(super) fn unmark(&self, digest: &Digest) -> Result<(), StoreError> {
        remove_optional(&self.layout().vouched(digest)).map(drop)
    }

    /// Removes the marks of blobs that are not here. Nobody may be writing.
    pub(super) fn remove_idle_marks(&self) -> Result<(), StoreError> {
        for digest in self.marks()? {
            let path = self.blob_path(&digest);
            if !path.try_exists().map_err(StoreError::io("look for", &path))? {
                self.unmark(&digest)?;
            }
        }
        Ok(())
    }

    fn marks(&self) -> Result<Vec<Digest>, StoreError> {
        let names = list(&self.layout().all_vouched())?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        base::ByteRange,
        store::{
            Download, GcOptions, Segmentation,
            tests::{Home, home, noise},
        },
    };

    const LENGTH: usize = LONG as usize + 5;

    fn described(bytes: &[u8]) -> Blob {
        Blob { size: bytes.len() as u64, blake3: Some(Blake3::of(bytes)), segments: Vec::new() }
    }

    /// Downloads bytes under a name.
    fn download(home: &Home, name: &Digest, bytes: &[u8], blob: &Blob) -> Result<(), StoreError> {
        let Download::Partial(partial) = home.store.partial(name, blob)? else { panic!("it is here") };
        partial.write_at(0, bytes)?;
        partial.finish(blob)
    }

    fn is_marked(home: &Home, digest: &Digest) -> bool {
        home.store.layout().vouched(digest).exists()
    }

    #[test]
    fn what_a_release_vouches_for_serves_those_who_say_the_same() {
        let home = home();
        let bytes = noise(1, LENGTH);
        let (digest, blob) = (Digest::of(&bytes), described(&bytes));
        download(&home, &digest, &bytes, &blob).unwrap();
        assert!(is_marked(&home, &digest));
        assert!(home.store.seems_here(&digest, &blob) && home.store.has_blob(&digest, &blob).unwrap());
        assert!(matches!(home.other().partial(&digest, &blob).unwrap(), Download::Present));
        assert!(is_marked(&home, &digest), "nobody had to hash it");

        assert!(!home.store.seems_here(&digest, &Blob { blake3: None, ..blob.clone() }), "without a BLAKE3 there is nothing to agree on");
        assert!(home.store.confirm(&digest).unwrap());
        assert!(!is_marked(&home, &digest));
        assert!(home.store.seems_here(&digest, &Blob { blake3: None, ..blob }));
    }

    #[test]
    fn who_vouches_wrongly_harms_nobody_else() {
        let (bytes, evil) = (noise(2, LENGTH), noise(3, LENGTH));
        let (digest, blob, lie) = (Digest::of(&bytes), described(&bytes), described(&evil));
        let lied = || {
            let home = home();
            download(&home, &digest, &evil, &lie).unwrap();
            assert!(home.store.seems_here(&digest, &lie));
            home
        };
        let right = |home: &Home, how: &str| {
            assert_eq!(home.store.read_blob(&digest, u64::MAX).unwrap(), bytes, "{how}");
            assert!(home.store.agrees(&digest, None), "{how}");
        };

        let home = lied();
        assert!(!home.store.seems_here(&digest, &blob));
        assert!(!home.store.has_blob(&digest, &blob).unwrap());
        assert_eq!(home.store.blob_size(&digest), None, "it was hashed, and is gone");

        let home = lied();
        download(&home, &digest, &bytes, &blob).unwrap();
        assert!(home.store.seems_here(&digest, &blob) && home.store.confirm(&digest).unwrap());
        right(&home, "another download");

        let home = lied();
        download(&home, &digest, &bytes, &Blob { blake3: None, ..blob.clone() }).unwrap();
        right(&home, "a download that nothing describes");

        let home = lied();
        assert!(!home.store.confirm(&digest).unwrap());
        assert!(!is_marked(&home, &digest));

        let home = lied();
        home.store.confirm_contradicted(&BTreeMap::from([(digest, lie.clone())])).unwrap();
        assert!(home.store.seems_here(&digest, &lie), "nobody contradicts");
        home.store.confirm_contradicted(&BTreeMap::from([(digest, blob.clone())])).unwrap();
        assert_eq!(home.store.blob_size(&digest), None);

        for segmentation in [Segmentation::Whole, Segmentation::ContentDefined] {
            let home = lied();
            assert!(home.store.put(&bytes, segmentation).unwrap().is_new);
            right(&home, "bytes that are stored");
        }

        let home = lied();
        let file = home.folder.path().join("file");
        fs::write(&file, &bytes).unwrap();
        home.store.ingest_file(&file, Segmentation::Whole).unwrap();
        right(&home, "a file that is stored");

        let home = lied();
        let findings = home.store.verify(&|_, _| ()).unwrap().findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
    }

    #[test]
    fn what_is_proven_does_not_give_way_to_a_lie() {
        let (bytes, evil) = (noise(9, 1000), noise(10, LENGTH));
        let (digest, lie) = (Digest::of(&bytes), described(&evil));
        let home = home();
        home.store.put(&bytes, Segmentation::Whole).unwrap();
        assert!(!home.store.has_blob(&digest, &lie).unwrap());
        assert!(matches!(download(&home, &digest, &evil, &lie), Err(StoreError::WrongDescription { .. })), "of another length");
        assert_eq!(home.store.read_blob(&digest, u64::MAX).unwrap(), bytes);
        assert!(!is_marked(&home, &digest));
    }

    #[test]
    fn names_and_marks_change_together() {
        let (bytes, evil) = (noise(11, LENGTH), noise(12, LENGTH));
        let (digest, lie) = (Digest::of(&bytes), described(&evil));
        for _ in 0..6 {
            let home = home();
            std::thread::scope(|scope| {
                let liar = home.other();
                scope.spawn(|| {
                    let liar = liar;
                    let Download::Partial(partial) = liar.partial(&digest, &lie).unwrap() else { return };
                    partial.write_at(0, &evil).unwrap();
                    let _ = partial.finish(&lie);
                });
                scope.spawn(|| home.other().put(&bytes, Segmentation::Whole).unwrap());
                scope.spawn(|| home.other().confirm(&digest).unwrap());
            });
            let found = Digest::of(&fs::read(home.store.blob_path(&digest)).unwrap());
            assert!(found == digest || !home.store.agrees(&digest, None), "a lie without a mark");
        }
    }

    #[test]
    fn what_is_stored_from_elsewhere_too_is_proven() {
        let home = home();
        let bytes = noise(4, LENGTH);
        let (digest, blob) = (Digest::of(&bytes), described(&bytes));
        download(&home, &digest, &bytes, &blob).unwrap();
        assert!(!home.store.put(&bytes, Segmentation::Whole).unwrap().is_new);
        assert!(!is_marked(&home, &digest));
    }

    #[test]
    fn bytes_that_nobody_vouches_for_are_refused() {
        let home = home();
        let bytes = noise(5, LENGTH);
        let (digest, blob) = (Digest::of(&bytes), described(&bytes));
        let mut wrong = bytes.clone();
        wrong[7] ^= 1;
        assert!(matches!(download(&home, &digest, &wrong, &blob), Err(StoreError::WrongBytes { .. })));
        let lie = Blob { blake3: Some(Blake3::of(b"lie")), ..blob };
        assert!(matches!(download(&home, &digest, &bytes, &lie), Err(StoreError::WrongDescription { .. })));
        assert_eq!((home.store.blob_size(&digest), is_marked(&home, &digest)), (None, false));
        let range = ByteRange::new(0, LENGTH as u64).unwrap();
        assert_eq!(home.store.arrived(&digest, LENGTH as u64), [range], "right bytes under a wrong description stay");
    }

    #[test]
    fn short_blobs_need_nobody_to_vouch() {
        let home = home();
        let bytes = noise(6, 1000);
        let digest = Digest::of(&bytes);
        download(&home, &digest, &bytes, &described(&bytes)).unwrap();
        assert!(!is_marked(&home, &digest));
        let lie = described(&noise(7, 1000));
        assert!(download(&home, &Digest::of(b"other"), &noise(7, 1000), &lie).is_err());
    }

    #[test]
    fn marks_go_with_their_blobs() {
        let home = home();
        let bytes = noise(8, LENGTH);
        let digest = Digest::of(&bytes);
        download(&home, &digest, &bytes, &described(&bytes)).unwrap();
        let idle = Digest::of(b"never came");
        home.store.vouch(&idle, &Blake3::of(b"")).unwrap();
        fs::write(home.store.layout().vouched(&digest), "damaged").unwrap();
        assert!(!home.store.agrees(&digest, Some(&Blake3::of(&bytes))), "a damaged mark is none to agree with");
        let plan = home.store.gc_plan(&GcOptions { now: SystemTime::UNIX_EPOCH, budget: None }).unwrap();
        home.store.gc_run(&plan).unwrap();
        assert_eq!(home.store.blob_size(&digest), None);
        assert!(!is_marked(&home, &digest) && !is_marked(&home, &idle));
    }
}
