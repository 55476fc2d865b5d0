//! A run of indices along one dimension.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use super::{
    ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    step::{Reader, Step, join},
};
use crate::checkpoint::strided::by_row;

/// The indices `begin..begin + shape[axis]` along `axis`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slice {
    input: Arc<Recipe>,
    axis: usize,
    begin: u64,
}

impl Recipe {
    /// `length` indices from `begin` along `axis`; `None` where there are not so many, or none are asked for.
    pub fn slice(self: &Arc<Self>, axis: usize, begin: u64, length: u64) -> Option<Arc<Self>> {
        let available = *self.shape.get(axis)?;
        if length == 0 || begin.checked_add(length)? > available {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[axis] = length;
        Some(Self::new(self.dtype, &shape, Slice { input: self.clone(), axis, begin }))
    }
}

impl Slice {
    fn rows(&self, recipe: &Recipe) -> Rows {
        Rows {
            from: self.input.row_length(self.axis),
            begin: self.begin.saturating_mul(self.input.row_length(self.axis + 1)),
            length: recipe.row_length(self.axis),
        }
    }
}

/// A slice in terms of rows: of every `from` consecutive elements, the `length` from `begin` on.
#[derive(Clone, Copy)]
struct Rows {
    from: u64,
    begin: u64,
    length: u64,
}

impl Rows {
    /// The index in the input of an element of the slice.
    fn place(self, index: u64) -> u64 {
        index / self.length * self.from + self.begin + index % self.length
    }

    /// Whether every row begins and ends at a whole byte, where an element has `bits`.
    fn are_whole_bytes(self, bits: u64) -> bool {
        [self.from, self.begin, self.length].iter().all(|elements| elements.wrapping_mul(bits) % 8 == 0)
    }
}

impl Step for Slice {
    fn inputs(&self) -> Vec<&Recipe> {
        vec![&self.input]
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "slice");
        key.numbers(self.input.shape());
        key.numbers(&[self.axis as u64, self.begin, recipe.shape()[self.axis]]);
        key.recipe(&self.input);
    }

    fn origin(&self, recipe: &Recipe, index: u64) -> (Origin, u64) {
        self.input.origin(self.rows(recipe).place(index))
    }

    fn print(&self, recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}: {}+{}]", self.input, self.axis, self.begin, recipe.shape()[self.axis])
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let (rows, dtype) = (self.rows(recipe), recipe.dtype());
        if !dtype.bits().is_some_and(|bits| rows.are_whole_bytes(bits)) {
            return Err(ConvertError::Unsupported { dtype, step: "sliced inside a byte" });
        }
        Ok(Box::new(SlicedElements { input: evaluator.open(&self.input)?, rows }))
    }
}

struct SlicedElements<'a> {
    input: Box<dyn Reader + 'a>,
    rows: Rows,
}

impl Reader for SlicedElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        let rows = self.rows;
        join(by_row(range, rows.length).map(|(row, part)| {
            let begin = row * rows.from + rows.begin;
            self.input.read(begin + part.start..begin + part.end)
        }))
    }

    fn release(&self, range: Option<Range<u64>>) {
        if range.is_none() {
            self.input.release(None);
        }
    }
}
