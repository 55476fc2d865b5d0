//! Reading Hugging Face-style checkpoints: safetensors (single and sharded), config.json, torch pickles; and evaluating recipes on them.
//!
//! Files are mapped, never read whole. Headers come from strangers: every length is checked against what is there.

mod convert;
mod error;
mod folder;
mod index;
mod pickle;
mod safetensors;
mod weights;

pub use convert::{ConvertError, evaluate, evaluate_to_vec};
pub use error::CheckpointError;
pub use folder::Checkpoint;
pub use weights::{CheckpointDtype, MemoryWeights, TensorInfo, Weights};
