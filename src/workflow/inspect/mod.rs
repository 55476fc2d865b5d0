//! `inspect`: what a bundle or checkpoint says about itself, without loading it anywhere: interface, operations,
//! weights, texts.
//!
//! Looks at a folder or file of this machine, or a variant of a package, and changes nothing. What cannot be read of a
//! model that is otherwise sound becomes a problem in the report, not an error.

mod bundle;
mod checkpoint;
mod memory;
mod needs;
mod rules;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use bundle::{BundleReport, OperationCount, PartReport, Texts, WeightFile, WeightTotal};
pub use checkpoint::{CheckpointFile, CheckpointReport, CheckpointTensor};
pub use memory::{Activations, Extent, FunctionMemory, WeightMemory};
pub use needs::{Need, Needs, OperationPlace};
pub use rules::Warning;

use super::{
    Context, Error, ErrorKind,
    bundles::{self, BundleSubject, Found},
};
use crate::{
    base::{RelativePath, Target},
    checkpoint::CheckpointError,
    contract::Interface,
    emit::coreml::CoreMlError,
    mil::Program,
};

/// What to look at.
#[derive(Debug, Clone)]
pub struct InspectOptions {
    /// A bundle or checkpoint (a folder or file), a placed folder, or a package of the store.
    pub subject: BundleSubject,
    /// Of a package: a glob that leaves one variant.
    pub variant: Option<String>,
    /// Whether the program's text is wanted.
    pub program: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "subject", rename_all = "kebab-case")]
pub enum InspectReport {
    /// A tree that a framework loads.
    Bundle(Box<BundleReport>),
    /// Tensors to convert.
    Checkpoint(Box<CheckpointReport>),
    /// A package of several bundles, of which none was named.
    Package(PackageListing),
}

/// The bundles of a package.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackageListing {
    /// The package, or the placed folder.
    pub package: String,
    /// Its bundles with a program.
    pub bundles: Vec<ListedBundle>,
}

/// A bundle of a package.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedBundle {
    /// The variant's id, or where it lies.
    pub bundle: String,
    /// Lowest OS that may load it, where it is known.
    pub target: Option<Target>,
    /// Bytes of its files.
    pub bytes: u64,
    /// What it takes and gives, where it is known.
    pub interface: Option<Interface>,
}

/// Why something cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file or folder that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Neither a bundle nor a checkpoint.
    #[error("`{}` is neither a bundle (.mlpackage, .mlmodelc, .mlmodel) nor a checkpoint", path.display())]
    Unknown {
        /// The file or folder.
        path: PathBuf,
    },
    /// A bundle that contradicts the format.
    #[error("cannot read the model `{}`", path.display())]
    Model {
        /// The file in it, or the bundle.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: CoreMlError,
    },
    /// A checkpoint that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A variant of what has none.
    #[error("`{}` is one bundle or checkpoint, without variants", path.display())]
    NoVariants {
        /// The bundle or checkpoint.
        path: PathBuf,
    },
    /// A program of a model that has none.
    #[error("`{}` has no program that can be printed: {why}", path.display())]
    NoProgram {
        /// The bundle.
        path: PathBuf,
        /// Why not.
        why: NoProgram,
    },
}

/// Why a bundle has no program that can be printed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProgram {
    /// Compiled models keep it in a private form.
    #[error("it is compiled")]
    Compiled,
    /// Tensors alone.
    #[error("it is a checkpoint")]
    Checkpoint,
    /// Another type of model.
    #[error("it is of the type `{0}`")]
    Type(String),
}

impl InspectError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model { source, .. } => source.hint(),
            Self::Checkpoint(CheckpointError::Ambiguous { path, candidates }) => {
                Some(format!("name one of them, e.g. `mlreg inspect {}`", path.join(candidates.first()?).display()))
            }
            Self::Checkpoint(error) => error.hint(),
            Self::NoVariants { .. } => Some("leave out --variant".to_owned()),
            Self::NoProgram { why: NoProgram::Compiled, .. } => {
                Some("inspect the .mlpackage that it was compiled from".to_owned())
            }
            _ => None,
        }
    }

    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// Inspects a bundle or checkpoint.
///
/// # Errors
/// When it cannot be read, or is something else.
pub fn inspect(context: &Context, options: &InspectOptions) -> Result<InspectReport, Error> {
    let path = match &options.subject {
        BundleSubject::Folder(path) if options.variant.is_some() => {
            return Err(InspectError::NoVariants { path: path.clone() }.into());
        }
        BundleSubject::Folder(path) => match bundles::at(context, path).files(context) {
            Some(files) => {
                return Ok(InspectReport::Bundle(Box::new(bundle::inspect_files(path, &files, options.program)?)));
            }
            None => context.directory().join(path),
        },
        subject => {
            let found = match bundles::find_matching(context, subject, options.variant.as_deref())? {
                found if found.len() > 1 && !options.program => {
                    return Ok(InspectReport::Package(listing(context, subject, &found)));
                }
                found => bundles::only(subject, found)?,
            };
            let (name, files) = (PathBuf::from(found.name()), found.files(context).unwrap_or_default());
            return Ok(InspectReport::Bundle(Box::new(bundle::inspect_files(&name, &files, options.program)?)));
        }
    };
    if let Some(report) = bundle::inspect(&path, options.program)? {
        return Ok(InspectReport::Bundle(Box::new(report)));
    }
    let Some(report) = checkpoint::inspect(&path)? else { return Err(InspectError::Unknown { path }.into()) };
    if options.program {
        return Err(InspectError::NoProgram { path, why: NoProgram::Checkpoint }.into());
    }
    Ok(InspectReport::Checkpoint(Box::new(report)))
}

/// A warning about a program that is being built, and what a manifest can say against it.
#[derive(Debug, Clone)]
pub(super) struct DraftWarning {
    pub(super) rule: &'static str,
    pub(super) text: String,
    pub(super) advice: Option<&'static str>,
}

/// What the rules find in a program whose weight files, of these lengths, are not written yet; one finding of each
/// rule.
pub(super) fn draft_warnings(
    program: &Program,
    interface: &Interface,
    weights: &[(RelativePath, u64)],
    halves: bool,
) -> Vec<DraftWarning> {
    let mut found: Vec<DraftWarning> = Vec::new();
    for Warning { rule, text, .. } in bundle::draft_warnings(program, interface, weights) {
        if !found.iter().any(|other| other.rule == rule) {
            found.push(DraftWarning { rule, text, advice: rules::advice(rule, halves) });
        }
    }
    found
}

fn listing(context: &Context, subject: &BundleSubject, found: &[Found]) -> PackageListing {
    let listed = |found: &Found| {
        let sizes = found
            .files(context)
            .unwrap_or_default()
            .into_values()
            .filter_map(|file| Some(std::fs::metadata(file).ok()?.len()));
        ListedBundle {
            bundle: found.name(),
            target: found.variant().and_then(|variant| variant.target),
            bytes: sizes.fold(0, u64::saturating_add),
            interface: found.variant().and_then(|variant| variant.interface.clone()),
        }
    };
    PackageListing { package: subject.to_string(), bundles: found.iter().map(listed).collect() }
}

/// Counts by name.
type Counts = BTreeMap<String, u64>;

#[cfg(test)]
mod tests;
