//! Why a recipe cannot be evaluated.

use std::{fmt, io};

use crate::{
    checkpoint::CheckpointError,
    types::{DataType, TensorType},
};

/// Why a recipe cannot be evaluated.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ConvertError {
    /// A tensor cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The bytes cannot be written.
    #[error("cannot write converted weights")]
    Write(#[source] io::Error),
    /// A number that the element type cannot hold.
    #[error("{tensor} gives {value} at index {index}, which {dtype} cannot hold")]
    Overflow {
        /// Where the number comes from.
        tensor: Origin,
        value: f64,
        /// Its index in the tensor, row-major.
        index: u64,
        dtype: DataType,
    },
    /// A stored number that is NaN or infinite.
    #[error("tensor `{tensor}` holds {value} at index {index}, expected finite numbers")]
    NotFinite {
        tensor: String,
        /// NaN or an infinity.
        value: f64,
        /// Its index in the tensor, row-major.
        index: u64,
    },
    /// A stored tensor whose element type or shape differs from the recipe's.
    #[error("tensor `{tensor}` is {found}, the recipe expects {expected}")]
    Type {
        tensor: String,
        /// Its type in the recipe.
        expected: TensorType,
        /// Its type in the checkpoint.
        found: TensorType,
    },
    /// A step that is not defined for the element type.
    #[error("{dtype} cannot be {step}")]
    Unsupported {
        dtype: DataType,
        /// The step, as a participle: `cast`, `sliced`.
        step: &'static str,
    },
}

impl ConvertError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Overflow { dtype: DataType::Float16, .. } => {
                Some("use precision = \"float32\" for this component".to_owned())
            }
            Self::NotFinite { .. } => Some("the checkpoint is damaged, or training diverged".to_owned()),
            _ => None,
        }
    }
}

/// Where a number of a recipe comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A tensor of the checkpoint.
    Tensor(String),
    /// Values that stand in the recipe.
    Literal,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(name) => write!(f, "tensor `{name}`"),
            Self::Literal => f.write_str("a constant"),
        }
    }
}
