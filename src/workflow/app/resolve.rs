//! From a manifest and its lock to the lock that fits: which release and variants of every package.

use super::{AppError, Staleness, project::Project};
use crate::{
    app::{AppPackage, ChoiceError, Lock, LockedPackage, Source},
    base::PackageName,
    fetch::FetchError,
    remote::RemoteUrl,
    store::Origin,
    workflow::{
        Context, Error,
        fetch::{Finder, Found},
    },
};

/// How the lock is treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Use the store alone.
    pub(super) offline: bool,
    /// Who froze the lock, if anybody did.
    pub(super) frozen: Option<Frozen>,
    /// Keep no manifest in the store.
    pub(super) dry_run: bool,
}

/// Why a lock may not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    /// A flag.
    Flag,
    /// A build phase of Xcode.
    Xcode,
}

/// Makes locks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver<'a> {
    pub(super) context: &'a Context,
    pub(super) project: &'a Project,
    pub(super) policy: Policy,
}

impl Project {
    /// How the lock's entry of a package does not fit, as far as that can be told without its release.
    pub(super) fn staleness(&self, name: &PackageName, package: &AppPackage) -> Option<Staleness> {
        let Some(entry) = self.lock.packages.get(name) else {
            return Some(if self.lock_text.is_none() { Staleness::Missing } else { Staleness::Lacks(name.clone()) });
        };
        if !package.requirement.matches(&entry.version) {
            let (version, requirement) = (Box::new(entry.version.clone()), package.requirement.to_string());
            return Some(Staleness::Version { package: name.clone(), version, requirement });
        }
        let listed = package.sources.iter().any(|source| source.name == entry.source);
        (!listed).then(|| Staleness::Source { package: name.clone(), source_name: entry.source.clone() })
    }

    /// A package of the lock that the manifest does not have.
    pub(super) fn extra(&self) -> Option<&PackageName> {
        self.lock.packages.keys().find(|name| !self.manifest.packages.contains_key(*name))
    }
}

impl Resolver<'_> {
    /// The lock that fits the manifest; of what fits already, nothing changes.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        if let Some(extra) = self.project.extra() {
            self.thaw(Staleness::Extra(extra.clone()))?;
        }
        let mut lock = Lock::default();
        for (name, package) in &self.project.manifest.packages {
            let entry = self.package(name, package).map_err(|error| self.project.at(package, error))?;
            lock.packages.insert(name.clone(), entry);
        }
        Ok(lock)
    }

    fn package(&self, name: &PackageName, package: &AppPackage) -> Result<LockedPackage, Error> {
        let Some(why) = self.project.staleness(name, package) else {
            return self.confirm(name, package, &self.project.lock.packages[name]);
        };
        self.thaw(why)?;
        self.newest(name, package)
    }

    /// The entry, after its variants were compared with what the manifest selects now.
    fn confirm(&self, name: &PackageName, package: &AppPackage, entry: &LockedPackage) -> Result<LockedPackage, Error> {
        let sources = locked_sources(self.context, package, entry, self.policy.offline);
        let found = Finder::new(self.context, name, &sources, &package.wanted).pinned(&entry.version, entry.release)?;
        let fresh =
            LockedPackage { revision: entry.revision.clone(), ..self.entry(name, package, &found, &entry.source)? };
        if fresh != *entry {
            self.thaw(Staleness::Variants(name.clone()))?;
        }
        self.remember(&sources, &found)?;
        Ok(fresh)
    }

    /// The highest release that will do, of the first source that answers.
    pub(super) fn newest(&self, name: &PackageName, package: &AppPackage) -> Result<LockedPackage, Error> {
        let sources = self.sources(package);
        let found = Finder::new(self.context, name, &sources, &package.wanted).highest(&package.requirement, None)?;
        let old = self.project.lock.packages.get(name);
        let known = old.filter(|old| package.sources.iter().any(|source| source.name == old.source));
        let source = match found.named_by {
            Some(index) => &package.sources[index].name,
            None => known.map_or(&package.sources[0].name, |old| &old.source),
        };
        if let Some(old) = old.filter(|old| old.version == found.release.version && old.release != found.digest) {
            let (package, version) = (name.clone(), Box::new(old.version.clone()));
            return Err(AppError::Rewritten {
                package,
                version,
                source_name: source.clone(),
                pinned: old.release,
                found: found.digest,
            }
            .into());
        }
        let entry = LockedPackage { revision: found.revision.clone(), ..self.entry(name, package, &found, source)? };
        self.remember(&sources, &found)?;
        Ok(entry)
    }

    fn entry(
        &self,
        name: &PackageName,
        package: &AppPackage,
        found: &Found,
        source: &str,
    ) -> Result<LockedPackage, Error> {
        let floor = package.target.map(|target| target.target()).transpose().map_err(FetchError::from)?;
        let mut wanted = package.wanted.clone();
        if found.is_chosen {
            // Its globs may have meant paths, which the release does not know.
            wanted.variants.clear();
        }
        let chosen = LockedPackage::new(&found.release, found.digest, source, &wanted, floor);
        let release = format!("{name}@{}", found.release.version);
        let platform = package.target.map(|target| target.platform);
        Ok(chosen.map_err(|error| match error {
            ChoiceError::Glob(error) => FetchError::Glob(error),
            ChoiceError::Select(source) => FetchError::Selection { release, platform, source },
        })?)
    }

    fn sources(&self, package: &AppPackage) -> Vec<RemoteUrl> {
        self.context.reachable(package.sources.iter().filter(|_| !self.policy.offline).map(|source| &source.url))
    }

    /// Keeps the manifest of a release that a remote has named.
    fn remember(&self, sources: &[RemoteUrl], found: &Found) -> Result<(), Error> {
        if let Some(index) = found.named_by.filter(|_| !self.policy.dry_run) {
            let from = [sources[index].to_string()].into();
            self.context.store().put_release(&found.bytes, Origin::Fetched { from })?;
        }
        Ok(())
    }

    /// An error where the lock may not change.
    fn thaw(&self, why: Staleness) -> Result<(), AppError> {
        match self.policy.frozen {
            Some(frozen) => {
                Err(AppError::Stale { lock: self.project.lock_path(), why, xcode: frozen == Frozen::Xcode })
            }
            None => Ok(()),
        }
    }
}

/// Where a locked release may come from: its own source at the revision that the lock pins, and the others as they are.
pub(super) fn locked_sources(
    context: &Context,
    package: &AppPackage,
    entry: &LockedPackage,
    offline: bool,
) -> Vec<RemoteUrl> {
    let pinned = |source: &Source| match &entry.revision {
        Some(revision) if source.name == entry.source => source.url.at(revision),
        _ => source.url.clone(),
    };
    let urls: Vec<RemoteUrl> = package.sources.iter().filter(|_| !offline).map(pinned).collect();
    context.reachable(&urls)
}
