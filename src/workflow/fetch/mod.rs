//! `fetch`: from a request to bundles in a folder. Nothing is done, and nobody asked, where the folder satisfies the
//! request already.
//!
//! Which release: the one in place as long as it will do (`upgrade` looks for a newer one), else the highest version of
//! the remote, or of the store where no remote may be asked. Which variants: those that are asked for, and those in
//! place. When the release changes, variants in place move along: with a floor to the best variant of the same name,
//! without one to the variant of the same id; what the new release no longer has is removed.

mod costs;
mod find;
mod package;

use std::{collections::BTreeMap, path::PathBuf};

use semver::Version;
use serde::Serialize;

use super::{Context, Error, PackageRequest};
use crate::{
    base::{Digest, OsFloor, PackageName, Tag},
    fetch::{Layout, PlaceReport, Staging, Totals, Wanted},
    manifest::release::Delivery,
    remote::RemoteUrl,
};

pub use costs::TagCost;
pub(in crate::workflow) use find::{Finder, Found};
pub(in crate::workflow) use package::{Fetch, Job, Which};

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
    /// Hash what is in place instead of believing its times.
    pub verify: bool,
    /// Where bundles are built.
    pub staging: Staging,
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
    /// Of a dry run: what every delivery category and tag would cost by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<TagCost>,
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
/// What [`FetchError`](crate::fetch::FetchError) lists, and what the store and the remote say.
pub fn fetch(context: &Context, options: &FetchOptions) -> Result<FetchReport, Error> {
    let one = |request: &PackageRequest| {
        let job = Job {
            package: request.package.clone(),
            which: Which::Open(request.requirement.clone()),
            sources: context.reachable(options.from.iter().filter(|_| !options.offline)),
            floor: None,
            changes_floor: false,
            platform: None,
            wanted: options.wanted(),
            narrowed: Wanted::default(),
            owner: None,
            out: context.directory().join(&options.out),
            layout: options.layout,
            staging: options.staging,
            upgrade: options.upgrade,
            verify: options.verify,
            dry_run: options.dry_run,
        };
        Fetch::new(context, &job.on(context, options.floor)?).run()
    };
    Ok(FetchReport { packages: options.requests.iter().map(one).collect::<Result<_, Error>>()? })
}

impl FetchOptions {
    fn wanted(&self) -> Wanted {
        Wanted {
            variants: self.variants.iter().cloned().collect(),
            components: self.components.iter().cloned().collect(),
            tags: self.tags.iter().cloned().collect(),
            deliveries: self.deliveries.iter().copied().collect(),
            rename: BTreeMap::new(),
        }
    }
}
