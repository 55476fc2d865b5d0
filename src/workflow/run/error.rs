//! What can go wrong when a bundle is run.

use std::path::PathBuf;

use crate::{
    eval::{EvalError, golden::Misfit},
    tensors::{TensorFileError, ValueRange},
};

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum RunError {
    /// No such function.
    #[error("`{bundle}` has no function `{function}`: expected one of {}", known.join(", "))]
    Function { bundle: String, function: String, known: Vec<String> },
    /// A tensor file.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A tensor that two files hold.
    #[error("`{name}` is given twice, the second time in `{}`", path.display())]
    Repeated { name: String, path: PathBuf },
    /// Inputs that are missing or do not fit.
    #[error("the inputs do not fit `{bundle}`")]
    Inputs {
        bundle: String,
        #[source]
        source: Misfit,
    },
    /// A picture of a size that an input or output does not have.
    #[error("`{}` has {found} pixels, `{name}` {} {expected}", path.display(), if *.is_input { "takes" } else { "has" })]
    PictureSize { path: PathBuf, name: String, found: String, expected: String, is_input: bool },
    /// A range of numbers for an image, which has its own.
    #[error("`--range {range}` does not fit `{name}`, an image ({color}): its pixels are 0 to 255")]
    Range { range: ValueRange, name: String, color: String },
    /// A file of one tensor for several results.
    #[error("`{}` holds one tensor, the bundle gives {}", path.display(), outputs.join(", "))]
    Single { path: PathBuf, outputs: Vec<String> },
    /// A tensor that cannot be looked at.
    #[error("cannot use `{name}`")]
    Result {
        name: String,
        #[source]
        source: candle_core::Error,
    },
    /// An operation cannot be run.
    #[error("cannot run `{bundle}`")]
    Run {
        bundle: String,
        #[source]
        source: EvalError,
    },
}

impl RunError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Inputs { source, .. } => source.hint(),
            Self::File(error) => error.hint(),
            Self::PictureSize { is_input: true, .. } => {
                Some("`--fit stretch`, `--fit crop` or `--fit pad` resizes it".to_owned())
            }
            Self::Range { .. } => Some("leave out --range: it is for pictures that are given to arrays".to_owned()),
            Self::Single { path, outputs } => {
                let name = format!("{}.{}", outputs.first()?, path.extension()?.to_string_lossy());
                Some(format!("name the file after the one that is wanted, e.g. `{name}`, or write a .safetensors file"))
            }
            _ => None,
        }
    }
}
