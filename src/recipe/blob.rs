//! The data of a record in a weight file of a package that was read.

use std::{fmt, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    step::{Reader, Step},
};
use crate::types::DataType;

/// A record by its file and offset.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Blob {
    file: String,
    offset: u64,
}

impl Recipe {
    /// The data of a record of an existing weight file. `file` is the file as the program names it, e.g.
    /// `@model_path/weights/weight.bin`; `offset` is that of the record's metadata, not of its data.
    pub fn blob(file: &str, offset: u64, dtype: DataType, shape: &[u64]) -> Arc<Self> {
        Self::new(dtype, shape, Blob { file: file.to_owned(), offset })
    }

    /// File and offset of the record, where the recipe is one.
    pub fn as_blob(&self) -> Option<(&str, u64)> {
        match &self.step {
            super::AnyStep::Blob(blob) => Some((&blob.file, blob.offset)),
            _ => None,
        }
    }
}

impl Step for Blob {
    fn inputs(&self) -> Vec<&Recipe> {
        Vec::new()
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "blob");
        key.text(&self.file);
        key.numbers(&[self.offset]);
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        (Origin::Literal, index)
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BLOBFILE({:?}, {})", self.file, self.offset)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, _evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        Err(ConvertError::Unsupported { dtype: recipe.dtype(), step: "read from another package" })
    }
}
