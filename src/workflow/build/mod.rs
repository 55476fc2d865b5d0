//! `build`: package manifests become releases of the store.
//!
//! ```text
//! manifest --look--> inputs (checkpoints, bundles, files; known by digest) --key--> built before? then nothing is done
//! inputs, variant plans --make--> blobs in the store, variants --assemble--> release manifest --put--> store
//! ```
//! `conversion` builds variants with a front end (`front`) and a bundle format (`emit`); `tree` imports bundles and files unchanged.

mod compiled;
mod conversion;
mod error;
mod files;
mod find;
mod front;
mod hashing;
mod hub;
mod manifest;
mod place;
mod shared;
mod shelf;
mod tree;
mod variant;
mod weights;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use semver::Version;
use serde::Serialize;
use tempfile::TempDir;

pub use error::BuildError;

use self::{
    conversion::Conversion, files::PlainFiles, front::ComponentSource, hashing::Hashing, shared::SharedTensors, shelf::Shelf, tree::Tree,
    variant::BuiltVariant,
};
use super::{Context, Error, inspect::DraftWarning};
use crate::{
    base::{Blake3, Digest, PackageName, Target},
    fetch::{Destination, FetchError, Layout, Named, Proof, Staging},
    manifest::{
        Assignment, Component, ComponentKind, Content, PackageManifest, SelectError, Selection, VariantGlob, VariantPlan, nearest,
        release::{Compiled, Other, Release, SCHEMA, Source, Variant},
        select,
    },
    store::{Origin, Store, StoreError},
};

/// Raised whenever the same manifest and sources would give another release than before.
const BUILDS: &str = "build-2";

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Package manifests.
    pub manifests: Vec<PathBuf>,
    /// Globs over variant ids: only these are built, and no release is made. None: every variant.
    pub variants: Vec<String>,
    /// Where to place what was built.
    pub out: Option<PathBuf>,
    /// How to place it.
    pub layout: Layout,
    /// Whether to build what was built before.
    pub force: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildStatus {
    /// The release is in the store now.
    Built,
    /// It was there.
    Unchanged,
    /// Some variants were built, which are no release.
    Partial,
}

/// What was built.
#[derive(Debug, Clone, Serialize)]
pub struct BuildReport {
    /// One for each manifest, in their order.
    pub packages: Vec<PackageReport>,
    /// Where it was placed.
    pub placed: Option<PathBuf>,
}

/// A package that was built.
#[derive(Debug, Clone, Serialize)]
pub struct PackageReport {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The sha256 of the release manifest, as `show` and `list` name it.
    pub release: Digest,
    /// The same, under its older name.
    pub digest: Digest,
    /// How it ended.
    pub status: BuildStatus,
    /// Its variants, by id.
    pub variants: Vec<VariantReport>,
    /// What is worth knowing about it, once for each component.
    pub warnings: Vec<BuildWarning>,
    /// Bytes of its blobs, each once.
    pub stored_bytes: u64,
    /// How many of them the store did not have.
    pub new_bytes: u64,
    /// How long it took; not part of documents, which are the same for the same input.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// Something worth knowing about what was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildWarning {
    /// The component.
    pub component: String,
    /// The name of the rule, which stays: one of `inspect`, `beyond-training`, `sentence-encoder` or `stand-in`.
    pub rule: &'static str,
    /// The variants that it is about; none where it is about the component.
    pub variants: Vec<String>,
    /// A sentence, about the first variant.
    pub text: String,
    /// What the manifest can say against it, or that no key does.
    pub advice: Option<&'static str>,
}

/// A variant that was built.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// Its id.
    pub id: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of the blobs that no other variant has.
    pub unique_bytes: u64,
    /// Number of its files.
    pub files: u64,
    /// How it was compiled, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled: Option<Compiled>,
}

/// Builds packages. Nothing of a package becomes visible before all of it is in the store.
///
/// # Errors
/// The first mistake in a manifest, checkpoint or bundle; `ReleaseConflict` of the store where a published version would change.
pub fn build(context: &Context, options: &BuildOptions) -> Result<BuildReport, Error> {
    let globs: Result<Vec<VariantGlob>, _> = options.variants.iter().map(|glob| glob.parse()).collect();
    let globs = globs.map_err(BuildError::from)?;
    let mut packages = Vec::new();
    for path in &options.manifests {
        packages.push(build_package(context, options, &globs, path)?);
    }
    Ok(BuildReport { packages, placed: options.out.as_ref().map(|out| context.directory().join(out)) })
}

fn build_package(context: &Context, options: &BuildOptions, globs: &[VariantGlob], path: &Path) -> Result<PackageReport, Error> {
    let start = Instant::now();
    let store = context.store();
    let file = context.directory().join(path);
    let text = manifest::read(&file, path)?;
    let manifest = PackageManifest::parse(&text, &path.display().to_string()).map_err(BuildError::from)?;
    // Looking makes temporary folders, which `gc` removes where nobody writes.
    let _guard = store.writing()?;
    let package = Package::look(context, &manifest, file.parent().unwrap_or(Path::new("/")), path)?;
    let chosen = package.choose(globs)?;
    // While a checkpoint is being hashed for the first time there is nothing to find, most likely; what it gives is looked up afterwards.
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
            let release = package.make(context, &shelf, &chosen, &mut warnings)?;
            let invalid = |source| BuildError::Release { package: manifest.package.name.to_string(), source: Box::new(source) };
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
    Ok(PackageReport { warnings, ..report(&release, digest, status, shelf.new_bytes(), start.elapsed()) })
}

/// Makes sure that whoever publishes or fetches the release will not refuse it.
fn check(release: &Release) -> Result<(), Error> {
    let invalid = |source| BuildError::Release { package: release.package.to_string(), source: Box::new(source) };
    release.check().map_err(invalid)?;
    for floor in [None].into_iter().chain(Target::all().map(Some)) {
        let chosen = match select(release, &Selection { floor, ..Selection::default() }) {
            // What a later target alone has, an earlier one need not have.
            Err(SelectError::Floor { .. }) => continue,
            other => other.map_err(|source| refused(release, source))?,
        };
        let named: Vec<Named<'_>> = chosen.iter().map(|it| Named { name: it.path.as_str(), variant: it.variant }).collect();
        for layout in [Layout::Linked, Layout::Shared] {
            Proof::new(release, Digest::of(b""), floor, layout, &named)?;
        }
    }
    Ok(())
}

fn refused(release: &Release, source: SelectError) -> FetchError {
    FetchError::Selection { release: format!("{}@{}", release.package, release.version), platform: None, source }
}

/// The release that the same input gave before, if all of it is here.
fn built_before(store: &Store, manifest: &PackageManifest, key: &Blake3) -> Result<Option<(Release, Digest)>, StoreError> {
    let header = &manifest.package;
    let known = store.cache_get(BUILDS, key).and_then(|bytes| Some(Digest::from_bytes(bytes.try_into().ok()?)));
    let Some(known) = known else { return Ok(None) };
    let standing = store.release(&header.name, &header.version)?.filter(|(digest, _)| *digest == known);
    let release = standing.and_then(|(_, bytes)| Release::parse(&bytes).ok());
    let complete = |release: &Release| release.blobs.iter().all(|(digest, blob)| store.seems_here(digest, blob));
    Ok(release.filter(complete).map(|release| (release, known)))
}

/// A manifest, and what its components are made from.
struct Package<'a> {
    manifest: &'a PackageManifest,
    /// The manifest's name in messages.
    path: &'a Path,
    inputs: Vec<Input<'a>>,
    plans: Vec<VariantPlan>,
    assignments: Vec<Assignment>,
}

enum Input<'a> {
    Checkpoint(Box<Conversion<'a>>),
    Bundles {
        /// By the path that the variant's plan has.
        trees: BTreeMap<String, Tree>,
        /// What keeps those of the Hub on this machine.
        _links: Option<TempDir>,
    },
    Files(Box<PlainFiles>),
}

impl<'a> Package<'a> {
    /// Finds everything and converts nothing.
    fn look(context: &Context, manifest: &'a PackageManifest, folder: &Path, path: &'a Path) -> Result<Self, Error> {
        let (mut inputs, mut plans) = (Vec::new(), Vec::new());
        let hashing = Hashing::new(context.store());
        for component in &manifest.components {
            let (input, made) = look(context, &hashing, component, folder).map_err(|error| place::at(component, path, error))?;
            inputs.push(input);
            plans.extend(made);
        }
        let assignments = manifest.assign(&plans).map_err(BuildError::from)?;
        Ok(Self { manifest, path, inputs, plans, assignments })
    }

    /// Which plans the globs mean, by index; every glob must mean one.
    fn choose(&self, globs: &[VariantGlob]) -> Result<BTreeSet<usize>, BuildError> {
        if globs.is_empty() {
            return Ok((0..self.plans.len()).collect());
        }
        let mut chosen = BTreeSet::new();
        for glob in globs {
            let matching: Vec<usize> = (0..self.plans.len()).filter(|index| glob.is_match(&self.plans[*index].id)).collect();
            if matching.is_empty() {
                let ids = self.plans.iter().map(|plan| plan.id.as_str());
                let nearest = nearest(glob.as_str(), ids, 3).into_iter().map(str::to_owned).collect();
                return Err(BuildError::NoVariant { glob: glob.to_string(), package: self.manifest.package.name.to_string(), nearest });
            }
            chosen.extend(matching);
        }
        Ok(chosen)
    }

    /// Identifies everything that the release depends on.
    fn key(&self, text: &str) -> Result<Blake3, StoreError> {
        let mut hasher = blake3::Hasher::new();
        let mut feed = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        feed(env!("CARGO_PKG_VERSION").as_bytes());
        feed(text.as_bytes());
        for input in &self.inputs {
            match input {
                Input::Checkpoint(conversion) => conversion.front().feed(&mut feed)?,
                Input::Bundles { trees, .. } => trees.iter().for_each(|(path, tree)| {
                    feed(path.as_bytes());
                    tree.feed(&mut feed);
                }),
                Input::Files(files) => files.feed(&mut feed)?,
            }
        }
        Ok(Blake3::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Whether nobody has to wait for what the key needs.
    fn is_hashed(&self) -> bool {
        self.inputs.iter().all(|input| match input {
            Input::Checkpoint(conversion) => conversion.front().is_hashed(),
            Input::Bundles { .. } | Input::Files(_) => true,
        })
    }

    /// Makes the chosen variants and the release that they are.
    fn make(
        &self,
        context: &Context,
        shelf: &Shelf<'_>,
        chosen: &BTreeSet<usize>,
        warnings: &mut Vec<BuildWarning>,
    ) -> Result<Release, Error> {
        let header = &self.manifest.package;
        let mut release = Release {
            schema: SCHEMA.to_owned(),
            package: header.name.clone(),
            version: header.version.clone(),
            description: header.description.clone(),
            license: header.license.clone(),
            sources: BTreeMap::new(),
            variants: Vec::new(),
            blobs: BTreeMap::new(),
            other: Other::default(),
        };
        let shared = SharedTensors::find(&self.inputs, &self.plans)?;
        for (component, input) in self.manifest.components.iter().zip(&self.inputs) {
            let plans: Vec<&VariantPlan> =
                chosen.iter().map(|index| &self.plans[*index]).filter(|plan| plan.component == component.name).collect();
            if plans.is_empty() {
                continue;
            }
            warnings.extend(input.warnings());
            let built = input.build(context, shelf, self.manifest, &plans, &shared);
            for mut built in built.map_err(|error| place::at(component, self.path, error))? {
                self.assign(&mut built.variant);
                built.warnings.drain(..).for_each(|found| collect(warnings, &built.variant, found));
                release.variants.push(built.variant);
                release.blobs.append(&mut built.blobs);
            }
            if let Some(source) = input.source()? {
                release.sources.insert(component.name.clone(), source);
            }
        }
        release.variants.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(release)
    }

    fn assign(&self, variant: &mut Variant) {
        let index = self.plans.iter().position(|plan| plan.id == variant.id);
        if let Some(Assignment { delivery, tags }) = index.map(|index| self.assignments[index].clone()) {
            variant.delivery = delivery;
            variant.tags = tags;
        }
    }
}

/// What a component is made from, and its variants.
fn look<'a>(context: &Context, hashing: &Hashing, component: &'a Component, folder: &Path) -> Result<(Input<'a>, Vec<VariantPlan>), Error> {
    Ok(match &component.kind {
        ComponentKind::Checkpoint(settings) => {
            let plans = component.variants().map_err(BuildError::from)?;
            let conversion = Conversion::open(ComponentSource { context, hashing, folder, component, settings })?;
            (Input::Checkpoint(Box::new(conversion)), plans)
        }
        ComponentKind::Import(import) => {
            let (mut bundles, mut trees) = (Vec::new(), BTreeMap::new());
            let (found, links) = find::bundles(context, folder, import)?;
            for found in found {
                trees.insert(found.bundle.path.clone(), found.tree.hashed(context.store())?);
                bundles.push(found.bundle);
            }
            (Input::Bundles { trees, _links: links }, import.variants(&bundles).map_err(BuildError::from)?)
        }
        ComponentKind::Files(files) => {
            let plans = component.variants().map_err(BuildError::from)?;
            (Input::Files(Box::new(PlainFiles::look(context, &component.name, folder, files)?)), plans)
        }
    })
}

/// Adds what was found about a variant; what was found about another one of the component already is not said again.
fn collect(warnings: &mut Vec<BuildWarning>, variant: &Variant, found: DraftWarning) {
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

impl Input<'_> {
    fn warnings(&self) -> Vec<BuildWarning> {
        match self {
            Self::Checkpoint(conversion) => conversion.front().warnings(),
            Self::Bundles { .. } | Self::Files(_) => Vec::new(),
        }
    }

    fn source(&self) -> Result<Option<Source>, StoreError> {
        match self {
            Self::Checkpoint(conversion) => conversion.front().source().map(Some),
            Self::Files(files) => Ok(files.source()),
            Self::Bundles { .. } => Ok(None),
        }
    }

    fn build(
        &self,
        context: &Context,
        shelf: &Shelf<'_>,
        manifest: &PackageManifest,
        plans: &[&VariantPlan],
        shared: &SharedTensors,
    ) -> Result<Vec<BuiltVariant>, Error> {
        match self {
            Self::Checkpoint(conversion) => conversion.convert(context, shelf, &manifest.package, plans, shared),
            Self::Bundles { trees, .. } => plans.iter().filter_map(|plan| Some(tree_of(trees, plan)?.import(shelf, plan))).collect(),
            Self::Files(files) => plans.iter().map(|plan| files.tree.store(shelf, plan)).collect(),
        }
    }
}

fn tree_of<'t>(trees: &'t BTreeMap<String, Tree>, plan: &VariantPlan) -> Option<&'t Tree> {
    match &plan.content {
        Content::Imported { path, .. } => trees.get(path),
        Content::Converted(_) | Content::Files => None,
    }
}

/// Places everything that was built, under full ids.
fn place_bundles(context: &Context, release: &Release, digest: Digest, out: &Path, layout: Layout) -> Result<(), Error> {
    let store = context.store();
    let destination = Destination::lock(store, out, &release.package, Staging::Beside)?;
    if let Some(placed) = destination.placed().filter(|proof| proof.floor.is_some()) {
        return Err(FetchError::SecondFloor { folder: destination.folder().to_owned(), placed: placed.floor, asked: None }.into());
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

fn report(release: &Release, digest: Digest, status: BuildStatus, new_bytes: u64, elapsed: Duration) -> PackageReport {
    let mut users: BTreeMap<Digest, BTreeSet<&str>> = BTreeMap::new();
    for variant in &release.variants {
        for file in &variant.files {
            users.entry(file.sha256).or_default().insert(&variant.id);
        }
    }
    let variant = |variant: &Variant| {
        let own: BTreeMap<Digest, u64> =
            variant.files.iter().filter(|file| users[&file.sha256].len() == 1).map(|file| (file.sha256, file.size)).collect();
        VariantReport {
            id: variant.id.clone(),
            bytes: variant.files.iter().map(|file| file.size).fold(0, u64::saturating_add),
            unique_bytes: own.values().copied().fold(0, u64::saturating_add),
            files: variant.files.len() as u64,
            compiled: variant.compiled.clone(),
        }
    };
    PackageReport {
        package: release.package.clone(),
        version: release.version.clone(),
        release: digest,
        digest,
        status,
        variants: release.variants.iter().map(variant).collect(),
        warnings: Vec::new(),
        stored_bytes: release.blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add),
        new_bytes,
        elapsed,
    }
}
