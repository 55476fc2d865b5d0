//! Errors of Core ML bundles, and their locations.

use std::fmt;

use super::{BlobError, PartLabel};
use crate::{
    base::{PathError, Target},
    emit::FormatError,
    mil::{DataType, Symbol},
};

const LFS_HINT: &str = "run `git lfs pull` in the repository that the bundle came from";

/// An error of writing or reading a Core ML bundle.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum CoreMlError {
    /// A malformed `Manifest.json`.
    #[error("`Manifest.json` is not a package manifest")]
    Manifest(#[source] serde_json::Error),
    /// A manifest of a newer version.
    #[error("`Manifest.json` has the format version `{found}`: expected at most `1.0.0`")]
    FormatVersion { found: String },
    /// An item with an unsafe path.
    #[error("`Manifest.json`: item `{item}`")]
    ItemPath {
        item: String,
        #[source]
        source: PathError,
    },
    /// Two items that cannot be told apart.
    #[error("`Manifest.json` has two items named `{name}` by `{author}`")]
    RepeatedItem { name: String, author: String },
    /// A root that is not there.
    #[error("`Manifest.json`: the root `{identifier}` is not an item")]
    RootItem { identifier: String },
    /// A weight file outside the bundle, or with a name that is no file name.
    #[error("`{file}` does not name a weight file of the bundle")]
    WeightPath { file: String },
    /// A Git LFS pointer in place of the real file.
    #[error("{what} is a Git LFS pointer: its real bytes were never downloaded")]
    LfsPointer { what: &'static str },
    /// Bytes that are no `Model` message.
    #[error("{what} cannot be read as protobuf")]
    Protobuf {
        what: &'static str,
        #[source]
        source: prost::DecodeError,
    },
    /// A program that is too large to be one.
    #[error("the program has {length} bytes without its weights: expected at most {limit}")]
    Oversized { length: usize, limit: usize },
    /// A model of another type.
    #[error("the model is of the type `{found}`: expected an ML Program")]
    ModelType { found: &'static str },
    /// A model of a type that is not compiled.
    #[error("a model of the type `{found}` cannot be compiled: only ML Programs can")]
    NotCompiled { found: String },
    /// A pipeline without parts, or with more than are read.
    #[error("the pipeline has {found} parts: expected 1 to {limit}")]
    Parts { found: usize, limit: usize },
    /// Something in a part of a pipeline.
    #[error("{part}")]
    Part {
        part: PartLabel,
        #[source]
        source: Box<Self>,
    },
    /// A part of a pipeline that is no program.
    #[error("{} is of the type {found}: expected an ML Program", .part.subject())]
    PartType { part: PartLabel, found: String },
    /// A part of a pipeline that takes what nothing gives.
    #[error("{} takes `{name}`, which is no input of the pipeline and no output of a part before it", .part.subject())]
    PartInput { part: PartLabel, name: String },
    /// A result of a pipeline that nothing gives.
    #[error("the pipeline gives `{name}`, which no part gives")]
    PipelineOutput { name: String },
    /// Pipelines in pipelines in pipelines.
    #[error("pipelines are nested more than {limit} deep")]
    Nesting { limit: usize },
    /// A specification version that no known OS has.
    #[error("unknown Core ML specification version {version}")]
    SpecificationVersion { version: i32 },
    /// A target without Core ML opset.
    #[error("no Core ML opset is known for {target}")]
    NoOpset { target: Target },
    /// `metadata.json` is not what `coremlc` writes.
    #[error("`metadata.json` does not describe a compiled model")]
    CompiledMetadata(#[source] serde_json::Error),
    /// A compiled model that says nothing about itself.
    #[error("the compiled model has neither a readable `coremldata.bin` nor a `metadata.json`")]
    CompiledSilent,
    /// A program that the compiler gave up on.
    #[error("the program cannot be compiled without Apple's tools")]
    Compiler(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something in the program or its description.
    #[error(transparent)]
    Program(Box<ProgramError>),
}

impl From<CoreMlError> for FormatError {
    fn from(error: CoreMlError) -> Self {
        let hint = error.hint();
        Self::new(error, hint)
    }
}

impl CoreMlError {
    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::LfsPointer { .. } => Some(LFS_HINT.to_owned()),
            Self::NoOpset { .. } | Self::SpecificationVersion { .. } | Self::FormatVersion { .. } => {
                Some("a newer mlreg may know it".to_owned())
            }
            Self::Program(error) => error.problem.hint(),
            Self::Part { source, .. } => source.hint(),
            Self::PartType { .. } => {
                Some("only pipelines of ML Programs are run; `mlreg inspect` shows all parts".to_owned())
            }
            _ => None,
        }
    }
}

/// A problem and its place.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ProgramError {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// A place in a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The function; empty for the program itself.
    pub function: String,
    /// Index in its block, operator and name of the operation.
    pub operation: Option<(usize, String, String)>,
    /// Argument, attribute, result or feature.
    pub item: Option<String>,
}

impl Place {
    pub(super) fn program() -> Self {
        Self::default()
    }

    pub(super) fn function(name: &str) -> Self {
        Self { function: name.to_owned(), ..Self::default() }
    }

    pub(super) fn operation(&self, index: usize, kind: &str, name: &str) -> Self {
        Self { operation: Some((index, kind.to_owned(), name.to_owned())), item: None, ..self.clone() }
    }

    pub(super) fn item(&self, name: &str) -> Self {
        Self { item: Some(name.to_owned()), ..self.clone() }
    }

    pub(super) fn error(&self, problem: Problem) -> CoreMlError {
        CoreMlError::Program(Box::new(ProgramError { place: self.clone(), problem }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function.as_str() {
            "" => f.write_str("program")?,
            name => write!(f, "function `{name}`")?,
        }
        if let Some((index, kind, name)) = &self.operation {
            write!(f, ", operation #{index} `{name}` ({kind})")?;
        }
        self.item.as_ref().map_or(Ok(()), |item| write!(f, ", `{item}`"))
    }
}

/// What can be wrong at a place of a program.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Problem {
    /// A number that stands for no element type.
    #[error("unknown element type {0}")]
    DataType(i32),
    /// A part of the message that has to be there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Another kind of thing than allowed.
    #[error("expected {expected}, found {found}")]
    Kind { expected: String, found: String },
    /// A rank that is not the number of dimensions.
    #[error("the type has rank {rank} and {dimensions} dimensions")]
    Rank { rank: i64, dimensions: usize },
    /// Values that do not fill their type.
    #[error("{found} do not make a constant of type {declared}")]
    Values { declared: String, found: String },
    /// A weight file that cannot be read.
    #[error("weight file `{file}`: {source}")]
    Weights {
        file: String,
        #[source]
        source: BlobError,
    },
    /// A weight record of another type or size than the constant.
    #[error("the record at {offset} of `{file}` holds {found}, the program declares {declared}")]
    Record { file: String, offset: u64, declared: String, found: String },
    /// A name that is not defined where it is used.
    #[error("`{0}` is not defined before it is used")]
    Undefined(String),
    /// A name that is defined twice.
    #[error("`{0}` is defined twice")]
    Repeated(String),
    /// A function without the block that its opset asks for.
    #[error("there is no block for the opset `{0}`")]
    NoBlock(String),
    /// An opset that no target has.
    #[error("unknown opset `{0}`")]
    Opset(String),
    /// More dimensions than Core ML takes.
    #[error("`{name}` is {ty}: Core ML has at most 5 dimensions")]
    Dimensions { name: String, ty: String },
    /// Something that comes with a later target.
    #[error("{what} needs {since}, the program is for {target}")]
    Since { what: String, since: Target, target: Target },
    /// A constant that must lie in a weight file, which no one planned.
    #[error("a constant of type {ty} is in no weight file and its values do not stand in the program")]
    Unplaced { ty: String },
    /// An element type that weight files do not hold.
    #[error("a constant of type {0} has to stand in the program: weight files do not hold it")]
    NotInFile(DataType),
    /// A constant in place where Core ML's own writer has none.
    #[error("a constant stands in place: bind the result of a `const` operation instead")]
    Inline,
    /// A `constexpr_*` with inputs before iOS18.
    #[error("before iOS18 the parameters of `constexpr_*` operations are attributes, not inputs")]
    ConstexprInput,
    /// A value that Core ML cannot pass in or out.
    #[error("{0} cannot be an input or output: only float32, int32, and with the target float16 and int8 can")]
    Feature(String),
    /// A flexible input whose bounds nobody gave.
    #[error("the input is {0}: its flexible dimensions need bounds or an enumeration in the description")]
    Unbounded(String),
    /// A dimension that Core ML cannot express.
    #[error("the dimension `{0}` is symbolic: Core ML has fixed and unknown dimensions alone")]
    Symbol(Symbol),
    /// A description that contradicts the program.
    #[error("described as {described}, the program has {ty}")]
    Description { described: String, ty: String },
    /// Something that only Apple's compiler can compile.
    #[error("{0} cannot be compiled without Apple's tools")]
    AppleOnly(String),
    /// A program whose default function is not there or not named.
    #[error("the default function is not one of the program's functions")]
    DefaultFunction,
}

impl Problem {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Since { since, .. } => Some(format!("build it for {since} or later")),
            Self::Weights { source: BlobError::LfsPointer, .. } => Some(LFS_HINT.to_owned()),
            _ => None,
        }
    }
}
