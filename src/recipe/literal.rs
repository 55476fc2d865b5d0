//! Values that stand in the recipe.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use half::f16;

use super::{
    AnyStep, ConvertError, Evaluator, Origin, Recipe,
    key::KeyHasher,
    product,
    step::{Reader, Step, part},
};
use crate::types::DataType;

/// The step of a recipe whose values stand in place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InPlace(Literal);

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

    /// The values as in a weight file: little-endian, integers in the width of `dtype`; `None` for strings.
    pub fn to_bytes(&self, dtype: DataType) -> Option<Cow<'_, [u8]>> {
        let width = dtype.bits().map_or(0, |bits| bits as usize / 8);
        Some(Cow::Owned(match self {
            Self::Bools(values) => values.iter().map(|&value| u8::from(value)).collect(),
            Self::Ints(values) => values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect(),
            Self::Floats(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Halves(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Doubles(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Strings(_) => return None,
            Self::Packed(bytes) => return Some(Cow::Borrowed(bytes)),
        }))
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

impl Recipe {
    /// Values in place; `None` where they are not of that type or number.
    pub fn literal(dtype: DataType, shape: &[u64], literal: Literal) -> Option<Arc<Self>> {
        let elements = product(shape)?;
        literal.fits(dtype, elements).then(|| Self::new(dtype, shape, InPlace(literal)))
    }

    /// The values, where they stand in the recipe itself.
    pub fn as_literal(&self) -> Option<&Literal> {
        match &self.step {
            AnyStep::InPlace(InPlace(literal)) => Some(literal),
            _ => None,
        }
    }
}

impl Step for InPlace {
    fn inputs(&self) -> Vec<&Recipe> {
        Vec::new()
    }

    fn feed(&self, recipe: &Recipe, key: &mut KeyHasher) {
        key.begin(recipe, "literal");
        key.bytes(&key_bytes(&self.0));
    }

    fn origin(&self, _recipe: &Recipe, index: u64) -> (Origin, u64) {
        (Origin::Literal, index)
    }

    fn print(&self, recipe: &Recipe, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(recipe, &self.0))
    }

    fn open<'a>(&'a self, recipe: &'a Recipe, _evaluator: &'a Evaluator<'_>) -> Result<Box<dyn Reader + 'a>, ConvertError> {
        let dtype = recipe.dtype();
        let (Some(data), Some(bits)) = (self.0.to_bytes(dtype), dtype.bits()) else {
            return Err(ConvertError::Unsupported { dtype, step: "written to a weight file" });
        };
        Ok(Box::new(GivenElements { data, bits }))
    }
}

struct GivenElements<'a> {
    data: Cow<'a, [u8]>,
    bits: u64,
}

impl Reader for GivenElements<'_> {
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, ConvertError> {
        Ok(Cow::Borrowed(part(&self.data, self.bits, &range)))
    }

    fn release(&self, _range: Option<Range<u64>>) {}

    fn in_memory(&self) -> Option<&[u8]> {
        Some(&self.data)
    }
}

/// Integers count with all their 64 bits, and texts with their lengths.
fn key_bytes(literal: &Literal) -> Vec<u8> {
    match literal {
        Literal::Ints(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Literal::Strings(values) => {
            let mut bytes = Vec::new();
            for text in values {
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes
        }
        // Only integers are written in the width of their type.
        other => other.to_bytes(DataType::Int64).unwrap_or_default().into_owned(),
    }
}

/// The first values, in brackets where there can be several.
fn print(recipe: &Recipe, literal: &Literal) -> String {
    const SHOWN: usize = 16;
    let mut items: Vec<String> = match literal {
        Literal::Bools(v) => v.iter().take(SHOWN).map(ToString::to_string).collect(),
        Literal::Ints(v) => v.iter().take(SHOWN).map(ToString::to_string).collect(),
        Literal::Floats(v) => v.iter().take(SHOWN).map(|x| format!("{x:?}")).collect(),
        Literal::Halves(v) => v.iter().take(SHOWN).map(|x| format!("{:?}", x.to_f32())).collect(),
        Literal::Doubles(v) => v.iter().take(SHOWN).map(|x| format!("{x:?}")).collect(),
        Literal::Strings(v) => v.iter().take(SHOWN).map(|x| format!("{x:?}")).collect(),
        Literal::Packed(v) => vec![format!("{} bytes", v.len())],
    };
    if recipe.shape().is_empty() {
        return items.pop().unwrap_or_default();
    }
    if literal.len().is_some_and(|n| n > SHOWN) {
        items.push("...".to_owned());
    }
    format!("[{}]", items.join(", "))
}
