//! What a step of a recipe declares, and how its elements are read.

use std::{borrow::Cow, fmt, ops::Range};

use super::{ConvertError, Evaluator, Origin, Recipe, key::KeyHasher, numbers, numbers::Bad};
use crate::types::DataType;

/// A step of a recipe: everything that is known about it. `recipe` is the recipe whose last step this is.
pub(super) trait Step: fmt::Debug + Send + Sync {
    /// The recipes that the step reads, in order.
    fn inputs(&self) -> Vec<&Recipe>;

    /// Feeds element type, name, parameters and inputs to a key.
    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher);

    /// The place from which an element comes, and its index there.
    fn origin(&self, recipe: &Recipe, index: u64) -> (Origin, u64);

    /// Prints the step and its inputs.
    fn print(&self, recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Makes the elements readable. A step that needs all elements of an input at once takes them from
    /// [`Evaluator::whole`].
    ///
    /// # Errors
    /// When a tensor is missing or of another type, or the step is not defined for the element type.
    fn open<'a>(
        &'a self,
        recipe: &'a Recipe,
        evaluator: &'a Evaluator<'_>,
    ) -> Result<Box<dyn Reader + 'a>, ConvertError>;

    /// The names of the checkpoint tensors that the step and its inputs read.
    fn sources(&self) -> Vec<&str> {
        self.inputs().into_iter().flat_map(Recipe::sources).collect()
    }
}

/// The elements of a recipe, to be read at any range and by several threads.
pub(super) trait Reader: Send + Sync {
    /// The bytes of these elements, counted row-major. Elements that share bytes: the range begins at a whole byte.
    ///
    /// # Errors
    /// When a number does not fit or is not finite.
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError>;

    /// Gives memory back that was mapped to read these elements, as far as nothing else is read from it; `None`: all
    /// elements.
    fn release(&self, range: Option<Range<u64>>);

    /// All bytes, where they lie in memory already. They were not looked at: a stored number may be infinite.
    fn in_memory(&self) -> Option<&[u8]> {
        None
    }
}

/// Bytes of an element, where an element has bytes of its own.
pub(super) fn width(dtype: DataType, step: &'static str) -> Result<usize, ConvertError> {
    dtype
        .bits()
        .filter(|bits| bits % 8 == 0)
        .map(|bits| bits as usize / 8)
        .ok_or(ConvertError::Unsupported { dtype, step })
}

/// The bytes of a range of elements of `bits` each, of which the first begins at a whole byte.
pub(super) fn part<'b>(data: &'b [u8], bits: u64, range: &Range<u64>) -> &'b [u8] {
    debug_assert_eq!(range.start * bits % 8, 0, "the range begins at a whole byte");
    &data[(range.start * bits / 8) as usize..(range.end * bits).div_ceil(8) as usize]
}

/// Pieces one behind the other; a single one stays borrowed.
pub(super) fn join<'b>(
    pieces: impl Iterator<Item = Result<Cow<'b, [u8]>, ConvertError>>,
) -> Result<Cow<'b, [u8]>, ConvertError> {
    let mut joined: Cow<'b, [u8]> = Cow::Borrowed(&[]);
    for piece in pieces {
        let piece = piece?;
        if joined.is_empty() { joined = piece } else { joined.to_mut().extend_from_slice(&piece) }
    }
    Ok(joined)
}

/// Checks the elements of `recipe` from `first` on. Constants may be infinite on purpose, as in masks.
pub(super) fn check_finite(piece: &[u8], recipe: &Recipe, first: u64) -> Result<(), ConvertError> {
    let Some((index, value)) = numbers::not_finite(piece, recipe.dtype()) else { return Ok(()) };
    match recipe.origin(first + index) {
        (Origin::Tensor(tensor), index) => Err(ConvertError::NotFinite { tensor, value, index }),
        (Origin::Literal, _) => Ok(()),
    }
}

/// Names the origin of a bad number in a piece that begins with the element `first` of `recipe`.
pub(super) fn locate(bad: Bad, first: u64, recipe: &Recipe) -> ConvertError {
    match bad {
        Bad::Step(error) => error,
        Bad::Value { index, value } => {
            let (tensor, index) = recipe.origin(first + index);
            ConvertError::Overflow { tensor, value, index, dtype: recipe.dtype() }
        }
    }
}
