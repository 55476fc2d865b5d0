//! A tensor of the checkpoint, as it is stored.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    step::{Reader, Step, check_finite, part, width},
};
use crate::{
    checkpoint::{CheckpointError, Weights},
    types::{DataType, TensorType},
};

/// A tensor by its name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    tensor: String,
}

impl Recipe {
    /// A tensor of the checkpoint.
    pub fn source(tensor: &str, dtype: DataType, shape: &[u64]) -> Arc<Self> {
        Self::new(dtype, shape, Source { tensor: tensor.to_owned() })
    }
}

impl Step for Source {
    fn inputs(&self) -> Vec<&Recipe> {
        Vec::new()
    }

    fn sources(&self) -> Vec<&str> {
        vec![&self.tensor]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "source");
        key.text(&self.tensor);
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        (Origin::Tensor(self.tensor.clone()), index)
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.tensor)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let (tensor, weights) = (self.tensor.as_str(), evaluator.weights());
        let info = weights.info(tensor).ok_or_else(|| CheckpointError::NoTensor { name: tensor.to_owned() })?;
        let expected = TensorType::new(recipe.dtype(), recipe.shape());
        let found = TensorType::new(info.dtype.into(), &info.shape);
        if expected != found {
            return Err(ConvertError::Type { tensor: tensor.to_owned(), expected, found });
        }
        let width = width(recipe.dtype(), "read")? as u64;
        Ok(Box::new(StoredElements { tensor, weights, data: weights.data(tensor)?, width, recipe }))
    }
}

/// The elements of a stored tensor.
struct StoredElements<'a> {
    tensor: &'a str,
    weights: &'a dyn Weights,
    data: Cow<'a, [u8]>,
    /// Bytes of an element.
    width: u64,
    recipe: &'a Recipe,
}

impl Reader for StoredElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        let piece = part(&self.data, self.width * 8, &range);
        check_finite(piece, self.recipe, range.start)?;
        Ok(Cow::Borrowed(piece))
    }

    fn release(&self, range: Option<Range<u64>>) {
        let bytes = range.map_or(0..u64::MAX, |range| range.start * self.width..range.end * self.width);
        self.weights.release(self.tensor, bytes);
    }

    fn in_memory(&self) -> Option<&[u8]> {
        Some(&self.data)
    }
}
