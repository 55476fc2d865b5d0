//! What can go wrong when a bundle is run.

use std::path::PathBuf;

use crate::{
    eval::{EvalError, golden::Misfit},
    tensors::TensorFileError,
};

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No such function.
    #[error("`{bundle}` has no function `{function}`: expected one of {}", known.join(", "))]
    Function {
        /// The bundle.
        bundle: String,
        /// What was asked for.
        function: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A tensor file.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A tensor that two files hold.
    #[error("`{name}` is given twice, the second time in `{}`", path.display())]
    Repeated {
        /// The tensor.
        name: String,
        /// The second file.
        path: PathBuf,
    },
    /// Inputs that are missing or do not fit.
    #[error("the inputs do not fit `{bundle}`")]
    Inputs {
        /// The bundle.
        bundle: String,
        /// Why.
        #[source]
        source: Misfit,
    },
    /// A file of one tensor for several results.
    #[error("`{}` holds one tensor, the bundle gives {}", path.display(), outputs.join(", "))]
    Single {
        /// The file.
        path: PathBuf,
        /// The results.
        outputs: Vec<String>,
    },
    /// A tensor that cannot be looked at.
    #[error("cannot use `{name}`")]
    Result {
        /// The tensor.
        name: String,
        /// Why.
        #[source]
        source: candle_core::Error,
    },
    /// An operation cannot be run.
    #[error("cannot run `{bundle}`")]
    Run {
        /// The bundle.
        bundle: String,
        /// Why, and where.
        #[source]
        source: EvalError,
    },
}

impl RunError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Inputs { source, .. } => source.hint(),
            Self::Single { path, outputs } => {
                let name = format!("{}.{}", outputs.first()?, path.extension()?.to_string_lossy());
                Some(format!("name the file after the one that is wanted, e.g. `{name}`, or write a .safetensors file"))
            }
            _ => None,
        }
    }
}
