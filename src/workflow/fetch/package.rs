//! One package of a fetch: chosen, downloaded, placed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use semver::Version;

use super::{
    FetchStatus, FetchedPackage, FetchedVariant,
    costs::tag_costs,
    find::{Finder, Found},
};
use crate::{
    base::{ByteRange, Digest, OsFloor, PackageName, Platform, Target, TargetError, free_bytes},
    fetch::{
        Claim, Destination, DownloadReport, Facts, FetchError, FetchPlan, FetchRequest, Layout, Named, Outline,
        OutlinedBundle, Owner, PlaceReport, PlacedBundle, Proof, RequestedRelease, Staging, Survey, Totals, Wanted,
        download, unchanged,
    },
    manifest::{
        Requirement, offered,
        release::{Blob, Release, SegmentContent, Variant},
        select,
    },
    remote::RemoteUrl,
    store::{Origin, Segmentation, Store, VariantKey},
    workflow::{Amount, Context, Error},
};

/// What is wanted of a package, and how it is placed.
#[derive(Debug, Clone)]
pub(in crate::workflow) struct Job {
    pub(in crate::workflow) package: PackageName,
    pub(in crate::workflow) which: Which,
    /// The remotes that may be asked, in order.
    pub(in crate::workflow) sources: Vec<RemoteUrl>,
    /// What the folder was placed for may change to this, where nobody else has a say.
    pub(in crate::workflow) floor: Option<Target>,
    /// Whether a folder of another floor is placed anew.
    pub(in crate::workflow) changes_floor: bool,
    /// For messages.
    pub(in crate::workflow) platform: Option<Platform>,
    pub(in crate::workflow) wanted: Wanted,
    /// Of what is wanted, only this.
    pub(in crate::workflow) narrowed: Wanted,
    /// The app that the whole folder belongs to; none: what is there stays.
    pub(in crate::workflow) owner: Option<Owner>,
    pub(in crate::workflow) out: PathBuf,
    pub(in crate::workflow) layout: Layout,
    pub(in crate::workflow) staging: Staging,
    pub(in crate::workflow) upgrade: bool,
    pub(in crate::workflow) verify: bool,
    pub(in crate::workflow) dry_run: bool,
}

/// Which release.
#[derive(Debug, Clone)]
pub(in crate::workflow) enum Which {
    /// The one in place as long as it will do, else the highest.
    Open(Requirement),
    /// The one that a lock pins, and its variants.
    Locked { version: Version, digest: Digest, variants: BTreeSet<String> },
}

impl Job {
    /// The same for the lowest OS of an app.
    ///
    /// # Errors
    /// `TooOld`, or `Floor` where no release is in reach, for a floor that is older than every target.
    pub(in crate::workflow) fn on(self, context: &Context, floor: Option<OsFloor>) -> Result<Self, Error> {
        let Some(floor) = floor else { return Ok(self) };
        match floor.target() {
            Ok(target) => Ok(Self { floor: Some(target), platform: Some(floor.platform), ..self }),
            Err(error) => Err(Fetch::new(context, &self).too_old(floor, error)),
        }
    }
}

/// A job under way.
pub(in crate::workflow) struct Fetch<'a> {
    context: &'a Context,
    job: &'a Job,
    finder: Finder<'a>,
}

impl<'a> Fetch<'a> {
    pub(in crate::workflow) fn new(context: &'a Context, job: &'a Job) -> Self {
        Self { context, job, finder: Finder::new(context, &job.package, &job.sources, &job.wanted) }
    }

    /// Does it, unless everything is in place.
    pub(in crate::workflow) fn run(&self) -> Result<FetchedPackage, Error> {
        if let Some(done) = self.satisfied() {
            return Ok(done);
        }
        if self.job.dry_run {
            return self.dry_run();
        }
        let mut destination = Destination::lock(self.store(), &self.job.out, &self.job.package, self.job.staging)?;
        if self.job.verify {
            destination.distrust();
        }
        // Whoever had the lock may have done the same.
        match self.satisfied() {
            Some(done) => Ok(done),
            None => self.fill(&mut destination),
        }
    }

    /// What to say to a floor that is older than every target.
    fn too_old(&self, floor: OsFloor, error: TargetError) -> Error {
        let offered = || {
            let Found { release, .. } = self.choose_release(None).ok()?;
            let offered = offered(&release, &self.job.wanted.selection(None).ok()?);
            Some((format!("{}@{}", release.package, release.version), offered))
                .filter(|(_, offered)| !offered.is_empty())
        };
        match offered() {
            Some((release, offered)) => FetchError::TooOld { release, floor, offered }.into(),
            None => FetchError::Floor(error).into(),
        }
    }

    fn fill(&self, destination: &mut Destination<'_>) -> Result<FetchedPackage, Error> {
        let _guard = self.store().writing()?;
        let found = self.choose_release(destination.placed())?;
        let proof = self.wanted(&found, destination)?;
        let survey = destination.survey(&proof)?;
        self.check(&found)?;
        let first =
            self.plan(&found.release, &survey, |digest, size| self.have(&found.release, &survey, digest, size))?;
        let (plan, DownloadReport { received, reused }) = self.download(&found.release, &survey, first)?;
        // Only now, because what it says of its blobs may have been wrong.
        self.remember(&found)?;
        let changes = destination.place(&proof, &survey, Some(self.key()))?;
        self.note_use(&found, &proof, &changes)?;
        let idle = changes.placed.is_empty() && changes.removed.is_empty();
        let status = if idle { FetchStatus::UpToDate } else { FetchStatus::Fetched };
        let report = self.report(Outline::of(&proof), destination.folder(), status);
        Ok(FetchedPackage { downloaded_bytes: received, reused_bytes: reused, plan, changes, ..report })
    }

    fn dry_run(&self) -> Result<FetchedPackage, Error> {
        let destination = Destination::look(self.store(), &self.job.out, &self.job.package)?;
        let found = self.choose_release(destination.placed())?;
        let proof = self.wanted(&found, &destination)?;
        let survey = destination.survey(&proof)?;
        let in_store =
            |digest: &Digest| found.release.blobs.get(digest).is_some_and(|blob| self.store().seems_here(digest, blob));
        let is_here = |digest: &Digest, _| Ok(survey.source(digest).is_some() || in_store(digest));
        let plan = self.plan(&found.release, &survey, is_here)?;
        let totals = plan.totals();
        let mut report = self.report(Outline::of(&proof), destination.folder(), FetchStatus::DryRun);
        for shown in &mut report.variants {
            let variant = found.release.variant(&shown.id);
            shown.download_bytes = variant.map_or(0, |variant| plan.totals_of_variant(variant).download);
        }
        let everything = found.release.blobs.iter().map(|(digest, blob)| (*digest, blob.size)).collect();
        let facts = self.facts(&found.release, &everything, is_here)?;
        Ok(FetchedPackage {
            downloaded_bytes: totals.download,
            reused_bytes: totals.reused,
            plan: totals,
            changes: survey.report(),
            costs: tag_costs(&found.release, self.job.floor, &facts)?,
            ..report
        })
    }

    fn store(&self) -> &Store {
        self.context.store()
    }

    fn key(&self) -> FetchRequest {
        let Job { package, which, wanted, narrowed, owner, .. } = self.job.clone();
        let source = self.job.sources.first().map(ToString::to_string);
        let release = match which {
            Which::Open(requirement) => RequestedRelease::Open { requirement: requirement.to_string(), source },
            Which::Locked { digest, variants, .. } => RequestedRelease::Locked { release: digest, variants },
        };
        FetchRequest { package, release, floor: self.job.floor, layout: self.job.layout, wanted, narrowed, owner }
    }

    /// What there is to say if the folder is as this job wants it.
    pub(in crate::workflow) fn satisfied(&self) -> Option<FetchedPackage> {
        let outline = if self.job.upgrade || self.job.verify {
            None
        } else {
            unchanged(self.store(), &self.job.out, &self.key())
        }?;
        let kept = outline.bundles.keys().chain(&outline.files).cloned().collect();
        let mut report = self.report(outline, &self.job.out.join(self.job.package.as_str()), FetchStatus::UpToDate);
        report.changes.kept = kept;
        Some(report)
    }

    fn report(&self, outline: Outline, folder: &Path, status: FetchStatus) -> FetchedPackage {
        let variant =
            |(name, OutlinedBundle { variant, bytes })| FetchedVariant { id: variant, name, bytes, download_bytes: 0 };
        FetchedPackage {
            package: self.job.package.clone(),
            version: outline.version,
            release: outline.release,
            folder: folder.to_owned(),
            status,
            variants: outline.bundles.into_iter().map(variant).collect(),
            downloaded_bytes: 0,
            reused_bytes: 0,
            plan: Totals::default(),
            changes: PlaceReport::default(),
            costs: Vec::new(),
        }
    }

    fn choose_release(&self, placed: Option<&Proof>) -> Result<Found, Error> {
        let requirement = match &self.job.which {
            Which::Locked { version, digest, .. } => return self.finder.pinned(version, *digest),
            Which::Open(requirement) => requirement,
        };
        let standing = placed.filter(|proof| !self.job.upgrade && requirement.matches(&proof.version));
        if let Some(found) = standing.map(|proof| self.standing(proof)).transpose()?.flatten() {
            return Ok(found);
        }
        self.finder.highest(requirement, standing)
    }

    /// The release in place, if the store has it and it came from where it is asked from.
    fn standing(&self, proof: &Proof) -> Result<Option<Found>, Error> {
        let store = self.store();
        let Some((digest, bytes)) =
            store.release(&proof.package, &proof.version)?.filter(|(digest, _)| *digest == proof.release)
        else {
            return Ok(None);
        };
        let same_source = match self.job.sources.first() {
            Some(url) => store
                .release_origin(&proof.package, &proof.version)?
                .is_some_and(|it| it.remotes().contains(&url.to_string())),
            None => true,
        };
        if !same_source {
            return Ok(None);
        }
        let found = self.finder.found(&proof.version, digest, bytes, None)?;
        // A release that was made of some bundles of a collection may lack those that are asked for now.
        Ok((self.job.sources.is_empty() || !found.is_chosen).then_some(found))
    }

    /// Keeps the manifest of a release that a remote has named.
    fn remember(&self, found: &Found) -> Result<(), Error> {
        if let Some(origin) = self.origin(found) {
            self.store().put_release(&found.bytes, origin)?;
        }
        Ok(())
    }

    /// The remote that has named a release.
    fn origin(&self, found: &Found) -> Option<Origin> {
        let source = found.named_by?;
        Some(Origin::Fetched { from: [self.job.sources[source].to_string()].into() })
    }

    /// Whether the store can keep the release, and knows nothing that contradicts it.
    fn check(&self, found: &Found) -> Result<(), Error> {
        if let Some(origin) = self.origin(found) {
            self.store().check_release(&found.bytes, &origin)?;
        }
        Ok(self.store().check_descriptions(&found.release.blobs)?)
    }

    /// Notes what was placed as used, for whoever has to choose what goes first.
    fn note_use(&self, found: &Found, proof: &Proof, changes: &PlaceReport) -> Result<(), Error> {
        let placed = changes.placed.iter().filter_map(|name| proof.bundles.get(name));
        let used: BTreeSet<VariantKey> =
            placed.map(|bundle| VariantKey { release: found.digest, variant: bundle.variant.clone() }).collect();
        if used.is_empty() { Ok(()) } else { Ok(self.store().note_use(&used)?) }
    }

    /// What the folder should hold.
    fn wanted(&self, found: &Found, destination: &Destination<'_>) -> Result<Proof, Error> {
        let placed = destination.placed();
        if let Some(proof) = placed.filter(|proof| proof.floor != self.job.floor && !self.job.changes_floor) {
            let folder = destination.folder().to_owned();
            return Err(FetchError::SecondFloor { folder, placed: proof.floor, asked: self.job.floor }.into());
        }
        let mut selection = self.job.wanted.selection(self.job.floor).map_err(FetchError::from)?;
        // What a glob meant in a repository, the release that was made of it does not know.
        if found.is_chosen && (found.named_by.is_some() || matches!(self.job.which, Which::Locked { .. })) {
            selection.variants.clear();
        }
        let narrowed = self.job.narrowed.selection(None).map_err(FetchError::from)?;
        let release = format!("{}@{}", found.release.package, found.release.version);
        let refused = |source| FetchError::Selection { release: release.clone(), platform: self.job.platform, source };
        let mut chosen = select(&found.release, &selection).map_err(refused)?;
        chosen.retain(|chosen| narrowed.wants(chosen.variant));
        if chosen.is_empty() {
            return Err(FetchError::NothingNarrowed { release }.into());
        }
        let mut variants: BTreeMap<&str, &Variant> = BTreeMap::new();
        if let Some(proof) = placed.filter(|_| self.job.owner.is_none()) {
            variants.extend(
                proof
                    .bundles
                    .iter()
                    .filter_map(|(name, bundle)| Some((name.as_str(), self.successor(proof, bundle, found)?))),
            );
        }
        variants.retain(|_, variant| !chosen.iter().any(|chosen| chosen.variant.id == variant.id));
        variants.extend(chosen.iter().map(|chosen| (chosen.path.as_str(), chosen.variant)));
        let named: Vec<_> = variants.into_iter().map(|(name, variant)| Named { name, variant }).collect();
        Ok(Proof::new(&found.release, found.digest, self.job.floor, self.job.layout, &named)?)
    }

    /// What takes the place of a bundle that nobody asks for now, but that is there.
    fn successor<'r>(&self, proof: &Proof, bundle: &PlacedBundle, found: &'r Found) -> Option<&'r Variant> {
        let moves = proof.release != found.digest || proof.floor != self.job.floor;
        let succeeds = |variant: &&Variant| match self.job.floor {
            Some(floor) if moves => {
                (&variant.name, variant.kind) == (&bundle.name, bundle.kind)
                    && variant.target.is_none_or(|target| target <= floor)
            }
            _ => variant.id == bundle.variant,
        };
        found.release.variants.iter().filter(succeeds).max_by_key(|variant| variant.target)
    }

    /// Whether the store has the right bytes of a blob, which it takes from a right file of the folder where it can.
    fn have(&self, release: &Release, survey: &Survey, digest: &Digest, size: u64) -> Result<bool, Error> {
        let store = self.store();
        // A wrong file in the folder may be a link to the blob, with times that lie.
        let suspect = survey.suspects().contains(digest);
        let right = match release.blobs.get(digest).filter(|_| !suspect) {
            Some(blob) => store.has_blob(digest, blob)?,
            None => store
                .has_blob_hashed(digest, &release.blobs.get(digest).cloned().unwrap_or_else(|| Blob::of_size(size)))?,
        };
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

    /// What is known about this machine and these blobs.
    fn facts(
        &self,
        release: &Release,
        needed: &BTreeMap<Digest, u64>,
        is_here: impl Fn(&Digest, u64) -> Result<bool, Error>,
    ) -> Result<Facts, Error> {
        let mut facts = Facts::default();
        let mut keys = Vec::new();
        for (digest, size) in needed {
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
        Ok(facts)
    }

    fn plan(
        &self,
        release: &Release,
        survey: &Survey,
        is_here: impl Fn(&Digest, u64) -> Result<bool, Error>,
    ) -> Result<FetchPlan, Error> {
        let facts = self.facts(release, survey.needed(), is_here)?;
        self.check_room(release, survey.needed(), &facts)?;
        Ok(FetchPlan::new(release, survey.needed().keys().copied(), &facts)?)
    }

    /// Refuses what the disk of the store has no room for, before anything is planned. What has arrived in part is
    /// there already.
    fn check_room(&self, release: &Release, needed: &BTreeMap<Digest, u64>, facts: &Facts) -> Result<(), FetchError> {
        let arrived =
            |digest: &Digest| facts.partial.get(digest).into_iter().flatten().map(ByteRange::length).sum::<u64>();
        let missing = needed.iter().filter(|(digest, _)| !facts.present.contains(digest));
        let claim = Claim::of(missing.map(|(digest, size)| (*digest, size.saturating_sub(arrived(digest)))));
        let home = self.store().home();
        let Some((Claim { bytes: needs, largest: (blob, size) }, free)) = claim.zip(free_bytes(home)) else {
            return Ok(());
        };
        if needs <= free {
            return Ok(());
        }
        let release = format!("{}@{}", release.package, release.version);
        Err(FetchError::NoRoom { release, needs, home: home.to_owned(), free, blob, size })
    }

    /// Brings in what is missing, from the first source that has it.
    fn download(
        &self,
        release: &Arc<Release>,
        survey: &Survey,
        first: FetchPlan,
    ) -> Result<(Totals, DownloadReport), Error> {
        let plan = || self.plan(release, survey, |digest, size| self.have(release, survey, digest, size));
        let totals = first.totals();
        let missing = first.missing().count();
        if missing == 0 {
            return Ok((totals, DownloadReport::default()));
        }
        let Release { package, version, .. } = release.as_ref();
        if self.finder.sources().is_empty() {
            let (package, version) = (package.clone(), Box::new(version.clone()));
            return Err(FetchError::NotHere { package, version, count: missing, bytes: totals.wanted }.into());
        }
        let task =
            self.context.progress().begin(&format!("fetching {package}@{version}"), Amount::Bytes(totals.download));
        let seen = |bytes| task.advance(bytes);
        let report = self.finder.first(|source| {
            let remote = self.finder.remote(source)?;
            // What an earlier source gave is not asked for again.
            let plan = if source == 0 { first.clone() } else { plan()? };
            Ok(self.context.block_on(download(self.store(), remote.as_ref(), release, &plan, &seen))??)
        })?;
        task.finish(&format!("fetched {missing} blobs"));
        Ok((totals, report))
    }
}
