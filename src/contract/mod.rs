//! What the models that mlreg makes agree on, so that apps, `run`, `eval` and generated code recognise them: the names
//! of inputs and outputs, the forms that programs can have, the notes in a bundle's metadata, and the bundles that make
//! up one language model.
//!
//! Plain values: the room knows no tensors, programs, manifests or files.

mod chunk;
pub mod features;
mod forms;
mod interface;
mod language;
pub mod notes;
mod task;

pub use chunk::{Chunk, ChunkName};
pub(crate) use forms::words;
pub use forms::{AttentionForm, CacheForm, ImageLayout, LinearForm, LogitsForm, PictureRange};
pub use interface::{Feature, Interface};
pub use language::{Bundle, BundleStep, LanguageForm, language_forms};
pub use notes::{Note, Notes};
pub use task::Task;
