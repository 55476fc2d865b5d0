//! Reads and writes bundles. Nothing here opens a file: bundles are written as bytes and plans of weight files, and
//! read from bytes.
//!
//! | module | does |
//! |---|---|
//! | `format` | the trait of a bundle format |
//! | `weights` | places of constants in weight files, for every format |
//! | `interface` | the interface of a program: inputs, outputs and states of every function |
//! | [`coreml`] | Core ML packages and compiled models |

pub mod coreml;
mod format;
mod interface;
mod weights;

pub(crate) use format::{BundleContents, BundleFormat, BundleSource, ModelTexts, WriteError, WrittenBundle};
pub use format::{BundleFile, FileSource, FormatError};
pub(crate) use interface::interface_of;
pub(crate) use weights::{WeightFile, WeightPiece, WeightPlan};

use self::coreml::{MlModelC, MlPackage};
use crate::manifest::Format;

/// The bundle formats that can be written. To add one, write its file and add its word here.
pub(crate) const FORMATS: &[&dyn BundleFormat] = &[&MlPackage, &MlModelC];

/// The implementation of a value of the axis `format`; `None` where mlreg does not write that format.
pub(crate) fn find(format: Format) -> Option<&'static dyn BundleFormat> {
    FORMATS.iter().copied().find(|candidate| candidate.format() == format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_listed_once_under_its_word() {
        let mut words: Vec<Format> = FORMATS.iter().map(|format| format.format()).collect();
        assert!(words.iter().all(|&word| find(word).is_some_and(|format| format.format() == word)));
        words.dedup();
        assert_eq!(words.len(), FORMATS.len());
        assert!(find(Format::Onnx).is_none());
    }
}
