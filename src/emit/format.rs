//! Bundle formats: each plans the weight files of a component and writes a program as one bundle.

use std::{collections::BTreeMap, error::Error, fmt};

use super::{WeightPlan, coreml::CoreMlError};
use crate::{
    base::{RelativePath, Target},
    contract::Interface,
    manifest::Format,
    mil::{Constant, OperatorSet, Program, Registry, VerifyError},
};

/// A format of bundles.
///
/// Weight files are planned first, from the constants of a component alone, so that variants of every shape and target
/// name the same files.
pub trait BundleFormat: fmt::Debug + Sync {
    /// The value of the manifest's axis `format`.
    fn format(&self) -> Format;

    /// The format in messages, with its article, e.g. `a Core ML package`.
    fn noun(&self) -> &'static str;

    /// The operators that a program of this format may hold, chosen from `registry`; `None` where the format needs a
    /// target and has none.
    fn operators(&self, target: Option<Target>, registry: Registry) -> Option<OperatorSet>;

    /// Assigns every constant to a range of a weight file, or leaves it to the programs. Constants in `shared` get
    /// files of their own, which are equal for all components that share them.
    ///
    /// # Errors
    /// For constants that the format cannot store.
    fn plan_weights(&self, constants: &[Constant], shared: &[Constant]) -> Result<WeightPlan, FormatError>;

    /// Encodes a program, decodes the result and verifies what was decoded.
    ///
    /// # Errors
    /// For programs that the format cannot express, and for results that do not verify.
    fn write(&self, source: &BundleSource<'_>) -> Result<WrittenBundle, WriteError>;
}

/// What a bundle is written from.
#[derive(Debug, Clone, Copy)]
pub struct BundleSource<'a> {
    /// The verified program.
    pub program: &'a Program,
    /// Texts for people.
    pub texts: &'a ModelTexts,
    /// The places of the program's constants.
    pub weights: &'a WeightPlan,
    /// The declarations of operators, to verify what was written.
    pub registry: Registry,
}

/// Texts about a model, which viewers such as Xcode show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelTexts {
    /// Author.
    pub author: String,
    /// Licence.
    pub license: String,
    /// Version of the package.
    pub version: String,
    /// One sentence about the model.
    pub description: String,
    /// Notes by key, e.g. `dev.mlreg.chunk`.
    pub notes: BTreeMap<String, String>,
    /// Descriptions of inputs, outputs and states, by function and name.
    pub features: BTreeMap<String, BTreeMap<String, String>>,
}

/// A bundle whose weight files may not exist yet.
#[derive(Debug)]
pub struct WrittenBundle {
    /// The program as it was read back from the bundle.
    pub program: Program,
    /// The interface of that program, as releases record it.
    pub interface: Interface,
    /// Files, or what they are compiled from.
    pub contents: BundleContents,
}

/// The files of a bundle.
#[derive(Debug)]
pub enum BundleContents {
    /// Files, sorted by path.
    Files(Vec<BundleFile>),
    /// Files of a compiled model, sorted by path.
    Compiled {
        /// The compiler, as releases name it.
        compiler: &'static str,
        /// The files.
        files: Vec<BundleFile>,
    },
    /// A Core ML package that only Apple's compiler can compile.
    NeedsAppleCompiler {
        /// Files of the package.
        package: Vec<BundleFile>,
        /// Why mlreg's own compiler refuses it.
        refusal: CoreMlError,
    },
}

/// A file of a bundle: its path, and where its bytes come from.
pub type BundleFile = (RelativePath, FileSource);

/// The source of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// The weight file of this name in the plan.
    WeightFile(String),
}

impl BundleContents {
    /// The files that are known before a compiler runs.
    pub fn files(&self) -> &[BundleFile] {
        match self {
            Self::Files(files) | Self::Compiled { files, .. } | Self::NeedsAppleCompiler { package: files, .. } => {
                files
            }
        }
    }
}

/// The error of one format, and the next step for the user.
#[derive(Debug)]
pub struct FormatError {
    source: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl FormatError {
    /// An error of a format.
    pub fn new(source: impl Error + Send + Sync + 'static, hint: Option<String>) -> Self {
        Self { source: Box::new(source), hint }
    }

    /// The next step for the user.
    pub fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for FormatError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Why a program was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The format cannot express the program.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The program that was read back does not verify.
    #[error(transparent)]
    Unsound(Box<VerifyError>),
}
