//! Reading Hugging Face-style checkpoints: safetensors (single and sharded), config.json, torch pickles.
//!
//! Files are mapped, never read whole. Headers come from strangers: every length is checked against what is there.

mod error;
mod folder;
mod index;
mod json;
mod mapped;
mod pickle;
mod safetensors;
pub(crate) mod strided;
#[cfg(test)]
mod testing;
mod weights;

pub use error::{CheckpointError, HeaderProblem, IndexProblem};
pub use folder::Checkpoint;
pub use mapped::{StoredTensor, StoredTensors};
pub use pickle::{PickleProblem, read as read_pickle};
pub use safetensors::read_header as read_safetensors_header;
pub use weights::{CheckpointDtype, MemoryWeights, TensorInfo, Weights};
