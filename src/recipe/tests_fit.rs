//! A step as compression has them: it looks at all elements first, and makes several tensors as one run of bytes. For
//! tests.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    step::{Reader, Step},
};
use crate::types::DataType;

/// A table of the smallest and the largest float32, and then one bit for each element: which of both is nearer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    input: Arc<Recipe>,
}

impl Recipe {
    /// The table (float32, two values) and the indices (uint1) of a two-valued palette.
    pub(crate) fn two_valued(self: &Arc<Self>) -> (Arc<Self>, Arc<Self>) {
        let indices = self.elements().unwrap().div_ceil(8);
        let fit = Self::new(DataType::UInt8, &[8 + indices], Fit { input: self.clone() });
        let part = |begin, length, dtype, shape: &[u64]| fit.slice(0, begin, length).unwrap().reinterpret(dtype, shape).unwrap();
        (part(0, 8, DataType::Float32, &[2]), part(8, indices, DataType::UInt1, self.shape()))
    }
}

impl Step for Fit {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "two-valued");
        key.recipe(&self.input);
    }

    fn origin(&self, _recipe: &Recipe, _index: u64) -> (Origin, u64) {
        self.input.origin(0)
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two values for {}", self.input)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let result = evaluator.remember(recipe, || {
            let input = evaluator.open(&self.input)?;
            let elements = self.input.elements().unwrap();
            let floats = |range: Range<u64>| -> Result<Vec<f32>, ConvertError> {
                Ok(input.read(range)?.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
            };
            // First pass: statistics.
            let mut ends = [f32::INFINITY, f32::NEG_INFINITY];
            for begin in (0..elements).step_by(64) {
                for value in floats(begin..elements.min(begin + 64))? {
                    ends = [ends[0].min(value), ends[1].max(value)];
                }
            }
            // Second pass: indices.
            let mut bytes: Vec<u8> = ends.iter().flat_map(|value| value.to_le_bytes()).collect();
            for begin in (0..elements).step_by(8) {
                let nearer = floats(begin..elements.min(begin + 8))?;
                let bits = nearer.iter().enumerate().map(|(bit, value)| u8::from(value - ends[0] > ends[1] - value) << bit);
                bytes.push(bits.sum());
            }
            Ok(bytes)
        })?;
        Ok(Box::new(FitBytes(result)))
    }
}

struct FitBytes(Arc<Vec<u8>>);

impl Reader for FitBytes {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        Ok(Cow::Borrowed(&self.0[range.start as usize..range.end as usize]))
    }

    fn release(&self, _range: Option<Range<u64>>) {}

    fn in_memory(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}
