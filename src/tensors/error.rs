//! Errors of tensor files.

use std::{io, path::PathBuf};

use super::{ElementProblem, Format, NpyProblem, PictureProblem};
use crate::checkpoint::CheckpointError;

/// Why a tensor file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum TensorFileError {
    /// The file extension names no known format.
    #[error("{path} is no tensor file by its name: expected .safetensors, .npy, .npz, .png or .jpg")]
    Extension { path: PathBuf },
    /// A picture format that is neither read nor written.
    #[error("{path} is a picture in {kind}, which is neither read nor written: expected .png or .jpg")]
    PictureKind { path: PathBuf, kind: &'static str },
    /// A picture format that is only read.
    #[error("{path}: JPEG files are read, not written")]
    NotWritten { path: PathBuf },
    /// The file system reported an error.
    #[error("cannot read or write {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A safetensors file that cannot be read; the error names the file.
    #[error(transparent)]
    Safetensors(#[from] CheckpointError),
    /// A tensor that cannot be held in memory, or cannot be written in the requested element type.
    #[error("{path}: tensor `{name}`")]
    Tensor {
        path: PathBuf,
        name: String,
        #[source]
        problem: ElementProblem,
    },
    /// A damaged numpy array, or one of an unknown kind.
    #[error("{path} is not a numpy array that can be read")]
    Npy {
        path: PathBuf,
        #[source]
        problem: NpyProblem,
    },
    /// A damaged numpy array in an archive.
    #[error("{path}: `{entry}` is not a numpy array that can be read")]
    Npz {
        path: PathBuf,
        entry: String,
        #[source]
        problem: NpyProblem,
    },
    /// A damaged archive.
    #[error("{path} is not an archive of numpy arrays")]
    Archive {
        path: PathBuf,
        #[source]
        source: zip::result::ZipError,
    },
    /// An entry of an archive that is no numpy array.
    #[error("{path} holds `{entry}`: expected names that end in `.npy`")]
    Entry { path: PathBuf, entry: String },
    /// Archived arrays that claim to be larger than their compressed bytes can make, or than is read.
    #[error("{path}: `{entry}` claims to hold {claimed} bytes, at most {limit} can be there")]
    Expansion { path: PathBuf, entry: String, claimed: u64, limit: u64 },
    /// A picture that cannot be read or made.
    #[error("{path} cannot be a picture of a tensor")]
    Picture {
        path: PathBuf,
        #[source]
        problem: PictureProblem,
    },
    /// A number of tensors that the format cannot hold.
    #[error("{path}: a .{format} file holds exactly one tensor, found {found}")]
    Count {
        path: PathBuf,
        format: Format,
        /// Number of tensors.
        found: usize,
    },
    /// Two tensors have the same name.
    #[error("{path}: tensor `{name}` is there twice")]
    Repeated { path: PathBuf, name: String },
    /// A name that the format reserves.
    #[error("{path}: the format keeps the name `{name}` for itself")]
    Reserved { path: PathBuf, name: String },
}

impl TensorFileError {
    /// The next step for the user, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Safetensors(error) => error.hint(),
            Self::PictureKind { path, .. } => {
                let (from, to) = (path.display(), path.with_extension("png"));
                let to = to.display();
                Some(format!("convert it: `magick {from} {to}`, or on a Mac `sips -s format png {from} --out {to}`"))
            }
            Self::NotWritten { path } => Some(format!("write `{}`", path.with_extension("png").display())),
            Self::Tensor { problem, .. } => problem.hint(),
            Self::Npy { problem, .. } | Self::Npz { problem, .. } => problem.hint(),
            Self::Picture { problem, .. } => problem.hint(),
            Self::Count { path, .. } => {
                Some(format!("several tensors fit in `{}`", path.with_extension("safetensors").display()))
            }
            _ => None,
        }
    }
}
