//! `fetch`: from a request to bundles in a folder. Nothing is done, and nobody asked, where the folder satisfies the request already.
//!
//! Which release: the one in place as long as it will do (`upgrade` looks for a newer one), else the highest version of the remote, or
//! of the store where no remote may be asked. Which variants: those that are asked for, and those in place. When the release changes,
//! variants in place move along: with a floor to the best variant of the same name, without one to the variant of the same id; what the
//! new release no longer has is removed.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use semver::Version;
use serde::Serialize;

use super::{Amount, Context, Error, PackageRequest};
use crate::{
    base::{Digest, OsFloor, PackageName, RemoteUrl, Tag, Target},
    fetch::{
        Destination, DownloadReport, Facts, FetchError, FetchPlan, FetchRequest, Layout, Named, PlaceReport, PlacedBundle, Proof, Survey,
        Totals, download, unchanged,
    },
    manifest::{
        GlobError, Selection, VariantGlob,
        release::{Delivery, Release, SegmentContent, Variant},
        select,
    },
    remote::{CollectedBundle, Collection, Remote},
    store::{Origin, Segmentation, Store},
};

/// What to fetch, and where to put it.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The packages.
    pub requests: Vec<PackageRequest>,
    /// The remote; none is the store alone.
    pub from: Option<RemoteUrl>,
    /// The lowest OS that the app supports; none: every target, under full ids.
    pub floor: Option<OsFloor>,
    /// Globs over variant ids and names.
    pub variants: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Delivery categories.
    pub deliveries: Vec<Delivery>,
    /// Bundles are placed in `out/<package>`.
    pub out: PathBuf,
    /// How bundles are placed.
    pub layout: Layout,
    /// Ask no remote.
    pub offline: bool,
    /// Ask the remote for a newer version than the one in place.
    pub upgrade: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchStatus {
    /// Everything was in place.
    UpToDate,
    /// Something was placed.
    Fetched,
    /// Nothing was done.
    DryRun,
}

/// What was fetched, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FetchReport {
    /// In the order of the requests.
    pub packages: Vec<FetchedPackage>,
}

/// A package in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FetchedPackage {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// Where its bundles lie.
    pub folder: PathBuf,
    /// How it ended.
    pub status: FetchStatus,
    /// Every variant in the folder, by placed name.
    pub variants: Vec<FetchedVariant>,
    /// Bytes that were received, or would be.
    pub downloaded_bytes: u64,
    /// Bytes that were taken from other blobs of this machine, or would be.
    pub reused_bytes: u64,
    /// The plan's sums.
    pub plan: Totals,
    /// What was placed, kept and removed; of a dry run what would be placed.
    pub changes: PlaceReport,
}

/// A variant in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FetchedVariant {
    /// Its id.
    pub id: String,
    /// The name of its folder.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that it would have to receive if it were alone; 0 where everything is here.
    pub download_bytes: u64,
}

/// Fetches packages, one after another.
///
/// # Errors
/// What [`FetchError`] lists, and what the store and the remote say.
pub fn fetch(context: &Context, options: &FetchOptions) -> Result<FetchReport, Error> {
    let floor = options.floor.map(|floor| floor.target()).transpose().map_err(FetchError::from)?;
    let out = context.directory().join(&options.out);
    let one = |request| Fetch { context, options, request, floor, out: &out, opened: OnceCell::new() }.run();
    Ok(FetchReport { packages: options.requests.iter().map(one).collect::<Result<_, Error>>()? })
}

/// One package of a fetch.
struct Fetch<'a> {
    context: &'a Context,
    options: &'a FetchOptions,
    request: &'a PackageRequest,
    floor: Option<Target>,
    out: &'a Path,
    opened: OnceCell<Arc<dyn Remote>>,
}

/// A release that was chosen, and the remote that has just named it.
struct Found {
    digest: Digest,
    bytes: Vec<u8>,
    release: Arc<Release>,
    named_by: Option<String>,
    /// Whether it has what is asked for and nothing else: it was made of a collection.
    is_chosen: bool,
}

impl Fetch<'_> {
    fn run(&self) -> Result<FetchedPackage, Error> {
        if let Some(proof) = self.satisfied() {
            return Ok(self.up_to_date(&proof));
        }
        if self.options.dry_run {
            return self.dry_run();
        }
        let destination = Destination::lock(self.store(), self.out, &self.request.package)?;
        // Whoever had the lock may have done the same.
        if let Some(proof) = self.satisfied() {
            return Ok(self.up_to_date(&proof));
        }
        let _guard = self.store().writing()?;
        let found = self.choose_release(destination.placed())?;
        let proof = self.wanted(&found, &destination)?;
        let survey = destination.survey(&proof)?;
        let plan = self.plan(&found.release, &survey, |digest, size| self.have(&found.release, &survey, digest, size))?;
        if let Some(remote) = &found.named_by {
            self.store().put_release(&found.bytes, Origin::Fetched { from: [remote.clone()].into() })?;
        }
        let DownloadReport { received, reused } = self.download(&found.release, &plan)?;
        let changes = destination.place(&proof, &survey, Some(self.key()))?;
        let idle = changes.placed.is_empty() && changes.removed.is_empty();
        let status = if idle { FetchStatus::UpToDate } else { FetchStatus::Fetched };
        let report = self.report(&proof, destination.folder(), status);
        Ok(FetchedPackage { downloaded_bytes: received, reused_bytes: reused, plan: plan.totals(), changes, ..report })
    }

    fn dry_run(&self) -> Result<FetchedPackage, Error> {
        let destination = Destination::look(self.store(), self.out, &self.request.package)?;
        let found = self.choose_release(destination.placed())?;
        let proof = self.wanted(&found, &destination)?;
        let survey = destination.survey(&proof)?;
        let is_here = |digest: &Digest, size| Ok(survey.source(digest).is_some() || self.store().blob_size(digest) == Some(size));
        let plan = self.plan(&found.release, &survey, is_here)?;
        let totals = plan.totals();
        let mut report = self.report(&proof, destination.folder(), FetchStatus::DryRun);
        for shown in &mut report.variants {
            let variant = found.release.variant(&shown.id);
            shown.download_bytes = variant.map_or(0, |variant| plan.totals_of_variant(variant).download);
        }
        Ok(FetchedPackage {
            downloaded_bytes: totals.download,
            reused_bytes: totals.reused,
            plan: totals,
            changes: survey.report(),
            ..report
        })
    }

    fn store(&self) -> &Store {
        self.context.store()
    }

    fn key(&self) -> FetchRequest {
        FetchRequest {
            package: self.request.package.clone(),
            requirement: self.request.requirement.to_string(),
            source: self.options.from.as_ref().map(ToString::to_string),
            floor: self.floor,
            layout: self.options.layout,
            variants: self.options.variants.iter().cloned().collect(),
            components: self.options.components.iter().cloned().collect(),
            tags: self.options.tags.iter().cloned().collect(),
            deliveries: self.options.deliveries.iter().copied().collect(),
        }
    }

    fn satisfied(&self) -> Option<Proof> {
        if self.options.upgrade { None } else { unchanged(self.store(), self.out, &self.key()) }
    }

    fn up_to_date(&self, proof: &Proof) -> FetchedPackage {
        let mut report = self.report(proof, &self.out.join(self.request.package.as_str()), FetchStatus::UpToDate);
        report.changes.kept = proof.bundles.keys().chain(proof.files.keys()).cloned().collect();
        report
    }

    fn report(&self, proof: &Proof, folder: &Path, status: FetchStatus) -> FetchedPackage {
        let variant = |(name, bundle): (&String, &PlacedBundle)| FetchedVariant {
            id: bundle.variant.clone(),
            name: name.clone(),
            bytes: bundle.bytes(&proof.files),
            download_bytes: 0,
        };
        FetchedPackage {
            package: proof.package.clone(),
            version: proof.version.clone(),
            release: proof.release,
            folder: folder.to_owned(),
            status,
            variants: proof.bundles.iter().map(variant).collect(),
            downloaded_bytes: 0,
            reused_bytes: 0,
            plan: Totals::default(),
            changes: PlaceReport::default(),
        }
    }

    /// The remote that may be asked.
    fn url(&self) -> Option<&RemoteUrl> {
        let is_off = |url: &&RemoteUrl| matches!(url, RemoteUrl::Hub(_)) && self.context.remote_options().hub.offline;
        self.options.from.as_ref().filter(|_| !self.options.offline).filter(|url| !is_off(url))
    }

    fn remote(&self, url: &RemoteUrl) -> Result<&dyn Remote, Error> {
        let remote = match self.opened.get() {
            Some(remote) => remote,
            None => {
                let remote = self.context.remote(url)?;
                self.opened.get_or_init(|| remote)
            }
        };
        Ok(remote.as_ref())
    }

    fn choose_release(&self, placed: Option<&Proof>) -> Result<Found, Error> {
        let standing = placed.filter(|proof| !self.options.upgrade && self.request.requirement.matches(&proof.version));
        if let Some(found) = standing.map(|proof| self.standing(proof)).transpose()?.flatten() {
            return Ok(found);
        }
        match self.url() {
            Some(url) => self.context.block_on(self.ask(self.remote(url)?, standing))?,
            None => self.in_store(),
        }
    }

    /// The release in place, if the store has it and it came from where it is asked from.
    fn standing(&self, proof: &Proof) -> Result<Option<Found>, Error> {
        let store = self.store();
        let Some((digest, bytes)) = store.release(&proof.package, &proof.version)?.filter(|(digest, _)| *digest == proof.release) else {
            return Ok(None);
        };
        let same_source = match self.url() {
            Some(url) => store.release_origin(&proof.package, &proof.version)?.is_some_and(|it| it.remotes().contains(&url.to_string())),
            None => true,
        };
        if !same_source {
            return Ok(None);
        }
        let found = self.found(&proof.version, digest, bytes, None)?;
        // A release that was made of some bundles of a collection may lack those that are asked for now.
        let is_made = found.release.blobs.values().any(|blob| blob.blake3.is_none());
        Ok((self.url().is_none() || !is_made).then_some(found))
    }

    fn in_store(&self) -> Result<Found, Error> {
        let store = self.store();
        let versions = store.releases(&self.request.package)?;
        let version = self.choose_version(versions, &store.home().display().to_string())?;
        let (digest, bytes) = store.release(&self.request.package, &version)?.ok_or_else(|| self.no_package(store.home().display()))?;
        self.found(&version, digest, bytes, None)
    }

    async fn ask(&self, remote: &dyn Remote, standing: Option<&Proof>) -> Result<Found, Error> {
        let package = &self.request.package;
        let url = remote.url().to_string();
        let index = remote.index(package).await?.ok_or_else(|| self.no_package(&url))?;
        let stands = |proof: &&Proof| index.versions.get(&proof.version).is_some_and(|entry| entry.release == proof.release);
        let version = match standing.filter(stands) {
            Some(proof) => proof.version.clone(),
            None => self.choose_version(index.versions.keys().cloned().collect(), &url)?,
        };
        if let Some(collection) = remote.collection().await?.filter(|it| it.package == *package && it.version == version) {
            let wanted = self.choose_bundles(&collection, standing)?;
            let bytes = remote.release_of(&wanted).await?;
            return Ok(Found { is_chosen: true, ..self.found(&version, Digest::of(&bytes), bytes, Some(url))? });
        }
        let digest = index.versions[&version].release;
        // What is here need not be asked for; a damaged record is no reason to fail while there is a remote.
        let here = self.store().release(package, &version).ok().flatten().filter(|(found, _)| *found == digest);
        let bytes = match here {
            Some((_, bytes)) => bytes,
            None => remote.release(package, &version, &digest).await?,
        };
        self.found(&version, digest, bytes, Some(url))
    }

    fn no_package(&self, origin: impl ToString) -> FetchError {
        FetchError::NoPackage { package: self.request.package.clone(), origin: origin.to_string() }
    }

    fn choose_version(&self, versions: Vec<Version>, origin: &str) -> Result<Version, FetchError> {
        if versions.is_empty() {
            return Err(self.no_package(origin));
        }
        let PackageRequest { package, requirement } = self.request;
        self.request.highest(&versions).cloned().ok_or_else(|| FetchError::NoVersion {
            package: package.clone(),
            requirement: requirement.clone(),
            origin: origin.to_owned(),
            versions,
        })
    }

    /// Reads a manifest whose digest was checked.
    fn found(&self, version: &Version, digest: Digest, bytes: Vec<u8>, named_by: Option<String>) -> Result<Found, Error> {
        let expected = format!("{}@{version}", self.request.package);
        let release = Release::parse(&bytes).map_err(|source| FetchError::Release { release: expected.clone(), source })?;
        let found = format!("{}@{}", release.package, release.version);
        if found != expected {
            let origin = named_by.unwrap_or_else(|| self.store().home().display().to_string());
            return Err(FetchError::WrongRelease { origin, expected, found }.into());
        }
        Ok(Found { digest, bytes, release: Arc::new(release), named_by, is_chosen: false })
    }

    /// The bundles of a collection that are asked for, by id, and those in place. Globs may mean the path in the repository, too, and case
    /// does not count, since these names are not of mlreg's making.
    fn choose_bundles(&self, collection: &Collection, placed: Option<&Proof>) -> Result<BTreeSet<String>, Error> {
        let globs: Result<Vec<VariantGlob>, GlobError> = self.options.variants.iter().map(|glob| glob.to_lowercase().parse()).collect();
        let globs = globs.map_err(FetchError::from)?;
        let names = |id: &str, bundle: &CollectedBundle| {
            let (path, file) = (bundle.path.as_str(), bundle.path.file_name());
            let plain = path.strip_suffix(bundle.kind.extension()).unwrap_or(path);
            [id, path, plain, file, bundle.stem()].map(str::to_lowercase)
        };
        let matching = |glob: &VariantGlob| {
            let fits = |(id, bundle): &(&String, &CollectedBundle)| names(id, bundle).iter().any(|name| glob.is_match(name));
            collection.bundles.iter().filter(fits).map(|(id, _)| id.clone()).collect::<BTreeSet<_>>()
        };
        let mut chosen: BTreeSet<String> = if globs.is_empty() { collection.bundles.keys().cloned().collect() } else { BTreeSet::new() };
        for glob in &globs {
            let found = matching(glob);
            if found.is_empty() {
                let ids = collection.bundles.keys().cloned().collect();
                return Err(FetchError::NoBundle { glob: glob.to_string(), package: collection.package.clone(), ids }.into());
            }
            chosen.extend(found);
        }
        let in_place = placed.into_iter().flat_map(|proof| proof.bundles.values()).map(|bundle| bundle.variant.clone());
        chosen.extend(in_place.filter(|id| collection.bundles.contains_key(id)));
        Ok(chosen)
    }

    /// What the folder should hold.
    fn wanted(&self, found: &Found, destination: &Destination<'_>) -> Result<Proof, Error> {
        let placed = destination.placed();
        if let Some(proof) = placed.filter(|proof| proof.floor != self.floor) {
            let folder = destination.folder().to_owned();
            return Err(FetchError::SecondFloor { folder, placed: proof.floor, asked: self.floor }.into());
        }
        let mut selection = self.selection().map_err(FetchError::from)?;
        if found.is_chosen {
            selection.variants.clear();
        }
        let refused = |source| FetchError::Selection { release: format!("{}@{}", found.release.package, found.release.version), source };
        let chosen = select(&found.release, &selection).map_err(refused)?;
        let mut variants: BTreeMap<&str, &Variant> = BTreeMap::new();
        if let Some(proof) = placed {
            variants.extend(proof.bundles.iter().filter_map(|(name, bundle)| Some((name.as_str(), self.successor(proof, bundle, found)?))));
        }
        variants.retain(|_, variant| !chosen.iter().any(|chosen| chosen.variant.id == variant.id));
        variants.extend(chosen.iter().map(|chosen| (chosen.path.as_str(), chosen.variant)));
        let named: Vec<_> = variants.into_iter().map(|(name, variant)| Named { name, variant }).collect();
        Ok(Proof::new(&found.release, found.digest, self.floor, self.options.layout, &named)?)
    }

    /// What takes the place of a bundle that nobody asks for now, but that is there.
    fn successor<'r>(&self, proof: &Proof, bundle: &PlacedBundle, found: &'r Found) -> Option<&'r Variant> {
        let succeeds = |variant: &&Variant| match self.floor {
            Some(floor) if proof.release != found.digest => {
                (&variant.name, variant.kind) == (&bundle.name, bundle.kind) && variant.target.is_none_or(|target| target <= floor)
            }
            _ => variant.id == bundle.variant,
        };
        found.release.variants.iter().filter(succeeds).max_by_key(|variant| variant.target)
    }

    fn selection(&self) -> Result<Selection, GlobError> {
        Ok(Selection {
            variants: self.options.variants.iter().map(|glob| glob.parse()).collect::<Result<_, _>>()?,
            components: self.options.components.clone(),
            tags: self.options.tags.clone(),
            deliveries: self.options.deliveries.clone(),
            floor: self.floor,
            rename: BTreeMap::new(),
        })
    }

    /// Whether the store has the right bytes of a blob, which it takes from a right file of the folder where it can.
    fn have(&self, release: &Release, survey: &Survey, digest: &Digest, size: u64) -> Result<bool, Error> {
        let store = self.store();
        // A wrong file in the folder may be a link to the blob, with times that lie.
        let suspect = survey.suspects().contains(digest);
        let right = if suspect { store.has_blob_hashed(digest, size)? } else { store.has_blob(digest, size)? };
        if right {
            return Ok(true);
        }
        let Some(path) = survey.source(digest) else { return Ok(false) };
        let stored = store.ingest_file(path, Segmentation::Whole)?;
        if let Some(blob) = release.blobs.get(digest).filter(|_| stored.digest == *digest) {
            store.index_segments(digest, blob);
        }
        Ok(stored.digest == *digest)
    }

    fn plan(&self, release: &Release, survey: &Survey, is_here: impl Fn(&Digest, u64) -> Result<bool, Error>) -> Result<FetchPlan, Error> {
        let mut facts = Facts::default();
        let mut keys = Vec::new();
        for (digest, size) in survey.needed() {
            if is_here(digest, *size)? {
                facts.present.insert(*digest);
                continue;
            }
            facts.partial.insert(*digest, self.store().arrived(digest, *size));
            let segments = release.blobs.get(digest).into_iter().flat_map(|blob| &blob.segments);
            keys.extend(segments.filter_map(|segment| match &segment.content {
                SegmentContent::Blake3(key) => Some(*key),
                SegmentContent::Data(_) => None,
            }));
        }
        facts.local = self.store().find_segments(&keys);
        Ok(FetchPlan::new(release, survey.needed().keys().copied(), &facts)?)
    }

    fn download(&self, release: &Arc<Release>, plan: &FetchPlan) -> Result<DownloadReport, Error> {
        let totals = plan.totals();
        let missing = plan.missing().count();
        if missing == 0 {
            return Ok(DownloadReport::default());
        }
        let Release { package, version, .. } = release.as_ref();
        let Some(url) = self.url() else {
            let (package, version) = (package.clone(), Box::new(version.clone()));
            return Err(FetchError::NotHere { package, version, count: missing, bytes: totals.wanted }.into());
        };
        let task = self.context.progress().begin(&format!("fetching {package}@{version}"), Amount::Bytes(totals.download));
        let seen = |bytes| task.advance(bytes);
        let report = self.context.block_on(download(self.store(), self.remote(url)?, release, plan, &seen))??;
        task.finish(&format!("fetched {missing} blobs"));
        Ok(report)
    }
}
