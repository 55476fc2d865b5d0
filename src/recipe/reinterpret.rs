//! The same bytes as elements of another type: packed bytes of a checkpoint, and the parts of what a step makes as one.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    product,
    step::{Reader, Step},
};
use crate::types::DataType;

/// Bytes (uint8) as elements of another type and shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reinterpret {
    input: Arc<Recipe>,
}

impl Recipe {
    /// These bytes as elements of `dtype`, as in a weight file: little-endian, elements of less than a byte as one bit
    /// stream, low bits first. `None` where the recipe is not of uint8, or has not as many bytes as the result needs.
    pub fn reinterpret(self: &Arc<Self>, dtype: DataType, shape: &[u64]) -> Option<Arc<Self>> {
        let bytes = product(shape)?.checked_mul(dtype.bits()?)?.div_ceil(8);
        (self.dtype == DataType::UInt8 && self.elements()? == bytes).then(|| Self::new(dtype, shape, Reinterpret { input: self.clone() }))
    }
}

impl Step for Reinterpret {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "reinterpret");
        key.recipe(&self.input);
    }

    fn origin(&self, recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(index * recipe.dtype().bits().unwrap_or(8) / 8)
    }

    fn print(&self, recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} read as {} {:?}", self.input, recipe.dtype(), recipe.shape())
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let bits = recipe.dtype().bits().ok_or(ConvertError::Unsupported { dtype: recipe.dtype(), step: "read from bytes" })?;
        Ok(Box::new(ReinterpretedElements { input: evaluator.open(&self.input)?, bits }))
    }
}

struct ReinterpretedElements<'a> {
    input: Box<dyn Reader + 'a>,
    bits: u64,
}

impl ReinterpretedElements<'_> {
    fn bytes(&self, range: &Range<u64>) -> Range<u64> {
        range.start * self.bits / 8..(range.end * self.bits).div_ceil(8)
    }
}

impl Reader for ReinterpretedElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        self.input.read(self.bytes(&range))
    }

    fn release(&self, range: Option<Range<u64>>) {
        self.input.release(range.map(|range| self.bytes(&range)));
    }

    fn in_memory(&self) -> Option<&[u8]> {
        self.input.in_memory()
    }
}
