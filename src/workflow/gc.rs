//! `gc`: removes from the store what neither a build of this machine nor a placed folder needs.

use std::{collections::BTreeSet, time::SystemTime};

use semver::Version;
use serde::Serialize;

use super::{Context, Error};
use crate::{
    base::{Digest, PackageName},
    store,
};

/// How to collect.
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// How many bytes of blobs may stay; none: what nobody needs goes.
    pub budget: Option<u64>,
    /// The time by which the age of temporary files and downloads is told.
    pub now: SystemTime,
}

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Fetched releases that no placed folder names.
    pub releases: Vec<CollectedRelease>,
    /// Variants that the budget has no room for, the first to go first.
    pub evicted: Vec<EvictedVariant>,
    /// Number of blobs.
    pub blobs: u64,
    /// Number of temporary files and given-up downloads.
    pub files: u64,
    /// Number of records of folders that are gone.
    pub placements: u64,
    /// Bytes that the disk has back.
    pub freed_bytes: u64,
    /// Bytes of removed blobs that hard links in placed folders keep on the disk.
    pub linked_bytes: u64,
    /// Number of blobs that stay.
    pub kept_blobs: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// By how much they are over the budget: all of them are built here, placed or pinned.
    pub over_budget_bytes: u64,
}

/// A variant that goes although its release may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvictedVariant {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The variant's id.
    pub variant: String,
}

/// Fetched release that `gc` removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CollectedRelease {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The sha256 of its manifest.
    pub release: Digest,
    /// The remotes from which it can be fetched again.
    pub from: BTreeSet<String>,
}

impl GcReport {
    /// Whether there was nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.releases.is_empty()
            && self.evicted.is_empty()
            && self.blobs == 0
            && self.files == 0
            && self.placements == 0
    }
}

/// Collects what nobody needs.
///
/// # Errors
/// What the store says, e.g. that another process writes to it.
pub fn gc(context: &Context, options: &GcOptions) -> Result<GcReport, Error> {
    let store = context.store();
    let plan = store.gc_plan(&store::GcOptions { now: options.now, budget: options.budget })?;
    let collected = |((package, version), release): (&(PackageName, Version), &Digest)| {
        let origin = store.release_origin(package, version)?;
        let from = origin.map(|origin| origin.remotes().clone()).unwrap_or_default();
        Ok(CollectedRelease { package: package.clone(), version: version.clone(), release: *release, from })
    };
    let releases = plan.releases.iter().map(collected).collect::<Result<_, Error>>()?;
    let done = if options.dry_run { expected(&plan) } else { store.gc_run(&plan)? };
    Ok(GcReport {
        dry_run: options.dry_run,
        releases,
        evicted: plan.evicted.iter().map(evicted).collect(),
        blobs: done.blobs,
        files: done.files,
        placements: done.placements,
        freed_bytes: done.freed_bytes,
        linked_bytes: done.linked_bytes,
        kept_blobs: plan.kept_blobs,
        kept_bytes: plan.kept_bytes,
        over_budget_bytes: options.budget.map_or(0, |budget| plan.kept_bytes.saturating_sub(budget)),
    })
}

fn evicted(evicted: &store::Evicted) -> EvictedVariant {
    EvictedVariant {
        package: evicted.package.clone(),
        version: evicted.version.clone(),
        variant: evicted.variant.clone(),
    }
}

fn expected(plan: &store::GcPlan) -> store::GcReport {
    store::GcReport {
        releases: plan.releases.len() as u64,
        placements: plan.placements.len() as u64,
        blobs: plan.blobs.len() as u64,
        files: plan.files.len() as u64,
        freed_bytes: plan.freed_bytes(),
        linked_bytes: plan.linked_bytes(),
    }
}
