//! Evaluates recipes: from a checkpoint's tensors to the bytes of a weight file, streamed in pieces, several pieces at a time in parallel.
//!
//! Casts, scalings, slices and concatenations of mapped tensors hold a few pieces in memory, whatever the tensor's size; a transposition
//! holds its input. Rounding is to nearest even. A finite number that becomes infinite, and any that was not finite, is an error, since it
//! would spoil every result of the model.

use std::{borrow::Cow, io, ops::Range};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::{CheckpointError, Weights};
use crate::mil::{DataType, Literal, Recipe, RecipeKind};

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
    #[error("tensor `{tensor}` holds {value} at index {index}, which {dtype} cannot hold")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The number.
        value: f64,
        /// Its index, row-major.
        index: u64,
        /// The type.
        dtype: DataType,
    },
    /// A tensor that is not what the recipe was made for.
    #[error("tensor `{tensor}` has {found} bytes, the recipe expects {expected}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes found.
        found: u64,
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
            Self::Overflow { dtype: DataType::Float16, value, .. } if value.is_finite() => {
                Some("use precision = \"float32\" for this component".to_owned())
            }
            Self::Overflow { value, .. } if !value.is_finite() => Some("the checkpoint is damaged, or training diverged".to_owned()),
            _ => None,
        }
    }
}

/// Writes the recipe's bytes to `out`, in order: little-endian, row-major.
///
/// # Errors
/// When a tensor is missing or not as the recipe has it, a number does not fit, or `out` fails.
pub fn evaluate(recipe: &Recipe, weights: &dyn Weights, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<(), ConvertError> {
    let node = Node::new(recipe, weights)?;
    if let Node::Bytes { data, .. } = &node {
        return data.chunks(8 << 20).try_for_each(|chunk| out(chunk).map_err(ConvertError::Write));
    }
    let elements = recipe.elements().unwrap_or(0);
    let mut begin = 0;
    while begin < elements {
        let end = elements.min(begin + PIECE * AT_ONCE);
        let starts: Vec<u64> = (begin..end).step_by(PIECE as usize).collect();
        let pieces: Vec<Vec<u8>> =
            starts.into_par_iter().map(|start| node.read(start..end.min(start + PIECE))).collect::<Result<_, _>>()?;
        pieces.iter().try_for_each(|piece| out(piece).map_err(ConvertError::Write))?;
        begin = end;
    }
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
    Bytes { data: Cow<'a, [u8]>, width: usize },
    Cast { input: Box<Node<'a>>, from: DataType, to: DataType, tensor: String },
    Scale { input: Box<Node<'a>>, dtype: DataType, factor: f64, tensor: String },
    Slice { input: Box<Node<'a>>, rows: Rows },
    Concat { inputs: Vec<(Box<Node<'a>>, u64)>, row: u64 },
}

/// A slice in terms of rows: of every `from` consecutive elements, the `length` from `begin` on.
#[derive(Clone, Copy)]
struct Rows {
    from: u64,
    begin: u64,
    length: u64,
}

fn width(dtype: DataType, step: &'static str) -> Result<usize, ConvertError> {
    dtype.bits().filter(|bits| bits % 8 == 0).map(|bits| bits as usize / 8).ok_or(ConvertError::Unsupported { dtype, step })
}

fn label(recipe: &Recipe) -> String {
    recipe.sources().first().map_or("a constant".to_owned(), |name| (*name).to_owned())
}

impl<'a> Node<'a> {
    fn new(recipe: &Recipe, weights: &'a dyn Weights) -> Result<Self, ConvertError> {
        Ok(match recipe.kind() {
            RecipeKind::Source { tensor } => {
                let data = weights.data(tensor)?;
                let (found, expected) = (data.len() as u64, recipe.byte_length().unwrap_or(0));
                if found != expected {
                    return Err(ConvertError::Length { tensor: tensor.clone(), expected, found });
                }
                Self::Bytes { data, width: width(recipe.dtype(), "read")? }
            }
            RecipeKind::Literal(literal) => {
                Self::Bytes { data: Cow::Owned(literal_bytes(recipe.dtype(), literal)?), width: width(recipe.dtype(), "read").unwrap_or(1) }
            }
            RecipeKind::Blob { .. } => return Err(ConvertError::Unsupported { dtype: recipe.dtype(), step: "read from another package" }),
            RecipeKind::Reshape(input) => Self::new(input, weights)?,
            RecipeKind::Cast(input) => {
                width(recipe.dtype(), "cast")?;
                Self::Cast { input: Box::new(Self::new(input, weights)?), from: input.dtype(), to: recipe.dtype(), tensor: label(recipe) }
            }
            RecipeKind::Scale { input, factor } => {
                Self::Scale { input: Box::new(Self::new(input, weights)?), dtype: recipe.dtype(), factor: *factor, tensor: label(recipe) }
            }
            RecipeKind::Slice { input, axis, begin } => {
                let inner: u64 = input.shape()[axis + 1..].iter().product();
                let rows = Rows { from: input.shape()[*axis] * inner, begin: begin * inner, length: recipe.shape()[*axis] * inner };
                Self::Slice { input: Box::new(Self::new(input, weights)?), rows }
            }
            RecipeKind::Concat { inputs, axis } => {
                let row = |recipe: &Recipe| recipe.shape()[*axis..].iter().product::<u64>();
                let nodes = inputs
                    .iter()
                    .map(|input| Ok((Box::new(Self::new(input, weights)?), row(input))))
                    .collect::<Result<Vec<_>, ConvertError>>()?;
                Self::Concat { inputs: nodes, row: row(recipe) }
            }
            RecipeKind::Transpose { input, perm } => {
                let width = width(recipe.dtype(), "transposed")?;
                let data = Self::new(input, weights)?.read(0..input.elements().unwrap_or(0))?;
                Self::Bytes { data: Cow::Owned(transpose(&data, input.shape(), perm, width)), width }
            }
        })
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, ConvertError> {
        match self {
            Self::Bytes { data, width } => Ok(data[range.start as usize * width..range.end as usize * width].to_vec()),
            Self::Cast { input, from, to, tensor } => {
                let first = range.start;
                cast(&input.read(range)?, *from, *to).map_err(|bad| bad.locate(tensor, first, *to))
            }
            Self::Scale { input, dtype, factor, tensor } => {
                let first = range.start;
                scale(&input.read(range)?, *dtype, *factor).map_err(|bad| bad.locate(tensor, first, *dtype))
            }
            Self::Slice { input, rows } => {
                let mut out = Vec::new();
                for (row, part) in by_row(range, rows.length) {
                    let start = row * rows.from + rows.begin + part.start;
                    out.extend(input.read(start..start + (part.end - part.start))?);
                }
                Ok(out)
            }
            Self::Concat { inputs, row } => {
                let mut out = Vec::new();
                for (index, part) in by_row(range, *row) {
                    let mut offset = 0;
                    for (input, length) in inputs {
                        let (begin, end) = (part.start.max(offset), part.end.min(offset + length));
                        if begin < end {
                            let start = index * length + begin - offset;
                            out.extend(input.read(start..start + (end - begin))?);
                        }
                        offset += length;
                    }
                }
                Ok(out)
            }
        }
    }
}

/// Splits a range of elements into (row, range inside the row) for rows of `length` elements.
fn by_row(range: Range<u64>, length: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let row = at / length;
        let part = at - row * length..length.min(range.end - row * length);
        at = row * length + part.end;
        Some((row, part))
    })
}

fn transpose(data: &[u8], shape: &[u64], perm: &[usize], width: usize) -> Vec<u8> {
    let mut strides = vec![1u64; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * shape[i + 1];
    }
    let (shape, strides): (Vec<u64>, Vec<u64>) = perm.iter().map(|&p| (shape[p], strides[p])).unzip();
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0u64; shape.len()];
    for _ in 0..data.len() / width {
        let at = index.iter().zip(&strides).map(|(i, s)| i * s).sum::<u64>() as usize * width;
        out.extend_from_slice(&data[at..at + width]);
        for dimension in (0..shape.len()).rev() {
            index[dimension] += 1;
            if index[dimension] < shape[dimension] {
                break;
            }
            index[dimension] = 0;
        }
    }
    out
}

fn literal_bytes(dtype: DataType, literal: &Literal) -> Result<Vec<u8>, ConvertError> {
    Ok(match literal {
        Literal::Bools(values) => values.iter().map(|&b| u8::from(b)).collect(),
        Literal::Ints(values) => {
            let width = width(dtype, "written")?;
            values.iter().flat_map(|v| v.to_le_bytes()[..width].to_vec()).collect()
        }
        Literal::Floats(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Literal::Halves(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Literal::Doubles(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Literal::Strings(_) => return Err(ConvertError::Unsupported { dtype, step: "written to a weight file" }),
        Literal::Packed(bytes) => bytes.clone(),
    })
}

/// A number that does not fit, by its index in the piece; or a step that is not defined.
enum Bad {
    Value { index: u64, value: f64 },
    Step(ConvertError),
}

impl Bad {
    fn locate(self, tensor: &str, first: u64, dtype: DataType) -> ConvertError {
        match self {
            Self::Value { index, value } => ConvertError::Overflow { tensor: tensor.to_owned(), value, index: first + index, dtype },
            Self::Step(error) => error,
        }
    }
}

/// Casts a piece. The common ways to float16 and float32 are vectorized, everything else goes element by element.
fn cast(data: &[u8], from: DataType, to: DataType) -> Result<Vec<u8>, Bad> {
    match (from, to) {
        (DataType::Float32 | DataType::BFloat16 | DataType::Float16, DataType::Float16 | DataType::Float32) => {
            let values = to_f32(data, from);
            from_f32(&values, to)
        }
        _ => {
            let values = numbers(data, from).map_err(Bad::Step)?;
            let mut out = Vec::new();
            for (index, value) in values.enumerate() {
                push_number(&mut out, value, to)
                    .map_err(Bad::Step)?
                    .then_some(())
                    .ok_or(Bad::Value { index: index as u64, value: value.as_f64() })?;
            }
            Ok(out)
        }
    }
}

fn scale(data: &[u8], dtype: DataType, factor: f64) -> Result<Vec<u8>, Bad> {
    if !dtype.is_float() {
        return Err(Bad::Step(ConvertError::Unsupported { dtype, step: "scaled" }));
    }
    let values = numbers(data, dtype).map_err(Bad::Step)?;
    let mut out = Vec::with_capacity(data.len());
    for (index, value) in values.enumerate() {
        let scaled = value.as_f64() * factor;
        push_number(&mut out, Number::Float(scaled), dtype)
            .map_err(Bad::Step)?
            .then_some(())
            .ok_or(Bad::Value { index: index as u64, value: scaled })?;
    }
    Ok(out)
}

fn to_f32(data: &[u8], dtype: DataType) -> Vec<f32> {
    let pair = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
    match dtype {
        DataType::Float16 => {
            let halves: Vec<f16> = data.chunks_exact(2).map(|b| f16::from_bits(pair(b))).collect();
            halves.to_f32_vec()
        }
        DataType::BFloat16 => data.chunks_exact(2).map(|b| bf16::from_bits(pair(b)).to_f32()).collect(),
        _ => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    }
}

fn from_f32(values: &[f32], to: DataType) -> Result<Vec<u8>, Bad> {
    let bad = |index: usize| Bad::Value { index: index as u64, value: f64::from(values[index]) };
    if to == DataType::Float32 {
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(bad(index));
        }
        return Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(values);
    if let Some(index) = halves.iter().position(|v| !v.is_finite()) {
        return Err(bad(index));
    }
    Ok(halves.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A number in the wider of the two kinds.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Int(i128),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Int(value) => value as f64,
        }
    }
}

fn numbers(data: &[u8], dtype: DataType) -> Result<Box<dyn Iterator<Item = Number> + '_>, ConvertError> {
    macro_rules! read {
        ($type:ty, $number:expr) => {{
            let number: fn($type) -> Number = $number;
            Box::new(
                data.chunks_exact(size_of::<$type>())
                    .map(move |b| number(<$type>::from_le_bytes(b.try_into().expect("chunks are that long")))),
            )
        }};
    }
    Ok(match dtype {
        DataType::Float64 => read!(f64, Number::Float),
        DataType::Float32 => read!(f32, |v| Number::Float(f64::from(v))),
        DataType::Float16 => read!(u16, |v| Number::Float(f16::from_bits(v).to_f64())),
        DataType::BFloat16 => read!(u16, |v| Number::Float(bf16::from_bits(v).to_f64())),
        DataType::Bool | DataType::UInt8 => read!(u8, |v| Number::Int(v.into())),
        DataType::Int8 => read!(i8, |v| Number::Int(v.into())),
        DataType::Int16 => read!(i16, |v| Number::Int(v.into())),
        DataType::UInt16 => read!(u16, |v| Number::Int(v.into())),
        DataType::Int32 => read!(i32, |v| Number::Int(v.into())),
        DataType::UInt32 => read!(u32, |v| Number::Int(v.into())),
        DataType::Int64 => read!(i64, |v| Number::Int(v.into())),
        DataType::UInt64 => read!(u64, |v| Number::Int(v.into())),
        _ => return Err(ConvertError::Unsupported { dtype, step: "cast" }),
    })
}

/// Appends a number; `Ok(false)` says that it does not fit.
fn push_number(out: &mut Vec<u8>, number: Number, dtype: DataType) -> Result<bool, ConvertError> {
    let float = number.as_f64();
    macro_rules! float {
        ($value:expr) => {{
            let value = $value;
            out.extend_from_slice(&value.to_le_bytes());
            value.is_finite()
        }};
    }
    macro_rules! int {
        ($type:ty) => {{
            let whole = match number {
                Number::Int(value) => Some(value),
                Number::Float(value) => (value.fract() == 0.0).then_some(value as i128),
            };
            match whole.and_then(|value| <$type>::try_from(value).ok()) {
                Some(value) => {
                    out.extend_from_slice(&value.to_le_bytes());
                    true
                }
                None => false,
            }
        }};
    }
    Ok(match dtype {
        DataType::Float64 => float!(float),
        DataType::Float32 => float!(float as f32),
        DataType::Float16 => float!(f16::from_f64(float)),
        DataType::BFloat16 => float!(bf16::from_f64(float)),
        DataType::Int8 => int!(i8),
        DataType::UInt8 => int!(u8),
        DataType::Int16 => int!(i16),
        DataType::UInt16 => int!(u16),
        DataType::Int32 => int!(i32),
        DataType::UInt32 => int!(u32),
        DataType::Int64 => int!(i64),
        _ => return Err(ConvertError::Unsupported { dtype, step: "a cast's result" }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointDtype, MemoryWeights};

    fn weights() -> MemoryWeights {
        let mut weights = MemoryWeights::default();
        weights.insert_f32("m", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        weights
    }

    fn floats(recipe: &Recipe, weights: &MemoryWeights) -> Vec<f32> {
        to_f32(&evaluate_to_vec(recipe, weights).unwrap(), recipe.dtype())
    }

    #[test]
    fn steps_give_what_numpy_gives() {
        let weights = weights();
        let m = Recipe::source("m", DataType::Float32, &[2, 3]);
        assert_eq!(floats(&m.transpose(&[1, 0]).unwrap(), &weights), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(floats(&m.slice(1, 1, 2).unwrap(), &weights), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(floats(&m.slice(0, 1, 1).unwrap(), &weights), [3.0, 4.0, 5.0]);
        let column = m.slice(1, 0, 1).unwrap();
        assert_eq!(floats(&Recipe::concat(&[m.clone(), column], 1).unwrap(), &weights), [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 3.0]);
        assert_eq!(floats(&Recipe::concat(&[m.clone(), m.clone()], 0).unwrap(), &weights)[6..], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(floats(&m.scale(0.5).cast(DataType::Float16), &weights), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
    }

    #[test]
    fn float16_rounds_to_nearest_even_and_never_overflows_silently() {
        let mut weights = MemoryWeights::default();
        // numpy.float16 of these: 2049 lies between 2048 and 2050 (even mantissa 2048), 2051 between 2050 and 2052 (2052).
        weights.insert_f32("a", &[5], &[2049.0, 2051.0, 65504.0, 5.96e-8, 1e-9]);
        let half = |name: &str, n: u64| Recipe::source(name, DataType::Float32, &[n]).cast(DataType::Float16);
        assert_eq!(floats(&half("a", 5), &weights), [2048.0, 2052.0, 65504.0, 5.960_464_5e-8, 0.0]);
        weights.insert_f32("big", &[3], &[1.0, -65520.0, 2.0]);
        let error = evaluate_to_vec(&half("big", 3), &weights).unwrap_err();
        assert_eq!(error.to_string(), "tensor `big` holds -65520 at index 1, which fp16 cannot hold");
        assert!(error.hint().unwrap().contains("float32"));
        weights.insert_f32("nan", &[1], &[f32::NAN]);
        assert!(evaluate_to_vec(&half("nan", 1), &weights).is_err());
    }

    #[test]
    fn every_stored_type_becomes_a_float() {
        let mut weights = MemoryWeights::default();
        weights.insert("f64", CheckpointDtype::F64, &[2], [0.1f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect());
        weights.insert("bf16", CheckpointDtype::BF16, &[2], [0x3F80u16, 0xC000].iter().flat_map(|v| v.to_le_bytes()).collect());
        weights.insert("i64", CheckpointDtype::I64, &[2], [7i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect());
        let as_f32 = |name: &str, dtype| floats(&Recipe::source(name, dtype, &[2]).cast(DataType::Float32), &weights);
        assert_eq!(as_f32("f64", DataType::Float64), [0.1, -2.0]);
        assert_eq!(as_f32("bf16", DataType::BFloat16), [1.0, -2.0]);
        assert_eq!(as_f32("i64", DataType::Int64), [7.0, -1.0]);
        let ints = Recipe::source("i64", DataType::Int64, &[2]).cast(DataType::Int32);
        assert_eq!(evaluate_to_vec(&ints, &weights).unwrap(), [7, 0, 0, 0, 255, 255, 255, 255]);
    }

    #[test]
    fn pieces_join_without_a_seam() {
        let n = PIECE * AT_ONCE + 12_345;
        let values: Vec<f32> = (0..n).map(|i| (i % 4093) as f32 * 0.25 - 300.0).collect();
        let mut weights = MemoryWeights::default();
        weights.insert_f32("long", &[n], &values);
        let recipe = Recipe::source("long", DataType::Float32, &[n]).cast(DataType::Float16);
        let expected: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        assert!(evaluate_to_vec(&recipe, &weights).unwrap() == expected);
    }
}
