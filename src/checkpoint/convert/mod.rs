//! Evaluates recipes: from a checkpoint's tensors to the bytes of a weight file, streamed in pieces, several pieces at a time in parallel.
//!
//! Every step on a mapped tensor holds a few pieces in memory, whatever the tensor's size; only what is transposed after another step is held
//! as a whole. Rounding is to nearest even. A finite number that becomes infinite is an error, and so is a stored number that is not finite,
//! since it would spoil every result of the model.

mod cast;

use std::{borrow::Cow, fmt, io, ops::Range, sync::Arc};

use rayon::prelude::*;

pub use self::cast::{float8_e4m3fn, float8_e5m2};

use self::cast::Bad;
use super::{
    CheckpointError, Weights,
    strided::{self, by_row},
};
use crate::mil::{DataType, Literal, Recipe, RecipeKind, TensorType};

/// Elements that one piece holds.
const PIECE: u64 = 256 << 10;
/// Pieces that are made at once.
const AT_ONCE: u64 = 16;

/// Why a recipe cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A tensor cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The bytes cannot be written.
    #[error("cannot write converted weights")]
    Write(#[source] io::Error),
    /// A number that the type cannot hold.
    #[error("{tensor} gives {value} at index {index}, which {dtype} cannot hold")]
    Overflow {
        /// Where the number comes from.
        tensor: Origin,
        /// The number.
        value: f64,
        /// Its index in the tensor, row-major.
        index: u64,
        /// The type.
        dtype: DataType,
    },
    /// A stored number that is not finite.
    #[error("tensor `{tensor}` holds {value} at index {index}, expected finite numbers")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// NaN or an infinity.
        value: f64,
        /// Its index in the tensor, row-major.
        index: u64,
    },
    /// A tensor that is not what the recipe was made for.
    #[error("tensor `{tensor}` is {found}, the recipe expects {expected}")]
    Type {
        /// The tensor.
        tensor: String,
        /// Its type in the recipe.
        expected: TensorType,
        /// Its type in the checkpoint.
        found: TensorType,
    },
    /// A step that is not defined for the type.
    #[error("{dtype} cannot be {step}")]
    Unsupported {
        /// The type.
        dtype: DataType,
        /// The step.
        step: &'static str,
    },
}

impl ConvertError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Overflow { dtype: DataType::Float16, .. } => Some("use precision = \"float32\" for this component".to_owned()),
            Self::NotFinite { .. } => Some("the checkpoint is damaged, or training diverged".to_owned()),
            _ => None,
        }
    }
}

/// Where a number of a recipe comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A tensor of the checkpoint.
    Tensor(String),
    /// Values that stand in the recipe.
    Literal,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(name) => write!(f, "tensor `{name}`"),
            Self::Literal => f.write_str("a constant"),
        }
    }
}

impl Origin {
    /// The place from which the element `index` of a recipe comes, and its index there.
    fn of(recipe: &Recipe, index: u64) -> (Self, u64) {
        match recipe.kind() {
            RecipeKind::Source { tensor } => (Self::Tensor(tensor.clone()), index),
            RecipeKind::Literal(_) | RecipeKind::Blob { .. } => (Self::Literal, index),
            RecipeKind::Cast(input)
            | RecipeKind::Reshape(input)
            | RecipeKind::Scale { input, .. }
            | RecipeKind::ScaleBlocks { input, .. } => Self::of(input, index),
            RecipeKind::Transpose { input, perm } => {
                Self::of(input, strided::place(index, recipe.shape(), &permuted_strides(input.shape(), perm)))
            }
            RecipeKind::Slice { input, axis, begin } => Self::of(input, Rows::new(recipe, input, *axis, *begin).place(index)),
            RecipeKind::Concat { inputs, axis } => {
                let row = row_length(recipe, *axis);
                let mut column = index % row;
                for input in inputs {
                    let length = row_length(input, *axis);
                    if column < length {
                        return Self::of(input, index / row * length + column);
                    }
                    column -= length;
                }
                (Self::Literal, index)
            }
        }
    }
}

/// Writes the recipe's bytes to `out`, in order: little-endian, row-major.
///
/// # Errors
/// When a tensor is missing or not as the recipe has it, a number does not fit, or `out` fails. Some bytes may have been written by then.
pub fn evaluate(recipe: &Recipe, weights: &dyn Weights, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), ConvertError> {
    let node = Node::new(recipe, weights)?;
    if let Node::Literal { data, .. } = &node {
        return out(data).map_err(ConvertError::Write);
    }
    let elements = recipe.elements().unwrap_or(0);
    let mut begin = 0;
    while begin < elements {
        let end = elements.min(begin + PIECE * AT_ONCE);
        let starts: Vec<u64> = (begin..end).step_by(PIECE as usize).collect();
        let pieces: Vec<_> = starts.into_par_iter().map(|start| node.read(start..end.min(start + PIECE))).collect();
        // In order, so that of several errors it is always the first that is reported.
        for piece in pieces {
            out(&piece?).map_err(ConvertError::Write)?;
        }
        node.release(weights, Some(begin..end));
        begin = end;
    }
    node.release(weights, None);
    Ok(())
}

/// The recipe's bytes in memory.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_to_vec(recipe: &Recipe, weights: &dyn Weights) -> Result<Vec<u8>, ConvertError> {
    let mut bytes = Vec::new();
    let mut out = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    evaluate(recipe, weights, &mut out)?;
    Ok(bytes)
}

/// A recipe that can be read at any range of elements.
enum Node<'a> {
    Source { tensor: &'a str, data: Cow<'a, [u8]>, width: usize, recipe: &'a Recipe },
    Literal { data: Cow<'a, [u8]>, width: usize },
    Cast { input: Box<Node<'a>>, from: DataType, recipe: &'a Recipe },
    Scale { input: Box<Node<'a>>, factor: f64, recipe: &'a Recipe },
    ScaleBlocks { input: Box<Node<'a>>, blocks: Blocks, recipe: &'a Recipe },
    Slice { input: Box<Node<'a>>, rows: Rows },
    Concat { inputs: Vec<(Node<'a>, u64)>, row: u64 },
    Transpose { tensor: Option<&'a str>, data: Cow<'a, [u8]>, width: usize, strides: Vec<u64>, recipe: &'a Recipe },
}

/// A slice in terms of rows: of every `from` consecutive elements, the `length` from `begin` on.
#[derive(Clone, Copy)]
struct Rows {
    from: u64,
    begin: u64,
    length: u64,
}

impl Rows {
    fn new(recipe: &Recipe, input: &Recipe, axis: usize, begin: u64) -> Self {
        let (from, length) = (row_length(input, axis), row_length(recipe, axis));
        Self { from, begin: begin.saturating_mul(row_length(input, axis + 1)), length }
    }

    /// The index in the input of an element of the slice.
    fn place(self, index: u64) -> u64 {
        index / self.length * self.from + self.begin + index % self.length
    }
}

/// The scales of a matrix's blocks.
struct Blocks {
    /// Columns of the matrix.
    columns: u64,
    /// Rows and columns of a block.
    block: [u64; 2],
    /// Row by row of blocks.
    scales: Vec<f32>,
}

impl Blocks {
    /// The scale of an element.
    fn scale(&self, index: u64) -> f32 {
        let (row, column) = (index / self.columns / self.block[0], index % self.columns / self.block[1]);
        self.scales[(row * self.columns.div_ceil(self.block[1]) + column) as usize]
    }
}

/// Elements that lie one behind the other from `axis` on; 0 where it would overflow, which only shapes without elements can do.
fn row_length(recipe: &Recipe, axis: usize) -> u64 {
    recipe.shape()[axis..].iter().try_fold(1u64, |product, &n| product.checked_mul(n)).unwrap_or(0)
}

fn permuted_strides(shape: &[u64], perm: &[usize]) -> Vec<u64> {
    let strides = strided::row_major(shape);
    perm.iter().map(|&dimension| strides[dimension]).collect()
}

/// Bytes of an element, where elements have bytes of their own.
fn width(dtype: DataType, step: &'static str) -> Result<usize, ConvertError> {
    dtype.bits().filter(|bits| bits % 8 == 0).map(|bits| bits as usize / 8).ok_or(ConvertError::Unsupported { dtype, step })
}

impl<'a> Node<'a> {
    fn new(recipe: &'a Recipe, weights: &'a dyn Weights) -> Result<Self, ConvertError> {
        // Elements that share bytes can be written, but no step can be done on them.
        let input = |input: &'a Recipe, step| width(input.dtype(), step).and_then(|_| Self::new(input, weights));
        Ok(match recipe.kind() {
            RecipeKind::Source { tensor } => Self::source(tensor, recipe, weights)?,
            RecipeKind::Literal(literal) => {
                let width = width(recipe.dtype(), "read").unwrap_or(1);
                Self::Literal { data: literal_bytes(recipe.dtype(), literal)?, width }
            }
            RecipeKind::Blob { .. } => return Err(ConvertError::Unsupported { dtype: recipe.dtype(), step: "read from another package" }),
            RecipeKind::Reshape(input) => Self::new(input, weights)?,
            RecipeKind::Cast(from) => Self::Cast { input: Box::new(input(from, "cast")?), from: from.dtype(), recipe },
            RecipeKind::Scale { input: from, factor } => Self::Scale { input: Box::new(input(from, "scaled")?), factor: *factor, recipe },
            RecipeKind::ScaleBlocks { input: from, scales, block } => {
                let scales = evaluate_to_vec(scales, weights)?;
                let scales = scales.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
                let blocks = Blocks { columns: row_length(recipe, 1), block: *block, scales };
                Self::ScaleBlocks { input: Box::new(input(from, "scaled")?), blocks, recipe }
            }
            RecipeKind::Slice { input: from, axis, begin } => {
                Self::Slice { input: Box::new(input(from, "sliced")?), rows: Rows::new(recipe, from, *axis, *begin) }
            }
            RecipeKind::Concat { inputs, axis } => {
                let node = |from: &'a Arc<Recipe>| Ok((input(from, "concatenated")?, row_length(from, *axis)));
                Self::Concat { inputs: inputs.iter().map(node).collect::<Result<_, ConvertError>>()?, row: row_length(recipe, *axis) }
            }
            RecipeKind::Transpose { input: from, perm } => {
                let (tensor, data) = match input(from, "transposed")? {
                    Self::Source { tensor, data, .. } => (Some(tensor), data),
                    Self::Literal { data, .. } => (None, data),
                    _ => (None, Cow::Owned(evaluate_to_vec(from, weights)?)),
                };
                Self::Transpose {
                    tensor,
                    data,
                    width: width(from.dtype(), "transposed")?,
                    strides: permuted_strides(from.shape(), perm),
                    recipe,
                }
            }
        })
    }

    fn source(tensor: &'a str, recipe: &'a Recipe, weights: &'a dyn Weights) -> Result<Self, ConvertError> {
        let missing = || CheckpointError::NoTensor { name: tensor.to_owned() };
        let info = weights.info(tensor).ok_or_else(missing)?;
        let expected = TensorType::new(recipe.dtype(), recipe.shape());
        let found = TensorType::new(info.dtype.into(), &info.shape);
        if expected != found {
            return Err(ConvertError::Type { tensor: tensor.to_owned(), expected, found });
        }
        Ok(Self::Source { tensor, data: weights.data(tensor)?, width: width(recipe.dtype(), "read")?, recipe })
    }

    /// Lets go of what was read for these elements, as far as nothing else is read from it; without a range of everything.
    fn release(&self, weights: &dyn Weights, range: Option<Range<u64>>) {
        match self {
            Self::Literal { .. } => {}
            Self::Source { tensor, width, .. } => {
                let bytes = range.map_or(0..u64::MAX, |range| range.start * *width as u64..range.end * *width as u64);
                weights.release(tensor, bytes);
            }
            Self::Cast { input, .. } | Self::Scale { input, .. } | Self::ScaleBlocks { input, .. } => input.release(weights, range),
            _ if range.is_some() => {}
            Self::Slice { input, .. } => input.release(weights, None),
            Self::Concat { inputs, .. } => inputs.iter().for_each(|(input, _)| input.release(weights, None)),
            Self::Transpose { tensor, .. } => tensor.iter().for_each(|tensor| weights.release(tensor, 0..u64::MAX)),
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        match self {
            Self::Literal { data, width } => Ok(Cow::Borrowed(part(data, *width, &range))),
            Self::Source { data, width, recipe, .. } => {
                let piece = part(data, *width, &range);
                check_finite(piece, recipe, range.start)?;
                Ok(Cow::Borrowed(piece))
            }
            Self::Cast { input, from, recipe } => {
                let first = range.start;
                let cast = cast::cast(&input.read(range)?, *from, recipe.dtype());
                cast.map(Cow::Owned).map_err(|bad| locate(bad, first, recipe))
            }
            Self::Scale { input, factor, recipe } => {
                let first = range.start;
                let scaled = cast::scale(&input.read(range)?, recipe.dtype(), *factor);
                scaled.map(Cow::Owned).map_err(|bad| locate(bad, first, recipe))
            }
            Self::ScaleBlocks { input, blocks, recipe } => {
                let first = range.start;
                let scaled = cast::scale_each(&input.read(range)?, |index| blocks.scale(first + index));
                scaled.map(Cow::Owned).map_err(|bad| locate(bad, first, recipe))
            }
            Self::Slice { input, rows } => join(by_row(range, rows.length).map(|(row, part)| {
                let begin = row * rows.from + rows.begin;
                input.read(begin + part.start..begin + part.end)
            })),
            Self::Concat { inputs, row } => join(by_row(range, *row).flat_map(|(index, part)| {
                let mut end = 0;
                inputs.iter().filter_map(move |(input, length)| {
                    let offset = end;
                    end += length;
                    let (first, last) = (part.start.max(offset), part.end.min(end));
                    (first < last).then(|| input.read(index * length + first - offset..index * length + last - offset))
                })
            })),
            Self::Transpose { data, width, strides, recipe, .. } => {
                let piece = strided::gather(data, *width, recipe.shape(), strides, range.clone());
                check_finite(&piece, recipe, range.start)?;
                Ok(Cow::Owned(piece))
            }
        }
    }
}

fn part<'b>(data: &'b [u8], width: usize, range: &Range<u64>) -> &'b [u8] {
    &data[range.start as usize * width..range.end as usize * width]
}

/// Pieces one behind the other; a single one stays borrowed.
fn join<'b>(pieces: impl Iterator<Item = Result<Cow<'b, [u8]>, ConvertError>>) -> Result<Cow<'b, [u8]>, ConvertError> {
    let mut joined: Cow<'b, [u8]> = Cow::Borrowed(&[]);
    for piece in pieces {
        let piece = piece?;
        if joined.is_empty() { joined = piece } else { joined.to_mut().extend_from_slice(&piece) }
    }
    Ok(joined)
}

/// Checks the elements of `recipe` from `first` on. Constants may be infinite on purpose, as in masks.
fn check_finite(piece: &[u8], recipe: &Recipe, first: u64) -> Result<(), ConvertError> {
    let Some((index, value)) = cast::not_finite(piece, recipe.dtype()) else { return Ok(()) };
    match Origin::of(recipe, first + index) {
        (Origin::Tensor(tensor), index) => Err(ConvertError::NotFinite { tensor, value, index }),
        (Origin::Literal, _) => Ok(()),
    }
}

/// Says of a piece that begins with the element `first` of `recipe` where its bad number comes from.
fn locate(bad: Bad, first: u64, recipe: &Recipe) -> ConvertError {
    match bad {
        Bad::Step(error) => error,
        Bad::Value { index, value } => {
            let (tensor, index) = Origin::of(recipe, first + index);
            ConvertError::Overflow { tensor, value, index, dtype: recipe.dtype() }
        }
    }
}

fn literal_bytes(dtype: DataType, literal: &Literal) -> Result<Cow<'_, [u8]>, ConvertError> {
    Ok(Cow::Owned(match literal {
        Literal::Bools(values) => values.iter().map(|&b| u8::from(b)).collect(),
        Literal::Ints(values) => {
            let width = width(dtype, "written")?;
            values.iter().flat_map(|v| v.to_le_bytes()[..width].to_vec()).collect()
        }
        Literal::Floats(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Literal::Halves(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Literal::Doubles(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Literal::Strings(_) => return Err(ConvertError::Unsupported { dtype, step: "written to a weight file" }),
        Literal::Packed(bytes) => return Ok(Cow::Borrowed(bytes)),
    }))
}

#[cfg(test)]
mod tests;
