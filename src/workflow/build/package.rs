//! A package that is being built: its components, their opened sources and the plans of their variants.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tempfile::TempDir;

use super::{
    BuildError,
    conversion::Conversion,
    files::PlainFiles,
    find,
    front::ComponentSource,
    hashing::Hashing,
    place,
    report::{BuildWarning, add_warning},
    shared::SharedTensors,
    shelf::Shelf,
    tree::Tree,
    variant::BuiltVariant,
};
use crate::{
    base::Blake3,
    manifest::{
        Assignment, Component, ComponentKind, Content, PackageManifest, VariantGlob, VariantPlan, nearest,
        release::{Other, Release, SCHEMA, Source, Variant},
    },
    store::StoreError,
    workflow::{Context, Error},
};

/// A manifest and the sources of its components.
pub(super) struct Package<'a> {
    manifest: &'a PackageManifest,
    /// The manifest's path in messages.
    path: &'a Path,
    inputs: Vec<Input<'a>>,
    plans: Vec<VariantPlan>,
    assignments: Vec<Assignment>,
}

/// The source of a component.
pub(super) enum Input<'a> {
    Checkpoint(Box<Conversion<'a>>),
    Bundles {
        /// Bundles by the path in the variant's plan.
        trees: BTreeMap<String, Tree>,
        /// Holds the bundles of the Hub until the build ends.
        _links: Option<TempDir>,
    },
    Files(Box<PlainFiles>),
}

impl<'a> Package<'a> {
    /// Opens the sources of all components; nothing is converted.
    pub(super) fn look(
        context: &Context,
        manifest: &'a PackageManifest,
        folder: &Path,
        path: &'a Path,
    ) -> Result<Self, Error> {
        let (mut inputs, mut plans) = (Vec::new(), Vec::new());
        let hashing = Hashing::new(context.store());
        for component in &manifest.components {
            let (input, made) =
                look(context, &hashing, component, folder).map_err(|error| place::at(component, path, error))?;
            inputs.push(input);
            plans.extend(made);
        }
        let assignments = manifest.assign(&plans).map_err(BuildError::from)?;
        Ok(Self { manifest, path, inputs, plans, assignments })
    }

    /// Indices of the plans that the globs match.
    ///
    /// # Errors
    /// For a glob that matches none.
    pub(super) fn choose(&self, globs: &[VariantGlob]) -> Result<BTreeSet<usize>, BuildError> {
        if globs.is_empty() {
            return Ok((0..self.plans.len()).collect());
        }
        let mut chosen = BTreeSet::new();
        for glob in globs {
            let matching: Vec<usize> =
                (0..self.plans.len()).filter(|index| glob.is_match(&self.plans[*index].id)).collect();
            if matching.is_empty() {
                let ids = self.plans.iter().map(|plan| plan.id.as_str());
                let nearest = nearest(glob.as_str(), ids, 3).into_iter().map(str::to_owned).collect();
                return Err(BuildError::NoVariant {
                    glob: glob.to_string(),
                    package: self.manifest.package.name.to_string(),
                    nearest,
                });
            }
            chosen.extend(matching);
        }
        Ok(chosen)
    }

    /// Hash of everything that the release depends on: mlreg's version, the manifest's text and the sources.
    pub(super) fn key(&self, text: &str) -> Result<Blake3, StoreError> {
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

    /// Whether [`key`](Self::key) returns without waiting for digests.
    pub(super) fn is_hashed(&self) -> bool {
        self.inputs.iter().all(|input| match input {
            Input::Checkpoint(conversion) => conversion.front().is_hashed(),
            Input::Bundles { .. } | Input::Files(_) => true,
        })
    }

    /// Builds the chosen variants and the release manifest that lists them.
    pub(super) fn build(
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
            let plans: Vec<&VariantPlan> = chosen
                .iter()
                .map(|index| &self.plans[*index])
                .filter(|plan| plan.component == component.name)
                .collect();
            if plans.is_empty() {
                continue;
            }
            warnings.extend(input.warnings());
            let built = input.build(context, shelf, self.manifest, &plans, &shared);
            for mut built in built.map_err(|error| place::at(component, self.path, error))? {
                self.assign(&mut built.variant);
                built.warnings.drain(..).for_each(|found| add_warning(warnings, &built.variant, found));
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

/// Opens the source of a component and plans its variants.
fn look<'a>(
    context: &Context,
    hashing: &Hashing,
    component: &'a Component,
    folder: &Path,
) -> Result<(Input<'a>, Vec<VariantPlan>), Error> {
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
            Self::Bundles { trees, .. } => {
                plans.iter().filter_map(|plan| Some(tree_of(trees, plan)?.import(shelf, plan))).collect()
            }
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
