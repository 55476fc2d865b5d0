//! `build`: package manifests become releases of the store.
//!
//! ```text
//! manifest --open--> sources (checkpoints, bundles, files; known by digest) --key--> built before? then done
//! sources, variant plans --build--> blobs in the store, variants --assemble--> release manifest --put--> store
//! ```
//! `conversion` builds variants with a front end (`front`) and a bundle format (`emit`); `tree` imports bundles and
//! files unchanged.

mod compiled;
mod conversion;
mod error;
mod files;
mod find;
mod front;
mod hashing;
mod hub;
mod manifest;
mod package;
mod passes;
mod place;
mod report;
mod shared;
mod shelf;
mod tree;
mod variant;
mod weights;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

pub use error::BuildError;
pub use report::{BuildReport, BuildStatus, BuildWarning, PackageReport, VariantReport};

use self::{package::Package, shelf::Shelf};
use super::{Context, Error};
use crate::{
    base::{Blake3, Digest, Target},
    fetch::{Destination, FetchError, Layout, Named, Proof, Staging},
    manifest::{PackageManifest, SelectError, Selection, VariantGlob, release::Release, select},
    store::{Origin, Store, StoreError},
};

/// Key space of remembered builds; renamed whenever equal input would give another release than before.
const BUILDS: &str = "build-2";

/// Options of a build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Package manifests.
    pub manifests: Vec<PathBuf>,
    /// Globs over variant ids: only matching variants are built, and no release is made. Empty: every variant.
    pub variants: Vec<String>,
    /// Folder in which the bundles are placed.
    pub out: Option<PathBuf>,
    /// Layout of that folder.
    pub layout: Layout,
    /// Whether to build although an earlier build made the same release.
    pub force: bool,
}

/// Builds packages. A release becomes visible in one step, once all of its blobs are in the store.
///
/// # Errors
/// The first mistake in a manifest, checkpoint or bundle; `ReleaseConflict` of the store where a published version
/// would change.
pub fn build(context: &Context, options: &BuildOptions) -> Result<BuildReport, Error> {
    let globs: Result<Vec<VariantGlob>, _> = options.variants.iter().map(|glob| glob.parse()).collect();
    let globs = globs.map_err(BuildError::from)?;
    let mut packages = Vec::new();
    for path in &options.manifests {
        packages.push(build_package(context, options, &globs, path)?);
    }
    Ok(BuildReport { packages, placed: options.out.as_ref().map(|out| context.directory().join(out)) })
}

fn build_package(
    context: &Context,
    options: &BuildOptions,
    globs: &[VariantGlob],
    path: &Path,
) -> Result<PackageReport, Error> {
    let start = Instant::now();
    let store = context.store();
    let file = context.directory().join(path);
    let text = manifest::read(&file, path)?;
    let manifest = PackageManifest::parse(&text, &path.display().to_string()).map_err(BuildError::from)?;
    // Looking makes temporary folders, which `gc` removes where nobody writes.
    let _guard = store.writing()?;
    let package = Package::look(context, &manifest, file.parent().unwrap_or(Path::new("/")), path)?;
    let chosen = package.choose(globs)?;
    // While a checkpoint is being hashed for the first time there is nothing to find, most likely; what it gives is
    // looked up afterwards.
    let key = package.is_hashed().then(|| package.key(&text)).transpose()?;
    let known = match &key {
        Some(key) if !options.force && globs.is_empty() => built_before(store, &manifest, key)?,
        _ => None,
    };
    let shelf = Shelf::new(store);
    let mut warnings = Vec::new();
    let (release, digest, status) = match known {
        Some((release, digest)) => (release, digest, BuildStatus::Unchanged),
        None => {
            let release = package.build(context, &shelf, &chosen, &mut warnings)?;
            let invalid =
                |source| BuildError::Release { package: manifest.package.name.to_string(), source: Box::new(source) };
            check(&release)?;
            let bytes = release.to_canonical().map_err(invalid)?;
            if globs.is_empty() {
                let is_late = key.is_none() && !options.force;
                let key = key.map_or_else(|| package.key(&text), Ok)?;
                let before = if is_late { built_before(store, &manifest, &key)? } else { None };
                if let Some((release, digest)) = before {
                    let status = if shelf.new_bytes() == 0 { BuildStatus::Unchanged } else { BuildStatus::Built };
                    (release, digest, status)
                } else {
                    let digest = store.put_release(&bytes, Origin::Built { published_to: BTreeSet::new() })?;
                    store.cache_put(BUILDS, &key, digest.as_bytes());
                    (release, digest, BuildStatus::Built)
                }
            } else {
                (release, Digest::of(&bytes), BuildStatus::Partial)
            }
        }
    };
    if let Some(out) = &options.out {
        place_bundles(context, &release, digest, &context.directory().join(out), options.layout)?;
    }
    for (component, source) in &release.sources {
        warnings.extend(source.warning(component).map(|text| BuildWarning {
            component: component.clone(),
            rule: "stand-in",
            variants: Vec::new(),
            text,
            advice: None,
        }));
    }
    Ok(PackageReport { warnings, ..PackageReport::of(&release, digest, status, shelf.new_bytes(), start.elapsed()) })
}

/// Checks everything that publishing and fetching check, so that neither refuses the release.
fn check(release: &Release) -> Result<(), Error> {
    let invalid = |source| BuildError::Release { package: release.package.to_string(), source: Box::new(source) };
    release.check().map_err(invalid)?;
    for floor in [None].into_iter().chain(Target::all().map(Some)) {
        let chosen = match select(release, &Selection { floor, ..Selection::default() }) {
            // What a later target alone has, an earlier one need not have.
            Err(SelectError::Floor { .. }) => continue,
            other => other.map_err(|source| refused(release, source))?,
        };
        let named: Vec<Named<'_>> =
            chosen.iter().map(|it| Named { name: it.path.as_str(), variant: it.variant }).collect();
        for layout in [Layout::Linked, Layout::Shared] {
            Proof::new(release, Digest::of(b""), floor, layout, &named)?;
        }
    }
    Ok(())
}

fn refused(release: &Release, source: SelectError) -> FetchError {
    FetchError::Selection { release: format!("{}@{}", release.package, release.version), platform: None, source }
}

/// The release that an earlier build made from the same input, where the store still has all of it.
fn built_before(
    store: &Store,
    manifest: &PackageManifest,
    key: &Blake3,
) -> Result<Option<(Release, Digest)>, StoreError> {
    let header = &manifest.package;
    let known = store.cache_get(BUILDS, key).and_then(|bytes| Some(Digest::from_bytes(bytes.try_into().ok()?)));
    let Some(known) = known else { return Ok(None) };
    let standing = store.release(&header.name, &header.version)?.filter(|(digest, _)| *digest == known);
    let release = standing.and_then(|(_, bytes)| Release::parse(&bytes).ok());
    let complete = |release: &Release| release.blobs.iter().all(|(digest, blob)| store.seems_here(digest, blob));
    Ok(release.filter(complete).map(|release| (release, known)))
}

/// Places all variants, in folders named by their full ids.
fn place_bundles(
    context: &Context,
    release: &Release,
    digest: Digest,
    out: &Path,
    layout: Layout,
) -> Result<(), Error> {
    let store = context.store();
    let destination = Destination::lock(store, out, &release.package, Staging::Beside)?;
    if let Some(placed) = destination.placed().filter(|proof| proof.floor.is_some()) {
        return Err(FetchError::SecondFloor {
            folder: destination.folder().to_owned(),
            placed: placed.floor,
            asked: None,
        }
        .into());
    }
    let chosen = select(release, &Selection::default()).map_err(|source| refused(release, source))?;
    let named: Vec<Named<'_>> = chosen.iter().map(|it| Named { name: it.path.as_str(), variant: it.variant }).collect();
    let proof = Proof::new(release, digest, None, layout, &named)?;
    let survey = destination.survey(&proof)?;
    for digest in survey.suspects() {
        store.blob_verified(digest)?;
    }
    destination.place(&proof, &survey, None)?;
    Ok(())
}
