//! Reads and writes bundles. Nothing here opens a file: bundles are written as bytes and plans of weight files, and
//! read from bytes.
//!
//! | module | does |
//! |---|---|
//! | [`format`](mod@format) | the trait of a bundle format, and the list of the formats |
//! | [`weights`] | places of constants in weight files, for every format |
//! | [`interface_of`] | the interface of a program: inputs, outputs and states of every function |
//! | [`coreml`] | Core ML packages and compiled models |

pub mod coreml;
pub mod format;
mod interface;
pub mod weights;

pub use format::{
    BundleContents, BundleFile, BundleFormat, BundleSource, FORMATS, FileSource, FormatError, ModelTexts, WriteError, WrittenBundle, find,
};
pub use interface::interface_of;
pub use weights::{WeightFile, WeightPiece, WeightPlace, WeightPlan};
