//! Reports of builds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use semver::Version;
use serde::Serialize;

use crate::{
    base::{Digest, PackageName},
    manifest::release::{Compiled, Release, Variant},
    workflow::inspect::DraftWarning,
};

/// Outcome of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildStatus {
    /// The release was built and is in the store.
    Built,
    /// An earlier build made the same release.
    Unchanged,
    /// Some variants were built; they are no release.
    Partial,
}

/// Report of a build.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// One report per manifest, in their order.
    pub packages: Vec<PackageReport>,
    /// The folder in which the bundles were placed.
    pub placed: Option<PathBuf>,
}

/// Report of one package.
#[derive(Debug, Clone, Serialize)]
pub struct PackageReport {
    /// Name of the package.
    pub package: PackageName,
    /// Version of the package.
    pub version: Version,
    /// The sha256 of the release manifest, as `show` and `list` name it.
    pub release: Digest,
    /// The same digest, under its older key.
    pub digest: Digest,
    /// Outcome.
    pub status: BuildStatus,
    /// The variants, sorted by id.
    pub variants: Vec<VariantReport>,
    /// Warnings, each once per component.
    pub warnings: Vec<BuildWarning>,
    /// Bytes of the release's blobs, each counted once.
    pub stored_bytes: u64,
    /// Bytes of the blobs that the store did not have before.
    pub new_bytes: u64,
    /// Duration of the build. Documents omit it, so that equal input gives equal documents.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// A warning about a component or its variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildWarning {
    /// Name of the component.
    pub component: String,
    /// Stable name of the rule: a rule of `inspect`, or `beyond-training`, `sentence-encoder` or `stand-in`.
    pub rule: &'static str,
    /// Ids of the affected variants; empty where the whole component is affected.
    pub variants: Vec<String>,
    /// A sentence, which describes the first variant.
    pub text: String,
    /// The manifest key that avoids the problem, or a statement that no key does.
    pub advice: Option<&'static str>,
}

/// Report of one variant.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// Id of the variant.
    pub id: String,
    /// Bytes of the variant's files.
    pub bytes: u64,
    /// Bytes of the blobs that no other variant has.
    pub unique_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// The compiler, of compiled variants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled: Option<Compiled>,
}

impl PackageReport {
    /// The report of a release, without warnings.
    pub(super) fn of(
        release: &Release,
        digest: Digest,
        status: BuildStatus,
        new_bytes: u64,
        elapsed: Duration,
    ) -> Self {
        let users = blob_users(release);
        Self {
            package: release.package.clone(),
            version: release.version.clone(),
            release: digest,
            digest,
            status,
            variants: release.variants.iter().map(|variant| variant_report(variant, &users)).collect(),
            warnings: Vec::new(),
            stored_bytes: release.blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add),
            new_bytes,
            elapsed,
        }
    }
}

/// The variants that have each blob.
type BlobUsers<'r> = BTreeMap<Digest, BTreeSet<&'r str>>;

fn blob_users(release: &Release) -> BlobUsers<'_> {
    let mut users = BlobUsers::new();
    for variant in &release.variants {
        for file in &variant.files {
            users.entry(file.sha256).or_default().insert(&variant.id);
        }
    }
    users
}

fn variant_report(variant: &Variant, users: &BlobUsers<'_>) -> VariantReport {
    let own = variant.files.iter().filter(|file| users[&file.sha256].len() == 1);
    let own: BTreeMap<Digest, u64> = own.map(|file| (file.sha256, file.size)).collect();
    VariantReport {
        id: variant.id.clone(),
        bytes: variant.files.iter().map(|file| file.size).fold(0, u64::saturating_add),
        unique_bytes: own.values().copied().fold(0, u64::saturating_add),
        files: variant.files.len() as u64,
        compiled: variant.compiled.clone(),
    }
}

/// Adds a warning about a variant; equal warnings about variants of one component become one.
pub(super) fn add_warning(warnings: &mut Vec<BuildWarning>, variant: &Variant, found: DraftWarning) {
    let DraftWarning { rule, text, advice } = found;
    let is_same = |it: &&mut BuildWarning| it.component == variant.component && it.rule == rule && it.advice == advice;
    match warnings.iter_mut().find(is_same) {
        Some(known) => known.variants.push(variant.id.clone()),
        None => {
            let variants = vec![variant.id.clone()];
            warnings.push(BuildWarning { component: variant.component.clone(), rule, variants, text, advice });
        }
    }
}
