//! Constants: recipes for bytes, not bytes.
//!
//! A recipe says from which checkpoint tensors and by which steps a constant is made; its dtype, shape and so its length in a weight file
//! are known before a byte was read. Equal recipes have equal [keys](Recipe::key), which is what makes "stored once" possible.

use std::sync::Arc;

use half::f16;

use super::{DataType, TensorType, ValueType};
use crate::base::Blake3;

/// How to make a tensor of a known dtype and shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    dtype: DataType,
    shape: Vec<u64>,
    kind: RecipeKind,
}

/// The last step of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub enum RecipeKind {
    /// A tensor of the checkpoint, as it is stored.
    Source {
        /// Its name.
        tensor: String,
    },
    /// Values that stand here.
    Literal(Literal),
    /// The data of a record in a weight file of a package that was read.
    Blob {
        /// The file as the program names it, e.g. `@model_path/weights/weight.bin`.
        file: String,
        /// Offset of the record (of its metadata, not of its data).
        offset: u64,
    },
    /// The same numbers in another element type, rounded to nearest even. A finite number that the type cannot hold is an error.
    Cast(Arc<Recipe>),
    /// The same elements under another shape.
    Reshape(Arc<Recipe>),
    /// Dimensions in another order: dimension `i` is the input's dimension `perm[i]`.
    Transpose {
        /// The input.
        input: Arc<Recipe>,
        /// The order.
        perm: Vec<usize>,
    },
    /// The elements `begin..begin + shape[axis]` along `axis`.
    Slice {
        /// The input.
        input: Arc<Recipe>,
        /// The dimension.
        axis: usize,
        /// First index.
        begin: u64,
    },
    /// Inputs one behind the other along `axis`.
    Concat {
        /// The inputs.
        inputs: Vec<Arc<Recipe>>,
        /// The dimension.
        axis: usize,
    },
    /// Every element times `factor`, computed in float32 or wider and rounded once.
    Scale {
        /// The input.
        input: Arc<Recipe>,
        /// The factor.
        factor: f64,
    },
    /// Every element of a matrix times the scale of its block, computed wider and rounded to float32 once.
    ScaleBlocks {
        /// The matrix, of float32.
        input: Arc<Recipe>,
        /// A scale for every block, of float32.
        scales: Arc<Recipe>,
        /// Rows and columns of a block; those at the ends may be smaller.
        block: [u64; 2],
    },
}

/// Values given in place.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Booleans.
    Bools(Vec<bool>),
    /// Integers of 8 bits or more.
    Ints(Vec<i64>),
    /// float32.
    Floats(Vec<f32>),
    /// float16.
    Halves(Vec<f16>),
    /// float64.
    Doubles(Vec<f64>),
    /// Strings.
    Strings(Vec<String>),
    /// Anything else, as in a weight file: little-endian; sub-byte elements as one bit stream, low bits first.
    Packed(Vec<u8>),
}

impl Literal {
    /// Number of elements; `None` for packed bytes, whose element type is known elsewhere.
    pub fn len(&self) -> Option<usize> {
        Some(match self {
            Self::Bools(v) => v.len(),
            Self::Ints(v) => v.len(),
            Self::Floats(v) => v.len(),
            Self::Halves(v) => v.len(),
            Self::Doubles(v) => v.len(),
            Self::Strings(v) => v.len(),
            Self::Packed(_) => return None,
        })
    }

    /// Whether there are no elements; `None` as for [`len`](Self::len).
    pub fn is_empty(&self) -> Option<bool> {
        self.len().map(|length| length == 0)
    }

    fn fits(&self, dtype: DataType, elements: u64) -> bool {
        let kind = match self {
            Self::Bools(_) => dtype == DataType::Bool,
            Self::Ints(values) => {
                dtype.is_integer() && dtype.bits().is_some_and(|bits| bits >= 8) && values.iter().all(|&v| int_fits(dtype, v))
            }
            Self::Floats(_) => dtype == DataType::Float32,
            Self::Halves(_) => dtype == DataType::Float16,
            Self::Doubles(_) => dtype == DataType::Float64,
            Self::Strings(_) => dtype == DataType::String,
            Self::Packed(bytes) => {
                dtype.bits().is_some_and(|bits| elements.checked_mul(bits).is_some_and(|n| n.div_ceil(8) == bytes.len() as u64))
            }
        };
        kind && self.len().is_none_or(|n| n as u64 == elements)
    }
}

fn int_fits(dtype: DataType, value: i64) -> bool {
    match dtype {
        DataType::Int8 => i8::try_from(value).is_ok(),
        DataType::Int16 => i16::try_from(value).is_ok(),
        DataType::Int32 => i32::try_from(value).is_ok(),
        DataType::UInt8 => u8::try_from(value).is_ok(),
        DataType::UInt16 => u16::try_from(value).is_ok(),
        DataType::UInt32 => u32::try_from(value).is_ok(),
        // 64-bit unsigned values are kept as their two's complement.
        _ => true,
    }
}

fn product(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |p, &n| p.checked_mul(n))
}

impl Recipe {
    /// A checkpoint tensor.
    pub fn source(tensor: &str, dtype: DataType, shape: &[u64]) -> Arc<Self> {
        Arc::new(Self { dtype, shape: shape.to_vec(), kind: RecipeKind::Source { tensor: tensor.to_owned() } })
    }

    /// The data of a record of an existing weight file.
    pub fn blob(file: &str, offset: u64, dtype: DataType, shape: &[u64]) -> Arc<Self> {
        Arc::new(Self { dtype, shape: shape.to_vec(), kind: RecipeKind::Blob { file: file.to_owned(), offset } })
    }

    /// Values in place; `None` where they are not of that type or number.
    pub fn literal(dtype: DataType, shape: &[u64], literal: Literal) -> Option<Arc<Self>> {
        let elements = product(shape)?;
        literal.fits(dtype, elements).then(|| Arc::new(Self { dtype, shape: shape.to_vec(), kind: RecipeKind::Literal(literal) }))
    }

    /// This recipe's elements as `dtype`; itself where it has that type already.
    pub fn cast(self: &Arc<Self>, dtype: DataType) -> Arc<Self> {
        if self.dtype == dtype {
            return self.clone();
        }
        Arc::new(Self { dtype, shape: self.shape.clone(), kind: RecipeKind::Cast(self.clone()) })
    }

    /// The same elements as `shape`; `None` where their number differs.
    pub fn reshape(self: &Arc<Self>, shape: &[u64]) -> Option<Arc<Self>> {
        if self.shape == shape {
            return Some(self.clone());
        }
        (product(shape)? == product(&self.shape)?)
            .then(|| Arc::new(Self { dtype: self.dtype, shape: shape.to_vec(), kind: RecipeKind::Reshape(self.clone()) }))
    }

    /// Dimensions reordered; `None` where `perm` is not a permutation of them.
    pub fn transpose(self: &Arc<Self>, perm: &[usize]) -> Option<Arc<Self>> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.shape.len()) {
            return None;
        }
        let shape = perm.iter().map(|&p| self.shape[p]).collect();
        Some(Arc::new(Self { dtype: self.dtype, shape, kind: RecipeKind::Transpose { input: self.clone(), perm: perm.to_vec() } }))
    }

    /// `length` indices from `begin` along `axis`; `None` where there are not so many.
    pub fn slice(self: &Arc<Self>, axis: usize, begin: u64, length: u64) -> Option<Arc<Self>> {
        let available = *self.shape.get(axis)?;
        if length == 0 || begin.checked_add(length)? > available {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[axis] = length;
        Some(Arc::new(Self { dtype: self.dtype, shape, kind: RecipeKind::Slice { input: self.clone(), axis, begin } }))
    }

    /// Inputs one behind the other; `None` where their types or other dimensions differ, or there are none.
    pub fn concat(inputs: &[Arc<Self>], axis: usize) -> Option<Arc<Self>> {
        let first = inputs.first()?;
        let mut shape = first.shape.clone();
        shape.get(axis)?;
        shape[axis] = 0;
        for input in inputs {
            let same = |(i, (a, b)): (usize, (&u64, &u64))| i == axis || a == b;
            let rank = input.shape.len() == shape.len();
            if !rank || input.dtype != first.dtype || !input.shape.iter().zip(&first.shape).enumerate().all(same) {
                return None;
            }
            shape[axis] = shape[axis].checked_add(input.shape[axis])?;
        }
        Some(Arc::new(Self { dtype: first.dtype, shape, kind: RecipeKind::Concat { inputs: inputs.to_vec(), axis } }))
    }

    /// Every element times `factor`.
    pub fn scale(self: &Arc<Self>, factor: f64) -> Arc<Self> {
        Arc::new(Self { dtype: self.dtype, shape: self.shape.clone(), kind: RecipeKind::Scale { input: self.clone(), factor } })
    }

    /// Every element of a matrix times the scale of its block of `block` rows and columns; `None` where something else than a matrix of float32
    /// is scaled, or the scales are not one of float32 for each block.
    pub fn scale_blocks(self: &Arc<Self>, scales: &Arc<Self>, block: [u64; 2]) -> Option<Arc<Self>> {
        let [rows, columns] = <[u64; 2]>::try_from(self.shape.as_slice()).ok()?;
        let blocks = [
            rows.checked_div(block[0])? + u64::from(rows % block[0] > 0),
            columns.checked_div(block[1])? + u64::from(columns % block[1] > 0),
        ];
        let floats = self.dtype == DataType::Float32 && scales.dtype == DataType::Float32;
        (floats && scales.shape == blocks).then(|| {
            let kind = RecipeKind::ScaleBlocks { input: self.clone(), scales: scales.clone(), block };
            Arc::new(Self { dtype: self.dtype, shape: self.shape.clone(), kind })
        })
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Dimensions.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The last step.
    pub fn kind(&self) -> &RecipeKind {
        &self.kind
    }

    /// The values, where they stand in the recipe itself.
    pub fn as_literal(&self) -> Option<&Literal> {
        match &self.kind {
            RecipeKind::Literal(literal) => Some(literal),
            _ => None,
        }
    }

    /// Number of elements; `None` on overflow, which only damaged input can cause.
    pub fn elements(&self) -> Option<u64> {
        product(&self.shape)
    }

    /// Length in a weight file, in bytes; `None` for strings and on overflow.
    pub fn byte_length(&self) -> Option<u64> {
        Some(self.elements()?.checked_mul(self.dtype.bits()?)?.div_ceil(8))
    }

    /// The names of the checkpoint tensors that go into it, in order.
    pub fn sources(&self) -> Vec<&str> {
        match &self.kind {
            RecipeKind::Source { tensor } => vec![tensor],
            RecipeKind::Literal(_) | RecipeKind::Blob { .. } => Vec::new(),
            RecipeKind::Cast(input) | RecipeKind::Reshape(input) => input.sources(),
            RecipeKind::Transpose { input, .. } | RecipeKind::Slice { input, .. } | RecipeKind::Scale { input, .. } => input.sources(),
            RecipeKind::Concat { inputs, .. } => inputs.iter().flat_map(|input| input.sources()).collect(),
            RecipeKind::ScaleBlocks { input, scales, .. } => [input, scales].into_iter().flat_map(|input| input.sources()).collect(),
        }
    }

    /// Identifies the bytes that the recipe makes: equal for equal steps. Shapes that do not change the bytes do not count.
    pub fn key(&self) -> Blake3 {
        let mut hasher = blake3::Hasher::new();
        self.feed(&mut hasher);
        Blake3::from_bytes(*hasher.finalize().as_bytes())
    }

    fn feed(&self, hasher: &mut blake3::Hasher) {
        let numbers = |hasher: &mut blake3::Hasher, values: &[u64]| {
            hasher.update(&(values.len() as u64).to_le_bytes());
            for value in values {
                hasher.update(&value.to_le_bytes());
            }
        };
        let text = |hasher: &mut blake3::Hasher, value: &str| {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value.as_bytes());
        };
        if let RecipeKind::Reshape(input) = &self.kind {
            return input.feed(hasher);
        }
        text(hasher, self.dtype.name());
        match &self.kind {
            RecipeKind::Reshape(_) => {}
            RecipeKind::Source { tensor } => {
                text(hasher, "source");
                text(hasher, tensor);
            }
            RecipeKind::Literal(literal) => {
                text(hasher, "literal");
                feed_literal(hasher, literal);
            }
            RecipeKind::Blob { file, offset } => {
                text(hasher, "blob");
                text(hasher, file);
                numbers(hasher, &[*offset]);
            }
            RecipeKind::Cast(input) => {
                text(hasher, "cast");
                input.feed(hasher);
            }
            RecipeKind::Transpose { input, perm } => {
                text(hasher, "transpose");
                numbers(hasher, &input.shape);
                numbers(hasher, &perm.iter().map(|&p| p as u64).collect::<Vec<_>>());
                input.feed(hasher);
            }
            RecipeKind::Slice { input, axis, begin } => {
                text(hasher, "slice");
                numbers(hasher, &input.shape);
                numbers(hasher, &[*axis as u64, *begin, self.shape[*axis]]);
                input.feed(hasher);
            }
            RecipeKind::Concat { inputs, axis } => {
                text(hasher, "concat");
                numbers(hasher, &[*axis as u64, inputs.len() as u64]);
                for input in inputs {
                    numbers(hasher, &input.shape);
                    input.feed(hasher);
                }
            }
            RecipeKind::Scale { input, factor } => {
                text(hasher, "scale");
                numbers(hasher, &[factor.to_bits()]);
                input.feed(hasher);
            }
            RecipeKind::ScaleBlocks { input, scales, block } => {
                text(hasher, "scale blocks");
                numbers(hasher, &input.shape);
                numbers(hasher, block);
                input.feed(hasher);
                scales.feed(hasher);
            }
        }
    }
}

fn feed_literal(hasher: &mut blake3::Hasher, literal: &Literal) {
    let mut bytes = Vec::new();
    match literal {
        Literal::Bools(v) => v.iter().for_each(|&b| bytes.push(u8::from(b))),
        Literal::Ints(v) => v.iter().for_each(|i| bytes.extend(i.to_le_bytes())),
        Literal::Floats(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Literal::Halves(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Literal::Doubles(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Literal::Strings(v) => v.iter().for_each(|s| {
            bytes.extend((s.len() as u64).to_le_bytes());
            bytes.extend(s.as_bytes());
        }),
        Literal::Packed(v) => bytes.extend(v),
    }
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(&bytes);
}

/// A tensor constant.
pub type Constant = Arc<Recipe>;

/// A constant of any type, as `MILSpec.Value`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A tensor or scalar.
    Tensor(Constant),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A list.
    List {
        /// Type of the elements.
        element: ValueType,
        /// The elements.
        values: Vec<Value>,
    },
    /// A dictionary, in its order.
    Dictionary {
        /// Type of the keys.
        key: ValueType,
        /// Type of the values.
        value: ValueType,
        /// The entries.
        entries: Vec<(Value, Value)>,
    },
}

impl Value {
    fn scalar(dtype: DataType, literal: Literal) -> Self {
        Self::Tensor(Arc::new(Recipe { dtype, shape: Vec::new(), kind: RecipeKind::Literal(literal) }))
    }

    fn vector(dtype: DataType, length: usize, literal: Literal) -> Self {
        Self::Tensor(Arc::new(Recipe { dtype, shape: vec![length as u64], kind: RecipeKind::Literal(literal) }))
    }

    /// A string.
    pub fn string(text: &str) -> Self {
        Self::scalar(DataType::String, Literal::Strings(vec![text.to_owned()]))
    }

    /// A boolean.
    pub fn bool(value: bool) -> Self {
        Self::scalar(DataType::Bool, Literal::Bools(vec![value]))
    }

    /// An int32 scalar.
    pub fn int(value: i32) -> Self {
        Self::scalar(DataType::Int32, Literal::Ints(vec![i64::from(value)]))
    }

    /// An int32 vector.
    pub fn ints(values: &[i32]) -> Self {
        Self::vector(DataType::Int32, values.len(), Literal::Ints(values.iter().map(|&v| i64::from(v)).collect()))
    }

    /// A vector of booleans.
    pub fn bools(values: &[bool]) -> Self {
        Self::vector(DataType::Bool, values.len(), Literal::Bools(values.to_vec()))
    }

    /// A float scalar of `dtype` (float16 or float32). A nonzero value below float16's range becomes its smallest number instead of 0,
    /// as coremltools does for epsilons.
    pub fn float(dtype: DataType, value: f32) -> Self {
        if dtype == DataType::Float16 {
            let mut half = f16::from_f32(value);
            if half == f16::ZERO && value != 0.0 {
                half = f16::from_bits(if value < 0.0 { 0x8001 } else { 0x0001 });
            }
            return Self::scalar(dtype, Literal::Halves(vec![half]));
        }
        Self::scalar(DataType::Float32, Literal::Floats(vec![value]))
    }

    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Tensor(recipe) => TensorType::new(recipe.dtype, &recipe.shape).into(),
            Self::Tuple(values) => ValueType::Tuple(values.iter().map(Value::value_type).collect()),
            Self::List { element, values } => {
                ValueType::List { element: Box::new(element.clone()), length: super::Dimension::Known(values.len() as u64) }
            }
            Self::Dictionary { key, value, .. } => ValueType::Dictionary { key: Box::new(key.clone()), value: Box::new(value.clone()) },
        }
    }

    /// The tensor, where it is one.
    pub fn tensor(&self) -> Option<&Constant> {
        match self {
            Self::Tensor(recipe) => Some(recipe),
            _ => None,
        }
    }

    /// The string, where it is a scalar string.
    pub fn as_str(&self) -> Option<&str> {
        match self.tensor()?.as_literal()? {
            Literal::Strings(values) if self.tensor()?.shape.is_empty() => values.first().map(String::as_str),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_equal_keys() {
        let source = Recipe::source("a", DataType::Float32, &[4, 2]);
        let half = source.cast(DataType::Float16);
        assert_eq!(half.key(), half.reshape(&[8]).unwrap().key());
        assert_eq!(half.key(), source.reshape(&[2, 4]).unwrap().cast(DataType::Float16).key());
        assert_ne!(half.key(), source.key());
        assert_ne!(source.key(), Recipe::source("b", DataType::Float32, &[4, 2]).key());
        assert_ne!(source.transpose(&[1, 0]).unwrap().key(), source.key());
        assert_ne!(source.slice(0, 0, 2).unwrap().key(), source.slice(0, 1, 2).unwrap().key());
        assert_eq!(half.byte_length(), Some(16));
    }

    #[test]
    fn impossible_recipes_cannot_be_made() {
        let source = Recipe::source("a", DataType::Float32, &[4, 2]);
        assert!(source.reshape(&[7]).is_none());
        assert!(source.transpose(&[0, 0]).is_none());
        assert!(source.slice(0, 3, 2).is_none());
        assert!(Recipe::concat(&[source.clone(), source.cast(DataType::Float16)], 0).is_none());
        assert!(Recipe::literal(DataType::Int8, &[1], Literal::Ints(vec![128])).is_none());
        assert!(Recipe::literal(DataType::UInt4, &[3], Literal::Packed(vec![0, 0])).is_some());
        assert!(Recipe::literal(DataType::UInt4, &[3], Literal::Packed(vec![0])).is_none());
    }

    #[test]
    fn epsilons_do_not_vanish_in_float16() {
        let Value::Tensor(recipe) = Value::float(DataType::Float16, 1e-12) else { panic!() };
        assert_eq!(recipe.as_literal(), Some(&Literal::Halves(vec![f16::from_bits(1)])));
    }
}
