//! Tensors one behind the other along one dimension.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    step::{Reader, Step, join},
};
use crate::checkpoint::strided::by_row;

/// Inputs one behind the other along `axis`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Concat {
    inputs: Vec<Arc<Recipe>>,
    axis: usize,
}

impl Recipe {
    /// Inputs one behind the other along `axis`; `None` where their types or other dimensions differ, or there are
    /// none.
    pub fn concat(inputs: &[Arc<Self>], axis: usize) -> Option<Arc<Self>> {
        let first = inputs.first()?;
        let mut shape = first.shape.clone();
        shape.get(axis)?;
        shape[axis] = 0;
        for input in inputs {
            if !input.can_follow(first, axis) {
                return None;
            }
            shape[axis] = shape[axis].checked_add(input.shape[axis])?;
        }
        Some(Self::new(first.dtype, &shape, Concat { inputs: inputs.to_vec(), axis }))
    }

    /// Whether both have one element type and the same dimensions, `axis` aside.
    fn can_follow(&self, first: &Self, axis: usize) -> bool {
        let same = |(i, (a, b)): (usize, (&u64, &u64))| i == axis || a == b;
        self.shape.len() == first.shape.len()
            && self.dtype == first.dtype
            && self.shape.iter().zip(&first.shape).enumerate().all(same)
    }
}

impl Step for Concat {
    fn inputs(&self) -> Vec<&Recipe> {
        self.inputs.iter().map(Arc::as_ref).collect()
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "concat");
        key.numbers(&[self.axis as u64, self.inputs.len() as u64]);
        for input in &self.inputs {
            key.numbers(input.shape());
            key.recipe(input);
        }
    }

    fn origin(&self, recipe: &Recipe, index: u64) -> (Origin, u64) {
        let row = recipe.row_length(self.axis);
        let mut column = index % row;
        for input in &self.inputs {
            let length = input.row_length(self.axis);
            if column < length {
                return input.origin(index / row * length + column);
            }
            column -= length;
        }
        (Origin::Literal, index)
    }

    fn print(&self, _recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("concat(")?;
        for input in &self.inputs {
            write!(f, "{input}, ")?;
        }
        write!(f, "{})", self.axis)
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let dtype = recipe.dtype();
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let length = input.row_length(self.axis);
            if dtype.bits().is_none_or(|bits| length.wrapping_mul(bits) % 8 != 0) {
                return Err(ConvertError::Unsupported { dtype, step: "concatenated inside a byte" });
            }
            inputs.push((evaluator.open(input)?, length));
        }
        Ok(Box::new(ConcatenatedElements { inputs, row: recipe.row_length(self.axis) }))
    }
}

struct ConcatenatedElements<'a> {
    /// Each with the elements that it adds to a row.
    inputs: Vec<(Box<dyn Reader + 'a>, u64)>,
    row: u64,
}

impl ConcatenatedElements<'_> {
    /// The part `columns` of one row.
    fn read_row(&self, row: u64, columns: Range<u64>) -> impl Iterator<Item = Result<Cow<'_, [u8]>, ConvertError>> {
        let mut end = 0;
        self.inputs.iter().filter_map(move |(input, length)| {
            let offset = end;
            end += length;
            let (first, last) = (columns.start.max(offset), columns.end.min(end));
            (first < last).then(|| input.read(row * length + first - offset..row * length + last - offset))
        })
    }
}

impl Reader for ConcatenatedElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        join(by_row(range, self.row).flat_map(|(row, columns)| self.read_row(row, columns)))
    }

    fn release(&self, range: Option<Range<u64>>) {
        if range.is_none() {
            self.inputs.iter().for_each(|(input, _)| input.release(None));
        }
    }
}
