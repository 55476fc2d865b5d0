//! `fetch` without a remote: every folder becomes what `mlreg.toml` and `mlreg.lock` say.
//!
//! The fast way reads the two files and the store's record of each folder, and looks at the folders: no release is
//! read, nothing is locked.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::Serialize;

use super::{
    AppError,
    project::Project,
    resolve::{Frozen, Policy, Resolver, locked_sources},
};
use crate::{
    app::{AppPackage, Lock, LockedPackage},
    base::{Blake3, OsFloor, PackageName, Target},
    fetch::{FetchError, Layout, Owner, Staging, Wanted, forget_others},
    workflow::{
        Context, Error,
        fetch::{Fetch, FetchedPackage, Job, Which},
    },
};

/// What to fetch of what an app names.
#[derive(Debug, Clone, Default)]
pub struct AppFetchOptions {
    /// Some of its packages; none: all.
    pub packages: Vec<PackageName>,
    /// The lowest OS, whatever the manifest says.
    pub floor: Option<OsFloor>,
    /// The lowest OS where the manifest is silent: what the build is for.
    pub built_for: Option<OsFloor>,
    /// Of what the manifest selects, only this; then nothing is removed.
    pub narrowed: Wanted,
    /// Another folder than the manifest says, absolute or below the working directory.
    pub out: Option<PathBuf>,
    /// Another layout than the manifest says.
    pub layout: Option<Layout>,
    /// Refuse to change the lock.
    pub locked: bool,
    /// A build phase of Xcode: the lock is frozen, and only what was announced is written.
    pub xcode: bool,
    /// Use the store alone.
    pub offline: bool,
    /// Hash what is in place instead of believing its times.
    pub verify: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What became of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockChange {
    /// It fits.
    Unchanged,
    /// It was written, or would be.
    Written,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppFetchReport {
    /// The manifest.
    pub manifest: PathBuf,
    /// What became of the lock.
    pub lock: LockChange,
    /// Every package, by name.
    pub packages: Vec<FetchedPackage>,
    /// Folders of packages that the app does not name any more, which were removed.
    pub removed: Vec<PathBuf>,
    /// What the user may want to know.
    pub warnings: Vec<String>,
}

/// Whether the project that `directory` is in names all of these packages.
pub fn lists<'a>(directory: &Path, packages: impl IntoIterator<Item = &'a PackageName>) -> bool {
    let project = Project::find(directory).and_then(|root| Project::open(&root).ok());
    project.is_some_and(|project| packages.into_iter().all(|name| project.manifest.packages.contains_key(name)))
}

/// Makes every folder what the app's manifest says.
///
/// # Errors
/// `NoProject`, mistakes of the manifest, `Stale` for a lock that is frozen and does not fit; what [`FetchError`]
/// lists.
pub fn fetch_app(context: &Context, options: &AppFetchOptions) -> Result<AppFetchReport, Error> {
    let project = Project::open(context.directory())?;
    let run = Run { context, options, project: &project };
    run.check()?;
    if let Some(packages) = run.satisfied()? {
        return run.report(LockChange::Unchanged, packages, Vec::new());
    }
    if options.dry_run {
        let lock = run.resolver().lock()?;
        let change = if lock == project.lock { LockChange::Unchanged } else { LockChange::Written };
        return run.report(change, run.place(&lock)?, Vec::new());
    }
    let change = {
        let _held = Project::hold(&project.root, context.store())?;
        let project = Project::open(&project.root)?;
        let lock = Run { context, options, project: &project }.resolver().lock()?;
        if project.write_lock(&lock)? { LockChange::Written } else { LockChange::Unchanged }
    };
    let project = Project::open(&project.root)?;
    let run = Run { context, options, project: &project };
    let packages = run.place(&project.lock)?;
    let removed = if run.is_whole() && !options.xcode { run.sweep()? } else { Vec::new() };
    run.report(change, packages, removed)
}

struct Run<'a> {
    context: &'a Context,
    options: &'a AppFetchOptions,
    project: &'a Project,
}

impl Run<'_> {
    /// Every package that was asked for has to be there.
    fn check(&self) -> Result<(), AppError> {
        self.options.packages.iter().try_for_each(|name| self.project.package(name).map(drop))
    }

    fn resolver(&self) -> Resolver<'_> {
        let frozen = match (self.options.xcode, self.options.locked) {
            (true, _) => Some(Frozen::Xcode),
            (false, true) => Some(Frozen::Flag),
            (false, false) => None,
        };
        let policy = Policy { offline: self.options.offline, frozen, dry_run: self.options.dry_run };
        Resolver { context: self.context, project: self.project, policy }
    }

    /// Whether this makes all folders exactly what the manifest says.
    fn is_whole(&self) -> bool {
        self.options.packages.is_empty() && self.options.narrowed.is_empty() && self.options.out.is_none()
    }

    fn asked(&self) -> impl Iterator<Item = (&PackageName, &AppPackage)> {
        let wanted = |name: &PackageName| self.options.packages.is_empty() || self.options.packages.contains(name);
        self.project.manifest.packages.iter().filter(move |(name, _)| wanted(name))
    }

    fn out(&self, package: &AppPackage) -> PathBuf {
        match &self.options.out {
            Some(out) => self.context.directory().join(out),
            None => self.project.root.join(&package.out),
        }
    }

    fn floor(&self, package: &AppPackage) -> Option<OsFloor> {
        self.options.floor.or(package.target).or(self.options.built_for)
    }

    fn members(&self) -> Blake3 {
        let members = self.project.members(|package| self.out(package));
        let text: String = members.keys().map(|folder| format!("{}\n", folder.display())).collect();
        Blake3::of(text.as_bytes())
    }

    fn job(
        &self,
        name: &PackageName,
        package: &AppPackage,
        entry: &LockedPackage,
        members: Blake3,
    ) -> Result<Job, Error> {
        let floor = self.floor(package);
        let target = floor.and_then(|floor| floor.target().ok());
        let exact = self.options.narrowed.is_empty();
        let job = Job {
            package: name.clone(),
            which: self.which(entry, target),
            sources: locked_sources(self.context, package, entry, self.options.offline),
            floor: None,
            changes_floor: exact && self.options.floor.is_none() && package.target.is_some(),
            platform: None,
            wanted: package.wanted.clone(),
            narrowed: self.options.narrowed.clone(),
            owner: exact.then(|| Owner { project: self.project.root.clone(), members }),
            out: self.out(package),
            layout: self.options.layout.unwrap_or(package.layout),
            staging: if self.options.xcode { Staging::Home } else { Staging::Beside },
            upgrade: false,
            verify: self.options.verify,
            dry_run: self.options.dry_run,
        };
        job.on(self.context, floor)
    }

    fn which(&self, entry: &LockedPackage, target: Option<Target>) -> Which {
        let variants = entry.variants_for(target).cloned().unwrap_or_default();
        Which::Locked { version: entry.version.clone(), digest: entry.release, variants }
    }

    fn jobs(&self, lock: &Lock) -> Result<Vec<(&AppPackage, Job)>, Error> {
        let members = self.members();
        let job = |(name, package)| {
            let job = self.job(name, package, &lock.packages[name], members);
            Ok((package, job.map_err(|error| self.project.at(package, error))?))
        };
        self.asked().map(job).collect()
    }

    /// What there is to say if the lock fits and every folder is as it should be.
    fn satisfied(&self) -> Result<Option<Vec<FetchedPackage>>, Error> {
        let fits = |(name, package): (&PackageName, &AppPackage)| self.project.staleness(name, package).is_none();
        if self.project.extra().is_some() || !self.project.manifest.packages.iter().all(fits) || self.options.dry_run {
            return Ok(None);
        }
        let jobs = self.jobs(&self.project.lock)?;
        let one = |(_, job): &(&AppPackage, Job)| Fetch::new(self.context, job).satisfied();
        // Threads cost more than a few folders.
        Ok(if jobs.len() < 4 { jobs.iter().map(one).collect() } else { jobs.par_iter().map(one).collect() })
    }

    fn place(&self, lock: &Lock) -> Result<Vec<FetchedPackage>, Error> {
        let jobs = self.jobs(lock)?;
        let mut done = Vec::new();
        for (package, job) in &jobs {
            match Fetch::new(self.context, job).run() {
                // A flag that means something for another package.
                Err(Error::Fetch(FetchError::NothingNarrowed { .. })) => {}
                other => done.push(other.map_err(|error| self.project.at(package, error))?),
            }
        }
        if done.is_empty() && !jobs.is_empty() {
            return Err(AppError::NothingSelected { manifest: self.project.manifest_path() }.into());
        }
        Ok(done)
    }

    /// Removes what was placed for this app in folders that it does not name any more.
    fn sweep(&self) -> Result<Vec<PathBuf>, Error> {
        let kept: BTreeSet<PathBuf> = self.project.members(|package| self.out(package)).into_keys().collect();
        Ok(forget_others(self.context.store(), &self.project.root, &kept)?)
    }

    fn report(
        &self,
        lock: LockChange,
        packages: Vec<FetchedPackage>,
        removed: Vec<PathBuf>,
    ) -> Result<AppFetchReport, Error> {
        let mut warnings: Vec<String> =
            self.asked().filter_map(|(name, package)| self.warning(name, package)).collect();
        warnings.dedup();
        Ok(AppFetchReport { manifest: self.project.manifest_path(), lock, packages, removed, warnings })
    }

    /// Models that the oldest OS of the build cannot load.
    fn warning(&self, name: &PackageName, package: &AppPackage) -> Option<String> {
        let (floor, built_for) = (self.floor(package)?, self.options.built_for?);
        let (target, able) = (floor.target().ok()?, built_for.target().ok());
        let later = able.is_none_or(|able| able < target);
        later.then(|| {
            format!("`{name}` is placed for {floor}, but this build is for {built_for}, which cannot load all of it")
        })
    }
}
