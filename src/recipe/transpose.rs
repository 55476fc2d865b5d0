//! Dimensions in another order.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    step::{Reader, Step, check_finite, width},
};
use crate::checkpoint::strided;

/// Dimension `i` is the input's dimension `perm[i]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Transpose {
    input: Arc<Recipe>,
    perm: Vec<usize>,
}

impl Recipe {
    /// Dimension `i` of the result is this recipe's dimension `perm[i]`; `None` where `perm` is not a permutation of
    /// the dimensions.
    pub fn transpose(self: &Arc<Self>, perm: &[usize]) -> Option<Arc<Self>> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.shape.len()) {
            return None;
        }
        let shape: Vec<u64> = perm.iter().map(|&dimension| self.shape[dimension]).collect();
        Some(Self::new(self.dtype, &shape, Transpose { input: self.clone(), perm: perm.to_vec() }))
    }
}

impl Transpose {
    /// Steps of the result's dimensions in the input, in elements.
    fn strides(&self) -> Vec<u64> {
        let strides = strided::row_major(self.input.shape());
        self.perm.iter().map(|&dimension| strides[dimension]).collect()
    }
}

impl Step for Transpose {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "transpose");
        key.numbers(self.input.shape());
        key.numbers(&self.perm.iter().map(|&dimension| dimension as u64).collect::<Vec<_>>());
        key.recipe(&self.input);
    }

    fn origin(&self, recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(strided::place(index, recipe.shape(), &self.strides()))
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} transposed {:?}", self.input, self.perm)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let width = width(recipe.dtype(), "transposed")?;
        let input = evaluator.open(&self.input)?;
        // Elements are read in any order: mapped where they are stored so, as a whole where a step makes them.
        let data = match input.in_memory() {
            Some(_) => Elements::InMemory(input),
            None => Elements::Made(evaluator.whole(&self.input)?),
        };
        Ok(Box::new(TransposedElements { data, width, strides: self.strides(), recipe }))
    }
}

/// All elements of the input.
enum Elements<'a> {
    InMemory(Box<dyn Reader + 'a>),
    Made(Arc<Vec<u8>>),
}

impl Elements<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::InMemory(reader) => reader.in_memory().unwrap_or_default(),
            Self::Made(bytes) => bytes,
        }
    }
}

struct TransposedElements<'a> {
    data: Elements<'a>,
    /// Bytes of an element.
    width: usize,
    strides: Vec<u64>,
    recipe: &'a Recipe,
}

impl Reader for TransposedElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        let first = range.start;
        let piece = strided::gather(self.data.bytes(), self.width, self.recipe.shape(), &self.strides, range);
        check_finite(&piece, self.recipe, first)?;
        Ok(Cow::Owned(piece))
    }

    fn release(&self, range: Option<Range<u64>>) {
        if let (None, Elements::InMemory(reader)) = (range, &self.data) {
            reader.release(None);
        }
    }
}
