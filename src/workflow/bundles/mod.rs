//! Bundles that can be run: a folder, variants that a fetch has placed, or variants of a release in the store, which
//! are run from their blobs without being placed anywhere.

mod argument;
mod placed;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

pub use argument::{BundleArgument, Resolved, resolve};
use placed::PlacedBundles;
pub use placed::PlacedError;

use super::{Context, Error, PackageRequest, RequestError, releases};
use crate::{
    base::{PackageName, Target},
    contract::{LinearForm, Notes},
    emit::coreml::{Files, Package, PackageError},
    manifest::{
        Axis, GlobError, Precision, VariantGlob, nearest,
        release::{BundleKind, Release, Source, Variant},
    },
    mil::{self, VerifyError},
    ops,
};

/// What to run.
#[derive(Debug, Clone)]
pub enum BundleSubject {
    /// A `.mlpackage` folder.
    Folder(PathBuf),
    /// A folder in which a fetch has placed a package.
    Placed(PathBuf),
    /// A release of the store; the highest version that will do.
    Package(PackageRequest),
}

impl fmt::Display for BundleSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Placed(path) => write!(f, "{}", path.display()),
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

impl Bundle {
    /// What mlreg noted in its metadata.
    pub(super) fn notes(&self) -> Notes {
        Notes::of_metadata(&self.package.metadata().user_defined)
    }
}

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum BundleError {
    /// The bundle cannot be opened.
    #[error("cannot open the bundle `{bundle}`")]
    Open {
        bundle: String,
        #[source]
        source: PackageError,
    },
    /// Its program contradicts itself.
    #[error("the program of `{bundle}` is not sound")]
    Unsound {
        bundle: String,
        #[source]
        source: Box<VerifyError>,
    },
    /// A glob over variants.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A glob that leaves no variant.
    #[error("`{glob}` matches no variant of `{package}`")]
    NoVariant { package: String, glob: String, nearest: Vec<String> },
    /// Several variants that could be meant.
    #[error("`{package}` has {} variants that could be meant:{}", ids.len(), listed(ids))]
    Variants { package: String, ids: Vec<String> },
    /// A compiled bundle.
    #[error("`{}` is compiled, and only .mlpackage bundles can be run", path.display())]
    Compiled { path: PathBuf },
    /// No package of that name.
    #[error("the store has no package `{package}`")]
    NoPackage { package: PackageName, nearest: Vec<String>, folder: bool },
    /// A text that can be no package.
    #[error("`{text}` is no name of a package")]
    NoName {
        text: String,
        #[source]
        source: RequestError,
        folder: bool,
    },
    /// A placed folder.
    #[error(transparent)]
    Placed(#[from] PlacedError),
    /// Nothing in it is a program.
    #[error("`{package}` has no variant that can be run: only .mlpackage bundles can")]
    NoPrograms { package: String },
}

/// Ids, each in a line of its own.
fn listed(ids: &[String]) -> String {
    const MOST: usize = 12;
    let mut text: String = ids.iter().take(MOST).map(|id| format!("\n{id}")).collect();
    if ids.len() > MOST {
        text += &format!("\n... and {} more", ids.len() - MOST);
    }
    text
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
            Self::Compiled { .. } => Some("run the .mlpackage that it was compiled from".to_owned()),
            Self::NoPackage { package, folder: true, .. } => {
                Some(format!("the folder is meant by its path, `./{package}`"))
            }
            Self::NoName { text, folder: true, .. } => Some(format!("the folder is meant by its path, `./{text}`")),
            Self::NoPackage { nearest, .. } if !nearest.is_empty() => {
                let names: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
                Some(format!("did you mean {}?", names.join(" or ")))
            }
            Self::NoPackage { .. } => {
                Some("`mlreg list` shows the packages of the store; a bundle is meant by its path".to_owned())
            }
            Self::Placed(error) => error.hint(),
            _ => None,
        }
    }
}

/// A bundle that was found, but not opened yet: what is in it may be large.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Folder(PathBuf),
    Variant(Box<Variant>),
    /// A bundle of a placed folder: its name there, and where its files lie.
    Placed {
        name: String,
        variant: Box<Variant>,
        files: Box<Files>,
    },
}

impl Found {
    pub(super) fn open(self, context: &Context) -> Result<Bundle, BundleError> {
        let (name, variant, opened) = match self {
            Self::Folder(path) => (path.display().to_string(), None, Package::open(&context.directory().join(&path))),
            Self::Variant(variant) => {
                let files = blobs(context, &variant);
                (variant.id.clone(), Some(*variant.clone()), Package::of_files(Path::new(&variant.id), &files))
            }
            Self::Placed { name, variant, files } => {
                (name.clone(), Some(*variant), Package::of_files(Path::new(&name), &files))
            }
        };
        let package = opened.map_err(|source| BundleError::Open { bundle: name.clone(), source })?;
        for (place, program) in package.model().programs() {
            let bundle = || if place.is_empty() { name.clone() } else { format!("{name}, {place}") };
            mil::verify(program, ops::find)
                .map_err(|source| BundleError::Unsound { bundle: bundle(), source: Box::new(source) })?;
        }
        Ok(Bundle { name, package, variant })
    }

    /// The variant, where it is known.
    pub(super) fn variant(&self) -> Option<&Variant> {
        match self {
            Self::Folder(_) => None,
            Self::Variant(variant) | Self::Placed { variant, .. } => Some(variant),
        }
    }

    /// Where its files lie; `None` for a folder, which has them in itself.
    pub(super) fn files(&self, context: &Context) -> Option<Files> {
        match self {
            Self::Folder(_) => None,
            Self::Variant(variant) => Some(blobs(context, variant)),
            Self::Placed { files, .. } => Some((**files).clone()),
        }
    }

    /// As a person would name it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Variant(variant) => variant.id.clone(),
            Self::Placed { name, .. } => name.clone(),
        }
    }

    fn is_match(&self, glob: &VariantGlob) -> bool {
        self.names().iter().any(|name| glob.is_match(name))
    }

    /// The names that a glob may match: its id, and what its folder is called, with and without extension.
    fn names(&self) -> Vec<String> {
        let own = self.name();
        let path = Path::new(&own);
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let folder = matches!(self, Self::Placed { .. }).then(|| [text(path.file_name()), text(path.file_stem())]);
        let id = self.variant().map(|variant| variant.id.clone());
        folder.into_iter().flatten().chain([Some(own.clone()), id]).flatten().collect()
    }
}

/// Where the files of a variant lie in the store.
fn blobs(context: &Context, variant: &Variant) -> Files {
    variant.files.iter().map(|file| (file.path.clone(), context.store().blob_path(&file.sha256))).collect()
}

/// Plain files of a package.
#[derive(Debug, Clone)]
pub(super) struct PlainFiles {
    pub(super) files: Files,
}

/// What a subject consists of, looked up once.
pub(super) struct Contents<'a> {
    context: &'a Context,
    subject: &'a BundleSubject,
    /// The release, where the subject is a package of the store.
    release: Option<Release>,
}

impl<'a> Contents<'a> {
    /// Looks a subject up; of a package, reads its release.
    ///
    /// # Errors
    /// When the store has no such release.
    pub(super) fn of(context: &'a Context, subject: &'a BundleSubject) -> Result<Self, Error> {
        let release = match subject {
            BundleSubject::Package(request) => Some(releases::find(context, request)?.release),
            BundleSubject::Folder(_) | BundleSubject::Placed(_) => None,
        };
        Ok(Self { context, subject, release })
    }

    pub(super) fn context(&self) -> &'a Context {
        self.context
    }

    /// Its plain files, a group for each component. A bundle in a placed folder has those of the folder.
    ///
    /// # Errors
    /// When the proof of a placed folder cannot be read.
    pub(super) fn plain_files(&self) -> Result<Vec<PlainFiles>, Error> {
        let folder = match self.subject {
            BundleSubject::Folder(path) => {
                let path = self.context.directory().join(path);
                path.parent().filter(|folder| crate::fetch::is_placed(folder)).map(Path::to_owned)
            }
            BundleSubject::Placed(path) => Some(self.context.directory().join(path)),
            BundleSubject::Package(_) => None,
        };
        let variants = self.release.iter().flat_map(|release| &release.variants);
        let plain = variants.filter(|variant| variant.kind == BundleKind::Files);
        let stored = plain.map(|variant| PlainFiles { files: blobs(self.context, variant) });
        let placed = folder.as_deref().map(placed::plain_files).transpose().map_err(BundleError::from)?;
        Ok(placed.into_iter().flatten().chain(stored).collect())
    }

    /// Its bundles with a program: those that one of the globs matches, or all where there are no globs.
    ///
    /// # Errors
    /// When there are no programs, or a glob matches none.
    pub(super) fn programs(&self, globs: &[String]) -> Result<Vec<Found>, Error> {
        let (programs, sources) = match self.subject {
            BundleSubject::Folder(path) => return Ok(vec![at(self.context, path)]),
            BundleSubject::Placed(path) => {
                let PlacedBundles { bundles, sources } =
                    placed::bundles(self.context, path).map_err(BundleError::from)?;
                (bundles, sources)
            }
            BundleSubject::Package(_) => self.stored_programs(),
        };
        let chosen = self.matching(programs, globs)?;
        self.warn(&chosen, &sources);
        Ok(chosen)
    }

    fn stored_programs(&self) -> (Vec<Found>, BTreeMap<String, Source>) {
        let variants = self.release.iter().flat_map(|release| &release.variants);
        let programs = variants.filter(|variant| variant.kind == BundleKind::MlPackage);
        let found = programs.map(|variant| Found::Variant(Box::new(variant.clone()))).collect();
        (found, self.release.as_ref().map(|release| release.sources.clone()).unwrap_or_default())
    }

    fn matching(&self, mut programs: Vec<Found>, globs: &[String]) -> Result<Vec<Found>, Error> {
        let package = || self.subject.to_string();
        if programs.is_empty() {
            return Err(BundleError::NoPrograms { package: package() }.into());
        }
        let parsed: Vec<VariantGlob> =
            globs.iter().map(|glob| glob.parse()).collect::<Result<_, GlobError>>().map_err(BundleError::from)?;
        for (text, glob) in globs.iter().zip(&parsed) {
            if !programs.iter().any(|found| found.is_match(glob)) {
                let names: Vec<String> = programs.iter().map(Found::name).collect();
                let nearest =
                    nearest(text, names.iter().map(String::as_str), 3).into_iter().map(str::to_owned).collect();
                return Err(BundleError::NoVariant { package: package(), glob: text.clone(), nearest }.into());
            }
        }
        programs.retain(|found| parsed.is_empty() || parsed.iter().any(|glob| found.is_match(glob)));
        Ok(programs)
    }

    /// Warns of components whose results mean nothing.
    fn warn(&self, chosen: &[Found], sources: &BTreeMap<String, Source>) {
        let components: BTreeSet<&str> =
            chosen.iter().filter_map(Found::variant).map(|variant| variant.component.as_str()).collect();
        for warning in components.into_iter().filter_map(|component| sources.get(component)?.warning(component)) {
            self.context.progress().warning(&warning);
        }
    }
}

/// The bundle of a folder. Of one in a placed folder the weight files may lie beside it.
pub(super) fn at(context: &Context, path: &Path) -> Found {
    placed::lifted(context, path).unwrap_or_else(|| Found::Folder(path.to_owned()))
}

/// The bundles that a subject names: the folder, or every variant with a program that one of the globs matches.
pub(super) fn find(context: &Context, subject: &BundleSubject, globs: &[String]) -> Result<Vec<Found>, Error> {
    Contents::of(context, subject)?.programs(globs)
}

/// What of a variant is a matter of how its numbers were made; bundles that differ in nothing else do the same.
const MAKING: [Axis; 3] = [Axis::Linear, Axis::Precision, Axis::Compress];

/// Where a bundle stands among those that do the same: float32 comes before float16 (which is no faster here), `linear`
/// before `conv`, later targets before earlier ones.
pub(super) fn preference(variant: Option<&Variant>) -> (bool, bool, Reverse<Option<Target>>) {
    let is = |axis: Axis, value: &str| {
        variant.and_then(|variant| variant.axes.get(axis.label())).is_some_and(|found| found == value)
    };
    (
        !is(Axis::Precision, Precision::Float32.name()),
        is(Axis::Linear, LinearForm::Conv.name()),
        Reverse(variant.and_then(|variant| variant.target)),
    )
}

/// The bundle that a subject names, opened: of several that do the same the preferred one, with the names of the
/// others.
pub(super) fn find_preferred(
    context: &Context,
    subject: &BundleSubject,
    glob: Option<&str>,
) -> Result<(Bundle, Vec<String>), Error> {
    let mut found = find_matching(context, subject, glob)?;
    let role = |found: &Found| {
        let variant = found.variant()?;
        let axes = variant.axes.iter().filter(|(axis, _)| !MAKING.iter().any(|making| making.label() == *axis));
        Some((variant.component.clone(), axes.map(|(axis, value)| (axis.clone(), value.clone())).collect::<Vec<_>>()))
    };
    let first = found.first().and_then(role);
    if first.is_none() || found.iter().any(|other| role(other) != first) {
        return Ok((only(subject, found)?.open(context)?, Vec::new()));
    }
    found.sort_by_key(|found| preference(found.variant()));
    let chosen = found.remove(0);
    Ok((chosen.open(context)?, found.iter().map(Found::name).collect()))
}

/// The bundles that a subject names, of which a glob may leave some.
pub(super) fn find_matching(
    context: &Context,
    subject: &BundleSubject,
    glob: Option<&str>,
) -> Result<Vec<Found>, Error> {
    let globs: Vec<String> = glob.map(str::to_owned).into_iter().collect();
    find(context, subject, &globs)
}

/// The only bundle of those that were found.
pub(super) fn only(subject: &BundleSubject, mut found: Vec<Found>) -> Result<Found, Error> {
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    Err(BundleError::Variants { package: subject.to_string(), ids: found.iter().map(Found::name).collect() }.into())
}
