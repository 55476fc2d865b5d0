//! Why a program cannot be run, and where.

use super::{KernelError, SymbolMismatch};
use crate::recipe::SourceError;
use crate::{
    emit::coreml::PartLabel,
    mil::{DataType, InferError},
};

/// Why a program cannot be run. `function`, `index`, `name` and `op` say where.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// No such function.
    #[error("the program has no function `{0}`")]
    Function(String),
    /// An input that the function needs is not given.
    #[error("{function}: input `{name}` is missing: expected {expected}")]
    MissingInput {
        /// The function.
        function: String,
        /// The input.
        name: String,
        /// Its type.
        expected: String,
    },
    /// An optional input that is not given and has no default.
    #[error("{function}: input `{name}` is left out, it is optional but has no default: expected {expected}")]
    NoDefault {
        /// The function.
        function: String,
        /// The input.
        name: String,
        /// Its type.
        expected: String,
    },
    /// An optional input that is not given and cannot hold its default.
    #[error("{function}: input `{name}` is left out and cannot hold its default {default}: expected {expected}")]
    Default {
        /// The function.
        function: String,
        /// The input.
        name: String,
        /// Its default.
        default: String,
        /// Its type.
        expected: String,
    },
    /// An image where a part of a pipeline takes an array, or one of other colors, or the other way round.
    #[error("input `{name}` is {found}, expected {expected}")]
    Kind {
        /// The input or output.
        name: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// An image whose numbers cannot become pixels.
    #[error("image `{name}` cannot be used")]
    Image {
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: candle_core::Error,
    },
    /// Something in a part of a pipeline.
    #[error("{part}")]
    Part {
        /// The part.
        part: PartLabel,
        /// What is wrong.
        #[source]
        source: Box<Self>,
    },
    /// An input with another length than the call has for a symbol.
    #[error("{function}: input `{name}`: {mismatch}")]
    Symbol {
        /// The function.
        function: String,
        /// The input.
        name: String,
        /// The symbol and both lengths.
        mismatch: SymbolMismatch,
    },
    /// An input that the function does not have.
    #[error("{function}: there is no input `{name}`")]
    UnknownInput {
        /// The function.
        function: String,
        /// The input.
        name: String,
    },
    /// An input of another shape or kind of numbers.
    #[error("{function}: input `{name}` is {found}, expected {expected}")]
    Input {
        /// The function.
        function: String,
        /// The input.
        name: String,
        /// Its declared type.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An operator that cannot be run.
    #[error("{function}: operation #{index} `{name}`: there is no `{op}` to run")]
    UnknownOp {
        /// The function.
        function: String,
        /// Its place in the block.
        index: usize,
        /// The operation.
        name: String,
        /// The operator.
        op: String,
    },
    /// An operator that failed.
    #[error("{function}: operation #{index} `{name}` ({op})")]
    Operation {
        /// The function.
        function: String,
        /// Its place in the block.
        index: usize,
        /// The operation.
        name: String,
        /// The operator.
        op: String,
        /// Why.
        #[source]
        source: Box<OperationError>,
    },
    /// A result that is never computed.
    #[error("{function}: result `{name}` is never computed")]
    Result {
        /// The function.
        function: String,
        /// The value.
        name: String,
    },
}

/// Why one operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Its arguments do not fit the operator.
    #[error(transparent)]
    Arguments(#[from] InferError),
    /// It cannot be computed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It uses a value that was not computed before.
    #[error("`{0}` is used before it is defined")]
    Undefined(String),
    /// A result with another length than the call has for a symbol.
    #[error("`{name}`: {mismatch}")]
    Symbol {
        /// The result.
        name: String,
        /// The symbol and both lengths.
        mismatch: SymbolMismatch,
    },
    /// Blocks inside that do not fit the operator.
    #[error("expected {expected} nested blocks or inputs of one, found {found}")]
    Blocks {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A result that is too large to be computed.
    #[error("{ty} has more than {limit} elements")]
    Large {
        /// Its type.
        ty: String,
        /// The most elements.
        limit: u64,
    },
    /// More operations than a run may take.
    #[error("more than {limit} operations: a loop does not end")]
    Endless {
        /// The most operations.
        limit: u64,
    },
    /// Its result is not what the program declares.
    #[error("result `{name}` is {computed}, the program declares {declared}")]
    Declared {
        /// The result.
        name: String,
        /// The declared type.
        declared: String,
        /// The computed type.
        computed: String,
    },
    /// The bytes of a constant cannot be had.
    #[error("constant `{name}` cannot be read")]
    Source {
        /// The constant.
        name: String,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The bytes of a constant have another length than its type.
    #[error("constant `{name}` has {found} bytes, {ty} takes {expected}")]
    Length {
        /// The constant.
        name: String,
        /// Its type.
        ty: String,
        /// Expected number of bytes.
        expected: u64,
        /// Number of bytes found.
        found: u64,
    },
    /// A constant of an element type that cannot be computed with.
    #[error("constant `{name}` is {dtype}, which cannot be computed with")]
    DataType {
        /// The constant.
        name: String,
        /// The element type.
        dtype: DataType,
    },
}
