//! Release manifests, byte for byte, and where they came from.
//!
//! The origin file maps the manifest's digest to its origin. It is written before the manifest, and keeps the entry of
//! the manifest that is replaced until the new one is there: at every moment the manifest on disk is one that its
//! origin file knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    path::Path,
    time::SystemTime,
};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    base::{AtomicFile, ClashKind, Digest, PackageName, Timestamp, name_key, sync_parent},
    manifest::release::Blob,
};

use super::{
    Store, StoreError,
    error::RecordDamage,
    layout::manifest_version,
    lock::{self, ExclusiveGuard},
    record,
};

/// Where a release came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// It was built here. `gc` never removes it.
    Built {
        /// The remotes that have it, without credentials.
        published_to: BTreeSet<String>,
    },
    /// It was fetched, and can be fetched again.
    Fetched {
        /// The remotes that have it, without credentials.
        from: BTreeSet<String>,
    },
}

impl Origin {
    /// What both say of the same release: what was built here stays built, and every remote that has it counts.
    pub fn merge(self, other: Origin) -> Origin {
        let built = self.is_built() || other.is_built();
        let mut remotes = self.into_remotes();
        remotes.append(&mut other.into_remotes());
        if built { Origin::Built { published_to: remotes } } else { Origin::Fetched { from: remotes } }
    }

    /// Whether it was built here.
    pub fn is_built(&self) -> bool {
        matches!(self, Self::Built { .. })
    }

    /// The remotes that have it.
    pub fn remotes(&self) -> &BTreeSet<String> {
        let (Self::Built { published_to: remotes } | Self::Fetched { from: remotes }) = self;
        remotes
    }

    fn into_remotes(self) -> BTreeSet<String> {
        let (Self::Built { published_to: remotes } | Self::Fetched { from: remotes }) = self;
        remotes
    }

    /// A build that nobody else has seen may be built again; what was fetched may be fetched anew.
    fn may_become(&self, other: &Origin) -> bool {
        match self {
            Self::Built { published_to } => other.is_built() && published_to.is_empty(),
            Self::Fetched { .. } => !other.is_built(),
        }
    }
}

/// A manifest without an origin file is taken for a build of this machine, which is never lost by `gc`.
fn unknown_origin() -> Origin {
    Origin::Built { published_to: BTreeSet::new() }
}

type Origins = BTreeMap<Digest, Entry>;

/// What the origin file says of one manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    origin: Origin,
    /// When it was first put here, in seconds since 1970; absent in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<u64>,
}

impl Entry {
    fn new(origin: Origin, added: Timestamp) -> Self {
        Self { origin, added: Some(added.seconds()) }
    }

    /// Of a manifest without an origin file.
    fn unknown() -> Self {
        Self { origin: unknown_origin(), added: None }
    }
}

/// Where a release came from, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Where from.
    pub origin: Origin,
    /// When it was first put into the store.
    pub added: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Name {
    package: PackageName,
    version: Version,
}

#[derive(Deserialize)]
struct Blobs {
    blobs: BTreeMap<Digest, Blob>,
}

/// One of the writes that put a release; each happens whole or not at all.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Origins(Origins),
    Manifest,
}

/// The writes that put the release `digest`, in an order that may stop anywhere. `others` are the origins of what it
/// replaces.
fn steps(others: Origins, existing: Option<Digest>, digest: Digest, entry: Entry) -> Vec<Step> {
    let settled = Origins::from([(digest, entry)]);
    if existing == Some(digest) {
        return vec![Step::Origins(settled)];
    }
    let replaces = !others.is_empty();
    let mut both = others;
    both.extend(settled.clone());
    let mut steps = vec![Step::Origins(both), Step::Manifest];
    steps.extend(replaces.then_some(Step::Origins(settled)));
    steps
}

/// A manifest as it lies on disk.
pub(super) struct StoredRelease {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
    pub(super) origin: Origin,
    pub(super) added: Option<Timestamp>,
}

impl Store {
    /// Stores a release manifest under the name that it carries and gives its digest. Storing the same again merges the
    /// origins. A build that was never published may be replaced by another build, and what was fetched by what is
    /// fetched.
    ///
    /// # Errors
    /// `InvalidRelease`; `ReleaseConflict` where a published version has other content; what the file system says.
    pub fn put_release(&self, bytes: &[u8], origin: Origin) -> Result<Digest, StoreError> {
        let Name { package, version } =
            serde_json::from_slice(bytes).map_err(|source| StoreError::InvalidRelease { source })?;
        let digest = Digest::of(bytes);
        let _guard = self.writing()?;
        let _lock = self.lock_releases()?;
        self.check_version(&package, &version)?;
        let (manifest, origin_path) =
            (self.layout().manifest(&package, &version), self.layout().origin(&package, &version));
        let (existing, mut origins) = self.standing(&package, &version, digest, &origin)?;
        let merged = match origins.remove(&digest) {
            Some(known) => Entry { origin: known.origin.merge(origin), ..known },
            None => Entry::new(origin, SystemTime::now().into()),
        };
        for step in steps(origins, existing, digest, merged) {
            match step {
                Step::Origins(origins) => record::write(&origin_path, &origins)?,
                Step::Manifest => AtomicFile::write(&manifest, bytes).map_err(StoreError::io("write", &manifest))?,
            }
        }
        sync_parent(&manifest).map_err(StoreError::io("sync the folder of", &manifest))?;
        Ok(digest)
    }

    /// Versions are names of files, so that two that differ in case alone cannot both be here.
    fn check_version(&self, package: &PackageName, version: &Version) -> Result<(), StoreError> {
        let text = version.to_string();
        let same = |other: &Version| other != version && name_key(&other.to_string()) == name_key(&text);
        match self.releases(package)?.into_iter().find(same) {
            Some(existing) => {
                let (why, existing) = (ClashKind::Case, Box::new(existing));
                Err(StoreError::VersionClash {
                    package: package.clone(),
                    existing,
                    version: Box::new(version.clone()),
                    why,
                })
            }
            None => Ok(()),
        }
    }

    /// Whether [`put_release`](Self::put_release) would take the release now: for those who have work to do before.
    ///
    /// # Errors
    /// As [`put_release`](Self::put_release).
    pub fn check_release(&self, bytes: &[u8], origin: &Origin) -> Result<(), StoreError> {
        let Name { package, version } =
            serde_json::from_slice(bytes).map_err(|source| StoreError::InvalidRelease { source })?;
        self.check_version(&package, &version)?;
        self.standing(&package, &version, Digest::of(bytes), origin).map(drop)
    }

    /// What is here under a name, if it may become the release.
    fn standing(
        &self,
        package: &PackageName,
        version: &Version,
        new: Digest,
        origin: &Origin,
    ) -> Result<(Option<Digest>, Origins), StoreError> {
        let existing = read_optional(&self.layout().manifest(package, version))?.map(|bytes| Digest::of(&bytes));
        let origins = record::read::<Origins>(&self.layout().origin(package, version))?;
        let origins = origins.unwrap_or_else(|| existing.map(|it| (it, Entry::unknown())).into_iter().collect());
        match origins.iter().find(|(known, standing)| **known != new && !standing.origin.may_become(origin)) {
            Some((other, _)) => Err(StoreError::ReleaseConflict {
                package: package.clone(),
                version: Box::new(version.clone()),
                existing: *other,
                new,
            }),
            None => Ok((existing, origins)),
        }
    }

    /// The digest and bytes of a release's manifest, if it is here.
    ///
    /// # Errors
    /// `DamagedRecord` where the bytes are not those that were stored.
    pub fn release(&self, package: &PackageName, version: &Version) -> Result<Option<(Digest, Vec<u8>)>, StoreError> {
        Ok(self.stored_release(package, version)?.map(|stored| (stored.digest, stored.bytes)))
    }

    /// Where a release came from, if it is here.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn release_origin(&self, package: &PackageName, version: &Version) -> Result<Option<Origin>, StoreError> {
        Ok(self.stored_release(package, version)?.map(|stored| stored.origin))
    }

    /// Where a release came from and when, if it is here.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn provenance(&self, package: &PackageName, version: &Version) -> Result<Option<Provenance>, StoreError> {
        let stored = self.stored_release(package, version)?;
        Ok(stored.map(|StoredRelease { origin, added, .. }| Provenance { origin, added }))
    }

    /// The versions of a package that are here, lowest first.
    ///
    /// # Errors
    /// What the file system says.
    pub fn releases(&self, package: &PackageName) -> Result<Vec<Version>, StoreError> {
        let names = list(&self.layout().package(package))?;
        let mut versions: Vec<_> = names.iter().filter_map(|name| manifest_version(name.to_str()?)).collect();
        versions.sort();
        Ok(versions)
    }

    /// The packages that have a folder here, in order of their names.
    ///
    /// # Errors
    /// What the file system says.
    pub fn packages(&self) -> Result<Vec<PackageName>, StoreError> {
        let names = list(&self.layout().releases())?;
        let mut packages: Vec<PackageName> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        packages.sort();
        Ok(packages)
    }

    /// Removes a release's manifest and origin; its blobs stay until `gc`. Says whether it was there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_release(&self, package: &PackageName, version: &Version) -> Result<bool, StoreError> {
        let _guard = self.writing()?;
        self.remove_release_files(package, version)
    }

    /// As `remove_release`, for those who hold the store's lock.
    pub(super) fn remove_release_files(&self, package: &PackageName, version: &Version) -> Result<bool, StoreError> {
        let _lock = self.lock_releases()?;
        let existed = remove_optional(&self.layout().manifest(package, version))?;
        remove_optional(&self.layout().origin(package, version))?;
        // Fails while other versions are there, which is what it should do.
        let _ = fs::remove_dir(self.layout().package(package));
        Ok(existed)
    }

    /// Every release that is here, by name and version.
    pub(super) fn all_releases(&self) -> Result<Vec<(PackageName, Version)>, StoreError> {
        let mut all = Vec::new();
        for package in self.packages()? {
            all.extend(self.releases(&package)?.into_iter().map(|version| (package.clone(), version)));
        }
        Ok(all)
    }

    /// The blobs that a release describes; `None` where its manifest cannot be read.
    pub(super) fn described_blobs(&self, package: &PackageName, version: &Version) -> Option<BTreeMap<Digest, Blob>> {
        let (_, bytes) = self.release(package, version).ok()??;
        Some(serde_json::from_slice::<Blobs>(&bytes).ok()?.blobs)
    }

    pub(super) fn stored_release(
        &self,
        package: &PackageName,
        version: &Version,
    ) -> Result<Option<StoredRelease>, StoreError> {
        match self.read_release(package, version) {
            // Perhaps it was replaced between the reading of its two files.
            Err(StoreError::DamagedRecord { .. }) => {
                let _lock = self.lock_releases()?;
                self.read_release(package, version)
            }
            other => other,
        }
    }

    fn read_release(&self, package: &PackageName, version: &Version) -> Result<Option<StoredRelease>, StoreError> {
        let path = self.layout().manifest(package, version);
        let Some(bytes) = read_optional(&path)? else { return Ok(None) };
        let digest = Digest::of(&bytes);
        let Some(mut origins) = record::read::<Origins>(&self.layout().origin(package, version))? else {
            return Ok(Some(StoredRelease { digest, bytes, origin: unknown_origin(), added: None }));
        };
        if let Some(Entry { origin, added }) = origins.remove(&digest) {
            return Ok(Some(StoredRelease { digest, bytes, origin, added: added.map(Timestamp::from_seconds) }));
        }
        let expected = origins.into_keys().map(|digest| digest.to_string()).collect::<Vec<_>>().join(" or ");
        Err(StoreError::DamagedRecord { path, why: RecordDamage::Digest { expected, found: digest.to_string() } })
    }

    fn lock_releases(&self) -> Result<ExclusiveGuard, StoreError> {
        lock::exclusive(&self.layout().release_lock())
    }
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

/// Says whether there was a file.
pub(super) fn remove_optional(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// The names in a folder, sorted; none where there is no folder.
pub(super) fn list(folder: &Path) -> Result<Vec<OsString>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(StoreError::io("list", folder)(error)),
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(StoreError::io("list", folder))?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::store::tests::{built, damage, fetched, home, manifest};

    fn package() -> PackageName {
        "p".parse().unwrap()
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn published() -> Origin {
        Origin::Built { published_to: ["file:///remote".to_owned()].into() }
    }

    /// A manifest of `p@1.0.0` with content that `seed` tells apart.
    fn content(seed: &str) -> Vec<u8> {
        format!(r#"{{"schema":"mlreg/release/1","package":"p","version":"1.0.0","description":"{seed}","variants":[],"blobs":{{}}}}"#)
            .into()
    }

    #[test]
    fn manifests_come_back_byte_for_byte() {
        let home = home();
        let bytes = [manifest("p", "1.0.0", &[]), b"\n".to_vec()].concat();
        let digest = home.store.put_release(&bytes, built()).unwrap();
        assert_eq!(home.other().release(&package(), &version("1.0.0")).unwrap(), Some((digest, bytes)));
        assert_eq!(home.store.release(&package(), &version("1.0.1")).unwrap(), None);
        assert!(matches!(home.store.put_release(b"{}", built()), Err(StoreError::InvalidRelease { .. })));
        assert!(matches!(
            home.store.put_release(br#"{"package":"../p","version":"1.0.0"}"#, built()),
            Err(StoreError::InvalidRelease { .. })
        ));
    }

    #[test]
    fn versions_are_listed_in_their_order() {
        let home = home();
        for text in ["10.0.0", "2.0.0", "2.0.0-a.origin", "2.0.0-rc.1", "2.0.0+json"] {
            home.store.put_release(&manifest("p", text, &[]), built()).unwrap();
        }
        home.store.put_release(&manifest("a.b", "1.0.0", &[]), built()).unwrap();
        let listed: Vec<_> = home.store.releases(&package()).unwrap().iter().map(Version::to_string).collect();
        assert_eq!(listed, ["2.0.0-a.origin", "2.0.0-rc.1", "2.0.0", "2.0.0+json", "10.0.0"]);
        assert_eq!(home.store.packages().unwrap().iter().map(PackageName::as_str).collect::<Vec<_>>(), ["a.b", "p"]);
        assert!(home.store.remove_release(&package(), &version("2.0.0")).unwrap());
        assert!(!home.store.remove_release(&package(), &version("2.0.0")).unwrap());
        assert_eq!(home.store.releases(&package()).unwrap().len(), 4);
    }

    #[test]
    fn versions_that_are_one_file_name_do_not_meet() {
        let home = home();
        home.store.put_release(&manifest("p", "1.0.0-RC.1+a", &[]), built()).unwrap();
        home.store.put_release(&manifest("p", "1.0.0-RC.1+a", &[]), built()).unwrap();
        for text in ["1.0.0-rc.1+a", "1.0.0-RC.1+A"] {
            let error = home.store.put_release(&manifest("p", text, &[]), built()).unwrap_err();
            assert!(matches!(error, StoreError::VersionClash { .. }), "{error}");
        }
        home.store.put_release(&manifest("p", "1.0.0-RC.1+b", &[]), built()).unwrap();
    }

    #[test]
    fn origins_merge_and_built_stays_built() {
        let home = home();
        for origin in [fetched(), built(), fetched(), published()] {
            home.store.put_release(&content("x"), origin).unwrap();
        }
        let origin = home.store.release_origin(&package(), &version("1.0.0")).unwrap().unwrap();
        assert_eq!(
            origin,
            Origin::Built { published_to: ["file:///remote".to_owned(), "https://host/".to_owned()].into() }
        );
    }

    #[test]
    fn the_time_of_the_first_put_stays() {
        let home = home();
        let before = Timestamp::from(SystemTime::now());
        home.store.put_release(&content("x"), built()).unwrap();
        let added = || home.store.provenance(&package(), &version("1.0.0")).unwrap().unwrap().added;
        let first = added().unwrap();
        assert!(first >= before);
        let path = home.store.layout().origin(&package(), &version("1.0.0"));
        let mut origins = record::read::<Origins>(&path).unwrap().unwrap();
        origins.values_mut().for_each(|entry| entry.added = Some(7));
        record::write(&path, &origins).unwrap();
        home.store.put_release(&content("x"), published()).unwrap();
        assert_eq!(added(), Some(Timestamp::from_seconds(7)));
        origins.values_mut().for_each(|entry| entry.added = None);
        record::write(&path, &origins).unwrap();
        assert_eq!(added(), None, "a record of an older version");
    }

    #[test]
    fn only_what_nobody_else_relies_on_is_replaced() {
        for (first, second, replaced) in [
            (built(), built(), true),
            (built(), published(), true),
            (built(), fetched(), false),
            (published(), built(), false),
            (published(), fetched(), false),
            (fetched(), fetched(), true),
            (fetched(), built(), false),
        ] {
            let home = home();
            let one = home.store.put_release(&content("one"), first.clone()).unwrap();
            let two = home.store.put_release(&content("two"), second.clone());
            match &two {
                Ok(_) => {}
                Err(StoreError::ReleaseConflict { existing, new, .. }) => {
                    assert_eq!((*existing, *new), (one, Digest::of(&content("two"))))
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(two.is_ok(), replaced, "{first:?} then {second:?}");
            let (digest, _) = home.store.release(&package(), &version("1.0.0")).unwrap().unwrap();
            assert_eq!(digest, two.unwrap_or(one));
        }
    }

    #[test]
    fn every_stop_while_replacing_leaves_a_readable_release() {
        let (one, two) = (Digest::of(&content("one")), Digest::of(&content("two")));
        let entry = |origin| Entry::new(origin, Timestamp::from_seconds(7));
        let plan = || steps(Origins::from([(one, entry(built()))]), Some(one), two, entry(published()));
        assert_eq!(plan().len(), 3);
        for stop in 0..=plan().len() {
            let home = home();
            home.store.put_release(&content("one"), built()).unwrap();
            for step in plan().into_iter().take(stop) {
                match step {
                    Step::Origins(origins) => {
                        record::write(&home.store.layout().origin(&package(), &version("1.0.0")), &origins).unwrap()
                    }
                    Step::Manifest => {
                        AtomicFile::write(
                            &home.store.layout().manifest(&package(), &version("1.0.0")),
                            &content("two"),
                        )
                        .unwrap();
                    }
                }
            }
            let (digest, _) = home.store.release(&package(), &version("1.0.0")).unwrap().unwrap();
            assert_eq!(digest, if stop < 2 { one } else { two }, "stopped after {stop} writes");
            assert!(home.store.verify(&|_, _| ()).unwrap().findings.is_empty(), "stopped after {stop} writes");
        }
    }

    #[test]
    fn a_damaged_manifest_is_noticed_and_repaired_by_the_same_release() {
        let home = home();
        home.store.put_release(&content("one"), published()).unwrap();
        damage(&home.store.layout().manifest(&package(), &version("1.0.0")), |bytes| {
            let at = bytes.len() - 30;
            bytes[at] ^= 1;
        });
        assert!(matches!(home.store.release(&package(), &version("1.0.0")), Err(StoreError::DamagedRecord { .. })));
        home.store.put_release(&content("one"), fetched()).unwrap();
        assert_eq!(home.store.release(&package(), &version("1.0.0")).unwrap().unwrap().1, content("one"));
    }

    #[test]
    fn writers_and_readers_of_one_version_never_see_a_torn_release() {
        let home = home();
        home.store.put_release(&content("0"), built()).unwrap();
        thread::scope(|scope| {
            for writer in 0..3 {
                let store = home.other();
                scope.spawn(move || {
                    for step in 0..10 {
                        store.put_release(&content(&format!("{writer} {step}")), built()).unwrap();
                    }
                });
            }
            let store = home.other();
            scope.spawn(move || {
                (0..100).for_each(|_| assert!(store.release(&package(), &version("1.0.0")).unwrap().is_some()))
            });
        });
        let origins =
            record::read::<Origins>(&home.store.layout().origin(&package(), &version("1.0.0"))).unwrap().unwrap();
        assert_eq!(origins.len(), 1);
    }
}
