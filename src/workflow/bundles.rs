//! Bundles that can be run: a folder, or variants of a release in the store, which are run from their blobs without being placed anywhere.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use super::{Context, Error, PackageRequest, publish};
use crate::{
    eval::{Files, Package, PackageError},
    manifest::{
        GlobError, VariantGlob, nearest,
        release::{BundleKind, Variant},
    },
    mil::{self, VerifyError},
    ops,
};

/// What to run.
#[derive(Debug, Clone)]
pub enum BundleSubject {
    /// A `.mlpackage` folder.
    Folder(PathBuf),
    /// A release of the store; the highest version that will do.
    Package(PackageRequest),
}

impl fmt::Display for BundleSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Package(request) => write!(f, "{request}"),
        }
    }
}

/// A bundle, opened and found sound.
#[derive(Debug)]
pub struct Bundle {
    /// As a person would name it: the folder, or the variant's id.
    pub name: String,
    /// The program and its weights.
    pub package: Package,
    /// The variant, where it is one of a release.
    pub variant: Option<Variant>,
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bundle cannot be opened.
    #[error("cannot open the bundle `{bundle}`")]
    Open {
        /// The bundle.
        bundle: String,
        /// Why.
        #[source]
        source: PackageError,
    },
    /// Its program contradicts itself.
    #[error("the program of `{bundle}` is not sound")]
    Unsound {
        /// The bundle.
        bundle: String,
        /// What is wrong.
        #[source]
        source: Box<VerifyError>,
    },
    /// A glob over variants.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A glob that leaves no variant.
    #[error("`{glob}` matches no variant of `{package}`")]
    NoVariant {
        /// Package and requirement.
        package: String,
        /// The glob.
        glob: String,
        /// Ids that it may be meant to match.
        nearest: Vec<String>,
    },
    /// Several variants that could be meant.
    #[error("`{package}` has {} variants that could be meant: {}", ids.len(), ids.join(", "))]
    Variants {
        /// Package and requirement.
        package: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Nothing in it is a program.
    #[error("`{package}` has no variant that can be run: only .mlpackage bundles can")]
    NoPrograms {
        /// Package and requirement.
        package: String,
    },
}

impl BundleError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoVariant { nearest, .. } if !nearest.is_empty() => {
                let ids: Vec<String> = nearest.iter().map(|id| format!("`{id}`")).collect();
                Some(format!("did you mean {}?", ids.join(" or ")))
            }
            Self::Variants { ids, .. } => Some(format!("name one: --variant '{}'", ids.first()?)),
            _ => None,
        }
    }
}

/// A bundle that was found, but not opened yet: what is in it may be large.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Folder(PathBuf),
    Variant(Box<Variant>),
}

impl Found {
    pub(super) fn open(self, context: &Context) -> Result<Bundle, BundleError> {
        let (name, variant, opened) = match self {
            Self::Folder(path) => (path.display().to_string(), None, Package::open(&context.directory().join(&path))),
            Self::Variant(variant) => {
                let store = context.store();
                let files: Files = variant.files.iter().map(|file| (file.path.clone(), store.blob_path(&file.sha256))).collect();
                (variant.id.clone(), Some(*variant.clone()), Package::of_files(Path::new(&variant.id), &files))
            }
        };
        let package = opened.map_err(|source| BundleError::Open { bundle: name.clone(), source })?;
        let sound = mil::verify(package.program(), ops::find);
        sound.map_err(|source| BundleError::Unsound { bundle: name.clone(), source: Box::new(source) })?;
        Ok(Bundle { name, package, variant })
    }
}

/// The bundles that a subject names: the folder, or every variant with a program that one of the globs matches.
pub(super) fn find(context: &Context, subject: &BundleSubject, globs: &[String]) -> Result<Vec<Found>, Error> {
    let request = match subject {
        BundleSubject::Folder(path) => return Ok(vec![Found::Folder(path.clone())]),
        BundleSubject::Package(request) => request,
    };
    let release = publish::find_usable(context, request)?;
    let mut chosen: Vec<Variant> = release.variants.into_iter().filter(|variant| variant.kind == BundleKind::MlPackage).collect();
    if chosen.is_empty() {
        return Err(BundleError::NoPrograms { package: request.to_string() }.into());
    }
    let parsed: Vec<VariantGlob> = globs.iter().map(|glob| glob.parse()).collect::<Result<_, GlobError>>().map_err(BundleError::from)?;
    for (text, glob) in globs.iter().zip(&parsed) {
        if !chosen.iter().any(|variant| glob.is_match(&variant.id)) {
            let ids = chosen.iter().map(|variant| variant.id.as_str());
            let nearest = nearest(text, ids, 3).into_iter().map(str::to_owned).collect();
            return Err(BundleError::NoVariant { package: request.to_string(), glob: text.clone(), nearest }.into());
        }
    }
    let sources = release.sources;
    chosen.retain(|variant| parsed.is_empty() || parsed.iter().any(|glob| glob.is_match(&variant.id)));
    let components: BTreeSet<&str> = chosen.iter().map(|variant| variant.component.as_str()).collect();
    for warning in components.into_iter().filter_map(|component| sources.get(component)?.warning(component)) {
        context.progress().warning(&warning);
    }
    Ok(chosen.into_iter().map(|variant| Found::Variant(Box::new(variant))).collect())
}

/// The only bundle that a subject names.
pub(super) fn find_one(context: &Context, subject: &BundleSubject, glob: Option<&str>) -> Result<Bundle, Error> {
    let globs: Vec<String> = glob.map(str::to_owned).into_iter().collect();
    let mut found = find(context, subject, &globs)?;
    match (found.len(), subject) {
        (1, _) => Ok(found.remove(0).open(context)?),
        (_, BundleSubject::Package(request)) => {
            let id = |found: Found| match found {
                Found::Variant(variant) => variant.id,
                Found::Folder(path) => path.display().to_string(),
            };
            Err(BundleError::Variants { package: request.to_string(), ids: found.into_iter().map(id).collect() }.into())
        }
        (_, BundleSubject::Folder(_)) => unreachable!("a folder is one bundle"),
    }
}
