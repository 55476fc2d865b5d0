//! Collecting what nobody needs: first a plan that can be shown, then its execution under the exclusive lock.
//!
//! Roots are the releases that were built here, and the fetched ones that an existing placement names or a pin holds.
//! With a budget the rest stays as a cache, variant by variant, as far as the budget allows. A manifest or placement
//! that cannot be read stops the plan, because what it needs is not known.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsStr,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use semver::Version;

use crate::base::{Digest, FolderError, PackageName, remove_dir_all_writable};

use super::{
    Pins, Store, StoreError,
    evict::evict,
    io::links,
    layout::origin_version,
    releases::{list, remove_optional},
    units::{Fetched, Named, units},
};

/// Temporary files older than this belong to nobody, even while somebody writes.
const TEMPORARY_AGE: Duration = Duration::from_secs(60 * 60);
/// With a budget, downloads that were not touched for so long are given up.
const PARTIAL_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What `gc` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// The time by which the age of temporary files and downloads is told.
    pub now: SystemTime,
    /// How many bytes of blobs may stay; none: what nobody needs goes.
    pub budget: Option<u64>,
}

/// A variant that a budget has no room for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evicted {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The variant's id.
    pub variant: String,
}

/// A blob that no root needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GcBlob {
    /// Its address.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// Whether hard links outside the store keep its bytes on the disk.
    pub linked: bool,
}

/// What would be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcPlan {
    /// What was asked for.
    pub options: GcOptions,
    /// Fetched releases that no placement names, in order.
    pub releases: BTreeMap<(PackageName, Version), Digest>,
    /// Variants of fetched releases that the budget has no room for, the first to go first.
    pub evicted: Vec<Evicted>,
    /// Folders that are gone; their placements are forgotten.
    pub placements: BTreeSet<PathBuf>,
    /// Blobs that no root needs.
    pub blobs: BTreeSet<GcBlob>,
    /// Temporary files and folders of commands that ended, and downloads that nothing needs, with their lengths on
    /// disk.
    pub files: BTreeMap<PathBuf, u64>,
    /// Number of blobs that stay.
    pub kept_blobs: u64,
    /// Their bytes.
    pub kept_bytes: u64,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcReport {
    /// Number of releases.
    pub releases: u64,
    /// Number of placements.
    pub placements: u64,
    /// Number of blobs.
    pub blobs: u64,
    /// Number of temporary files and files of downloads.
    pub files: u64,
    /// Bytes that the disk has back.
    pub freed_bytes: u64,
    /// Bytes of removed blobs that hard links elsewhere keep on the disk.
    pub linked_bytes: u64,
}

impl GcPlan {
    /// Bytes that the disk gets back.
    pub fn freed_bytes(&self) -> u64 {
        self.blobs.iter().filter(|blob| !blob.linked).map(|blob| blob.size).sum::<u64>()
            + self.files.values().sum::<u64>()
    }

    /// Bytes of blobs that hard links elsewhere keep on the disk.
    pub fn linked_bytes(&self) -> u64 {
        self.blobs.iter().filter(|blob| blob.linked).map(|blob| blob.size).sum()
    }

    /// Leaves only what `other` would remove, too.
    fn retain_common(&mut self, other: &GcPlan) {
        let blobs: HashSet<_> = other.blobs.iter().map(|blob| blob.digest).collect();
        self.releases.retain(|key, digest| other.releases.get(key) == Some(digest));
        self.placements.retain(|folder| other.placements.contains(folder));
        self.blobs.retain(|blob| blobs.contains(&blob.digest));
        self.files.retain(|path, _| other.files.contains_key(path));
    }
}

/// What the placements say.
#[derive(Default)]
pub(super) struct Roots {
    pub(super) placed: HashSet<Digest>,
    /// Releases of which all blobs count as placed.
    pub(super) whole: HashSet<Digest>,
    pub(super) held: HashSet<Digest>,
    gone: BTreeSet<PathBuf>,
}

impl Store {
    /// What `gc` would remove now. Changes nothing.
    ///
    /// # Errors
    /// `DamagedRecord` where it cannot be told what is needed, or what the file system says.
    pub fn gc_plan(&self, options: &GcOptions) -> Result<GcPlan, StoreError> {
        let is_idle = self.home().is_dir() && self.inner.lock.try_exclusive().is_ok_and(|lock| lock.is_some());
        self.plan(options, is_idle)
    }

    /// `is_idle` says that nobody writes: then every temporary file belongs to a process that is gone.
    fn plan(&self, options: &GcOptions, is_idle: bool) -> Result<GcPlan, StoreError> {
        self.refuse_links()?;
        let roots = self.roots()?;
        let pins = self.pins()?;
        let (mut needed, mut fetched) = (BTreeSet::new(), Vec::new());
        for (package, version) in self.all_releases()? {
            let Some(stored) = self.stored_release(&package, &version)? else { continue };
            let named = Named::parse(&stored.bytes, &self.layout().manifest(&package, &version))?;
            if stored.origin.is_built() {
                needed.extend(named.blobs.into_keys());
            } else {
                fetched.push(Fetched { package, version, digest: stored.digest, named });
            }
        }
        let mut plan = GcPlan {
            options: *options,
            releases: BTreeMap::new(),
            evicted: Vec::new(),
            placements: roots.gone.clone(),
            blobs: BTreeSet::new(),
            files: self.temporaries(options.now, is_idle)?,
            kept_blobs: 0,
            kept_bytes: 0,
        };
        match options.budget {
            None => keep_roots(&fetched, &roots, &pins, &mut needed, &mut plan),
            Some(budget) => self.keep_within(budget, &fetched, &roots, &pins, &mut needed, &mut plan)?,
        }
        self.sort_blobs(&needed, &mut plan)?;
        plan.files.extend(self.given_up_downloads(options, is_idle, &needed)?);
        Ok(plan)
    }

    /// Keeps what is held, and of the rest what the budget has room for.
    fn keep_within(
        &self,
        budget: u64,
        fetched: &[Fetched],
        roots: &Roots,
        pins: &Pins,
        needed: &mut BTreeSet<Digest>,
        plan: &mut GcPlan,
    ) -> Result<(), StoreError> {
        let sizes: HashMap<Digest, u64> = self
            .all_blobs()?
            .into_iter()
            .filter_map(|(digest, path)| Some((digest, fs::metadata(path).ok()?.len())))
            .collect();
        needed.extend(roots.held.iter().copied());
        let units = units(fetched, roots, pins, &self.uses()?, &sizes);
        let evicted = evict(&units, needed, &sizes, budget);
        let mut kept = BTreeSet::new();
        for unit in units.iter().filter(|unit| !evicted.contains(&unit.key)) {
            needed.extend(&unit.blobs);
            kept.insert((&unit.key.package, &unit.key.version));
        }
        let is_gone = |release: &&Fetched| {
            !kept.contains(&(&release.package, &release.version)) && !roots.placed.contains(&release.digest)
        };
        plan.releases = fetched.iter().filter(is_gone).map(Fetched::entry).collect();
        plan.evicted = evicted;
        Ok(())
    }

    /// Removes what the plan says, except for what has become needed since.
    ///
    /// # Errors
    /// `Busy` while anybody writes; `DamagedRecord`; what the file system says.
    pub fn gc_run(&self, plan: &GcPlan) -> Result<GcReport, StoreError> {
        let lock = self.inner.lock.try_exclusive()?;
        let _lock = lock.ok_or_else(|| StoreError::Busy { home: self.home().to_owned() })?;
        let mut current = self.plan(&plan.options, true)?;
        current.retain_common(plan);
        // Manifests go before the blobs they name, so that an interruption leaves blobs too many and never too few.
        for (package, version) in current.releases.keys() {
            self.remove_release_files(package, version)?;
        }
        for folder in &current.placements {
            let key = folder.to_str().unwrap_or_default();
            remove_optional(&self.layout().placement(key))?;
        }
        self.forget_uses()?;
        self.remove_blobs(&current.blobs)?;
        for path in current.files.keys() {
            remove_temporary(path)?;
        }
        Ok(GcReport {
            releases: current.releases.len() as u64,
            placements: current.placements.len() as u64,
            blobs: current.blobs.len() as u64,
            files: current.files.len() as u64,
            freed_bytes: current.freed_bytes(),
            linked_bytes: current.linked_bytes(),
        })
    }

    /// Refuses links in the place of the store's own folders, since what lies behind one is not the store's to remove.
    fn refuse_links(&self) -> Result<(), StoreError> {
        let layout = self.layout();
        let blobs = layout.blobs();
        let mut folders = vec![layout.temporary(), layout.partials(), layout.placements(), layout.releases()];
        folders.extend(blobs.parent().map(Path::to_owned));
        for folder in [blobs, layout.releases()] {
            folders.push(folder.clone());
            if !is_link(&folder) {
                folders.extend(list(&folder)?.into_iter().map(|name| folder.join(name)));
            }
        }
        match folders.into_iter().find(|folder| is_link(folder)) {
            Some(path) => Err(StoreError::Folder(FolderError::Link { path })),
            None => Ok(()),
        }
    }

    fn remove_blobs(&self, blobs: &BTreeSet<GcBlob>) -> Result<(), StoreError> {
        let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
        self.index().remove_blobs(&digests);
        for digest in &digests {
            let path = self.blob_path(digest);
            remove_optional(&path)?;
            // Fails while other blobs are there, which is what it should do.
            let _ = path.parent().map(fs::remove_dir);
        }
        Ok(())
    }

    fn roots(&self) -> Result<Roots, StoreError> {
        let mut roots = Roots::default();
        for placement in self.placements()? {
            if !placement.folder.is_dir() {
                roots.gone.insert(placement.folder);
                continue;
            }
            match placement.held {
                Some(held) => roots.held.extend(held),
                None => roots.whole.extend(&placement.releases),
            }
            roots.placed.extend(placement.releases);
        }
        Ok(roots)
    }

    /// Forgets in which order variants were used whose releases are gone.
    fn forget_uses(&self) -> Result<(), StoreError> {
        let mut kept = BTreeSet::new();
        for (package, version) in self.all_releases()? {
            kept.extend(self.release(&package, &version)?.map(|(digest, _)| digest));
        }
        self.retain_uses(&kept)
    }

    fn sort_blobs(&self, needed: &BTreeSet<Digest>, plan: &mut GcPlan) -> Result<(), StoreError> {
        for (digest, path) in self.all_blobs()? {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if needed.contains(&digest) {
                plan.kept_blobs += 1;
                plan.kept_bytes += metadata.len();
            } else {
                plan.blobs.insert(GcBlob { digest, size: metadata.len(), linked: links(&metadata) > 1 });
            }
        }
        Ok(())
    }

    /// Every file that has the name of a blob, in order.
    pub(super) fn all_blobs(&self) -> Result<Vec<(Digest, PathBuf)>, StoreError> {
        let mut blobs = Vec::new();
        for shard in list(&self.layout().blobs())? {
            let names = list(&self.layout().blobs().join(&shard))?;
            let digests = names.iter().filter_map(|name| name.to_str()?.parse::<Digest>().ok());
            blobs.extend(
                digests
                    .map(|digest| (digest, self.blob_path(&digest)))
                    .filter(|(_, path)| path.parent().and_then(Path::file_name) == Some(&shard)),
            );
        }
        Ok(blobs)
    }

    /// Temporary files and folders. Whoever makes one holds the store's lock meanwhile, so that none is under way where
    /// nobody has it.
    fn temporaries(&self, now: SystemTime, is_idle: bool) -> Result<BTreeMap<PathBuf, u64>, StoreError> {
        let age = if is_idle { Duration::ZERO } else { TEMPORARY_AGE };
        let mut stale = BTreeMap::new();
        let mut collect = |folder: PathBuf, wanted: &dyn Fn(&OsStr) -> bool| -> Result<(), StoreError> {
            let paths = list(&folder)?.into_iter().filter(|name| wanted(name)).map(|name| folder.join(name));
            stale.extend(paths.filter_map(|path| Some((path.clone(), stale_size(&path, now, age)?))));
            Ok(())
        };
        collect(self.home().to_owned(), &|name| name.as_encoded_bytes().starts_with(b".mlreg-"))?;
        collect(self.layout().temporary(), &|_| true)?;
        collect(self.layout().placements(), &is_atomic_temporary)?;
        for package in self.packages()? {
            let versions: HashSet<_> = self.releases(&package)?.into_iter().collect();
            // An origin is written before its manifest: alone, it is what an interruption left.
            let orphan = |name: &OsStr| {
                name.to_str().and_then(origin_version).is_some_and(|version| !versions.contains(&version))
            };
            collect(self.layout().package(&package), &|name| is_atomic_temporary(name) || orphan(name))?;
        }
        Ok(stale)
    }

    /// Parts of downloads of blobs that no release needs which stays. A budget leaves them for the next try, for some
    /// days.
    fn given_up_downloads(
        &self,
        options: &GcOptions,
        is_idle: bool,
        needed: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<PathBuf, u64>, StoreError> {
        let folder = self.layout().partials();
        let unneeded = |path: &Path| {
            let digest = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
            is_idle && options.budget.is_none() && digest.is_some_and(|digest: Digest| !needed.contains(&digest))
        };
        let stale = |path: PathBuf| {
            let age = if unneeded(&path) { Duration::ZERO } else { PARTIAL_AGE };
            let size = stale_size(&path, options.now, age)?;
            Some((path, size))
        };
        Ok(list(&folder)?.into_iter().filter_map(|name| stale(folder.join(name))).collect())
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Bytes on disk of a file or folder that nobody touched for `age`.
fn stale_size(path: &Path, now: SystemTime, age: Duration) -> Option<u64> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let old = metadata.modified().is_ok_and(|modified| now.duration_since(modified).is_ok_and(|since| since > age));
    (age.is_zero() || old).then(|| tree_size(path, &metadata))
}

/// Links count as themselves: nothing outside is looked at.
fn tree_size(path: &Path, metadata: &Metadata) -> u64 {
    if !metadata.is_dir() {
        return size_on_disk(metadata);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(tree_size(&entry.path(), &fs::symlink_metadata(entry.path()).ok()?))).sum()
}

/// Removes a file, or a folder with what is in it; links are removed, not followed.
fn remove_temporary(path: &Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return remove_dir_all_writable(path).map_err(StoreError::io("remove", path));
    }
    remove_optional(path).map(drop)
}

#[cfg(unix)]
fn size_on_disk(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn size_on_disk(metadata: &Metadata) -> u64 {
    metadata.len()
}

/// Whether an interrupted `AtomicFile` leaves files of such names.
pub(super) fn is_atomic_temporary(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(".mlreg-") && name.ends_with(".tmp"))
}

/// Keeps whole releases that a placement names or a pin holds a part of.
fn keep_roots(fetched: &[Fetched], roots: &Roots, pins: &Pins, needed: &mut BTreeSet<Digest>, plan: &mut GcPlan) {
    let pinned: BTreeSet<Digest> = pins.held().into_iter().map(|key| key.release).collect();
    for release in fetched {
        if roots.placed.contains(&release.digest) || pinned.contains(&release.digest) {
            needed.extend(release.named.blobs.keys());
        } else {
            plan.releases.extend([release.entry()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manifest::release::Blob,
        store::{
            Download, Placement, Segmentation, StoredBlob,
            tests::{Home, built, damage, fetched, home, manifest, noise},
        },
    };

    fn put(home: &Home, seed: u64) -> StoredBlob {
        home.store.put(&noise(seed, 1000), Segmentation::Whole).unwrap()
    }

    fn days_from_now(days: u64) -> GcOptions {
        GcOptions { now: SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60), budget: None }
    }

    fn collect(home: &Home, days: u64) -> GcReport {
        let plan = home.store.gc_plan(&days_from_now(days)).unwrap();
        home.store.gc_run(&plan).unwrap()
    }

    fn place(home: &Home, name: &str, releases: Vec<Digest>) -> PathBuf {
        let folder = home.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        home.store
            .put_placement(&Placement { folder: folder.clone(), releases, held: None, body: serde_json::Value::Null })
            .unwrap();
        folder
    }

    #[test]
    fn what_is_built_or_placed_stays() {
        let home = home();
        let blobs: [StoredBlob; 5] = std::array::from_fn(|seed| put(&home, seed as u64));
        let [in_built, in_placed, in_loose, shared, nowhere] = &blobs;
        home.store.put_release(&manifest("a", "1.0.0", &[in_built, shared]), built()).unwrap();
        let placed = home.store.put_release(&manifest("b", "1.0.0", &[in_placed]), fetched()).unwrap();
        let loose = home.store.put_release(&manifest("c", "1.0.0", &[in_loose, shared]), fetched()).unwrap();
        let folder = place(&home, "app", vec![placed]);
        let gone = place(&home, "gone", vec![loose]);
        assert_eq!(collect(&home, 0), GcReport { blobs: 1, freed_bytes: 1000, ..GcReport::default() });

        fs::remove_dir(&gone).unwrap();
        let plan = home.store.gc_plan(&days_from_now(0)).unwrap();
        assert_eq!((plan.kept_blobs, plan.kept_bytes, plan.freed_bytes()), (3, 3000, 1000));
        assert_eq!(plan.placements, BTreeSet::from([gone]));
        let report = home.store.gc_run(&plan).unwrap();
        assert_eq!(report, GcReport { releases: 1, placements: 1, blobs: 1, freed_bytes: 1000, ..GcReport::default() });
        let present: Vec<_> = [in_built, in_placed, in_loose, shared, nowhere]
            .map(|it| home.store.blob_size(&it.digest).is_some())
            .into();
        assert_eq!(present, [true, true, false, true, false]);
        assert_eq!(home.store.packages().unwrap().len(), 2);

        fs::remove_dir(folder).unwrap();
        assert_eq!(collect(&home, 0).releases, 1);
        assert_eq!(home.store.blob_size(&in_placed.digest), None);
        assert_eq!(collect(&home, 0), GcReport::default());
        assert!(home.store.verify(&|_, _| ()).unwrap().findings.is_empty());
    }

    #[test]
    fn what_became_needed_after_the_plan_stays() {
        let home = home();
        let (saved, lost) = (put(&home, 1), put(&home, 2));
        let plan = home.store.gc_plan(&days_from_now(0)).unwrap();
        assert_eq!(plan.blobs.len(), 2);
        home.store.put_release(&manifest("a", "1.0.0", &[&saved]), built()).unwrap();
        let unplanned = put(&home, 3);
        assert_eq!(home.store.gc_run(&plan).unwrap().blobs, 1);
        let present = [&saved, &lost, &unplanned].map(|it| home.store.blob_size(&it.digest).is_some());
        assert_eq!(present, [true, false, true]);
    }

    #[test]
    fn nothing_is_collected_while_somebody_writes() {
        let home = home();
        put(&home, 1);
        let plan = home.store.gc_plan(&days_from_now(0)).unwrap();
        let guard = home.other().writing().unwrap();
        assert!(matches!(home.store.gc_run(&plan), Err(StoreError::Busy { .. })));
        drop(guard);
        assert_eq!(home.store.gc_run(&plan).unwrap().blobs, 1);
    }

    #[test]
    fn a_manifest_that_cannot_be_read_stops_everything() {
        let home = home();
        let blob = put(&home, 1);
        home.store.put_release(&manifest("a", "1.0.0", &[&blob]), built()).unwrap();
        damage(&home.store.layout().manifest(&"a".parse().unwrap(), &"1.0.0".parse().unwrap()), |bytes| bytes[3] ^= 1);
        assert!(matches!(home.store.gc_plan(&days_from_now(0)), Err(StoreError::DamagedRecord { .. })));
    }

    #[test]
    fn what_ended_processes_left_goes_at_once() {
        let home = home();
        let kept = put(&home, 1);
        home.store.put_release(&manifest("a", "1.0.0", &[&kept]), built()).unwrap();
        let temporary = home.store.temporary_folder().unwrap();
        let left = [
            temporary.join(".tmpAbCdEf"),
            temporary.join("place-0123/.mlreg-new/weights"),
            home.store.home().join(".mlreg-hub-x/model.safetensors"),
            home.store.home().join(".mlreg-abc.tmp"),
            home.store.layout().package(&"a".parse().unwrap()).join(".mlreg-abc.tmp"),
            home.store.layout().placements().join(".mlreg-abc.tmp"),
        ];
        for path in &left {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [0; 100]).unwrap();
        }
        let writer = home.other().writing().unwrap();
        assert_eq!(
            home.store.gc_plan(&days_from_now(0)).unwrap().files.len(),
            0,
            "they may belong to the one who writes"
        );
        drop(writer);
        assert_eq!(collect(&home, 0).files, 6);
        assert!(left.iter().all(|path| !path.exists()));
        assert!(home.store.blob_size(&kept.digest).is_some());
        assert_eq!(collect(&home, 0), GcReport::default());
    }

    #[cfg(unix)]
    #[test]
    fn links_in_what_was_left_are_not_followed() {
        let home = home();
        let outside = home.folder.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("file"), b"x").unwrap();
        let left = home.store.home().join(".mlreg-hub-x");
        fs::create_dir_all(&left).unwrap();
        std::os::unix::fs::symlink(&outside, left.join("folder")).unwrap();
        std::os::unix::fs::symlink(&outside, home.store.temporary_folder().unwrap().join("link")).unwrap();
        assert_eq!(collect(&home, 0).files, 2);
        assert!(!left.exists() && outside.join("file").exists());
    }

    #[test]
    fn downloads_go_with_the_release_and_with_a_budget_by_age() {
        let home = home();
        let start = || {
            let digest = Digest::of(b"elsewhere");
            let Download::Partial(partial) = home.store.partial(&digest, &Blob::of_size(10_000)).unwrap() else {
                panic!("the blob is not here")
            };
            partial.write_at(0, &[1; 5000]).unwrap();
            home.store.layout().partial(&digest)
        };
        let within_budget = |days| {
            let options = GcOptions { budget: Some(0), ..days_from_now(days) };
            home.store.gc_run(&home.store.gc_plan(&options).unwrap()).unwrap().files
        };
        let path = start();
        assert_eq!((within_budget(1), path.exists()), (0, true));
        assert_eq!((within_budget(8), path.exists()), (2, false), "file and journal");
        start();
        assert_eq!((collect(&home, 0).files, path.exists()), (2, false));
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_hard_links_keep_are_not_counted_as_freed() {
        let home = home();
        let blob = put(&home, 1);
        fs::hard_link(home.store.blob_path(&blob.digest), home.folder.path().join("link")).unwrap();
        assert_eq!(collect(&home, 0), GcReport { blobs: 1, linked_bytes: 1000, ..GcReport::default() });
    }

    #[cfg(unix)]
    #[test]
    fn nothing_behind_a_link_is_removed() {
        use std::os::unix::fs::symlink;
        for name in
            ["tmp", "partial", "placements", "releases", "blobs", "blobs/sha256", "blobs/sha256/ab", "releases/p"]
        {
            let home = home();
            let outside = home.folder.path().join("outside");
            fs::create_dir_all(&outside).unwrap();
            let precious = outside.join(Digest::of(b"precious").to_string());
            fs::write(&precious, "precious").unwrap();
            let link = home.store.home().join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&outside, &link).unwrap();
            let error = home.store.gc_plan(&days_from_now(30)).unwrap_err();
            assert!(
                matches!(&error, StoreError::Folder(FolderError::Link { path }) if *path == link),
                "{name}: {error}"
            );
            assert!(precious.exists());
        }
    }
}
