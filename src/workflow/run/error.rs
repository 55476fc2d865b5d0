//! What can go wrong when a bundle is run.

use std::path::PathBuf;

use crate::{
    eval::{EvalError, PackageError},
    manifest::GlobError,
    mil::VerifyError,
    tensors::TensorFileError,
};

/// Why a bundle cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
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
    /// An input that no file holds.
    #[error("input `{name}` is missing: expected {ty}; the files hold {}", if given.is_empty() { "nothing".to_owned() } else { given.join(", ") })]
    Missing {
        /// The input.
        name: String,
        /// Its type.
        ty: String,
        /// What was given.
        given: Vec<String>,
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
            Self::NoVariant { nearest, .. } if !nearest.is_empty() => {
                let ids: Vec<String> = nearest.iter().map(|id| format!("`{id}`")).collect();
                Some(format!("did you mean {}?", ids.join(" or ")))
            }
            Self::Variants { ids, .. } => Some(format!("name one: --variant '{}'", ids.first()?)),
            Self::Missing { name, given, .. } => Some(match given.first() {
                Some(first) => format!("name what is meant: --map {first}={name}"),
                None => "give a file with --input".to_owned(),
            }),
            Self::Single { path, outputs } => {
                let name = format!("{}.{}", outputs.first()?, path.extension()?.to_string_lossy());
                Some(format!("name the file after the one that is wanted, e.g. `{name}`, or write a .safetensors file"))
            }
            _ => None,
        }
    }
}
