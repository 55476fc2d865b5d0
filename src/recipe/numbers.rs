//! Element types: casts and scalings of a piece of a tensor, rounded to nearest even, never to infinity.

use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::ConvertError;
use crate::types::DataType;

/// A number that does not fit, by its index in the piece; or a step that is not defined.
#[derive(Debug)]
pub(super) enum Bad {
    Value { index: u64, value: f64 },
    Step(ConvertError),
}

impl From<ConvertError> for Bad {
    fn from(error: ConvertError) -> Self {
        Self::Step(error)
    }
}

/// Casts a piece. The common ways to float16 and float32 are vectorized, everything else goes element by element.
pub(super) fn cast(data: &[u8], from: DataType, to: DataType) -> Result<Vec<u8>, Bad> {
    match (from, to) {
        (DataType::Float32 | DataType::BFloat16 | DataType::Float16, DataType::Float16) => {
            to_halves(&to_f32(data, from))
        }
        (DataType::BFloat16 | DataType::Float16, DataType::Float32) => {
            Ok(bytes_of(&to_f32(data, from), f32::to_le_bytes))
        }
        _ => map(data, from, to, |number| number),
    }
}

/// Multiplies a piece by `factor`, in float64.
pub(super) fn scale(data: &[u8], dtype: DataType, factor: f64) -> Result<Vec<u8>, Bad> {
    if !dtype.is_float() {
        return Err(ConvertError::Unsupported { dtype, step: "scaled" }.into());
    }
    match dtype {
        DataType::Float32 => scale_floats(data, factor),
        _ => map(data, dtype, dtype, |number| Number::Float(number.as_f64() * factor)),
    }
}

/// Multiplies every float32 of a piece with the scale of its index there, in float64.
pub(super) fn scale_each(data: &[u8], scale: impl Fn(u64) -> f32) -> Result<Vec<u8>, Bad> {
    let mut out = Vec::with_capacity(data.len());
    for (index, bytes) in (0..).zip(data.as_chunks().0) {
        let value = f64::from(f32::from_le_bytes(*bytes)) * f64::from(scale(index));
        let rounded = value as f32;
        if !rounded.is_finite() && value.is_finite() {
            return Err(Bad::Value { index, value });
        }
        out.extend_from_slice(&rounded.to_le_bytes());
    }
    Ok(out)
}

/// A number of four bits of exponent and three of mantissa, without infinities: OCP 8-bit floating point, revision 1.0.
pub fn float8_e4m3fn(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 512.0,
        _ => (8.0 + mantissa) * (exponent as f32 - 10.0).exp2(),
    };
    if byte < 0x80 { magnitude } else { -magnitude }
}

/// A number of five bits of exponent and two of mantissa: the upper half of a float16.
pub fn float8_e5m2(byte: u8) -> f32 {
    f16::from_bits(u16::from(byte) << 8).to_f32()
}

/// The common case, vectorized.
fn scale_floats(data: &[u8], factor: f64) -> Result<Vec<u8>, Bad> {
    let scaled = |bytes: [u8; 4]| f64::from(f32::from_le_bytes(bytes)) * factor;
    let (numbers, _) = data.as_chunks();
    let out = bytes_of(numbers, |bytes| (scaled(bytes) as f32).to_le_bytes());
    let overflow =
        |(result, bytes): (&[u8; 4], &[u8; 4])| !f32::from_le_bytes(*result).is_finite() && scaled(*bytes).is_finite();
    match not_finite(&out, DataType::Float32).and_then(|_| out.as_chunks().0.iter().zip(numbers).position(overflow)) {
        Some(index) => Err(Bad::Value { index: index as u64, value: scaled(numbers[index]) }),
        None => Ok(out),
    }
}

/// The first element that is NaN or infinite, and its index.
pub(super) fn not_finite(data: &[u8], dtype: DataType) -> Option<(u64, f64)> {
    // All ones in the exponent, looked at in the byte that holds most of it: cheap, and nearly always enough.
    let (width, mask) = match dtype {
        DataType::Float16 => (2, 0x7C00u64),
        DataType::BFloat16 => (2, 0x7F80),
        DataType::Float32 => (4, 0x7F80_0000),
        DataType::Float64 => (8, 0x7FF0_0000_0000_0000),
        DataType::Float8E5M2 => (1, 0x7C),
        DataType::Float8E4M3FN => (1, 0x7F),
        _ => return None,
    };
    let special = |index: usize| {
        let number = numbers(&data[index * width..(index + 1) * width], dtype).ok()?.next()?;
        Some((index as u64, number.as_f64()))
    };
    let all_ones = match width {
        1 => find(data, |[byte]: [u8; 1]| byte & mask as u8 == mask as u8),
        2 => find(data, |bytes| u16::from_le_bytes(bytes) & mask as u16 == mask as u16),
        4 => find(data, |bytes| u32::from_le_bytes(bytes) & mask as u32 == mask as u32),
        _ => find(data, |bytes| u64::from_le_bytes(bytes) & mask == mask),
    };
    all_ones.and_then(special)
}

/// The first element for which `test` holds. Whole blocks are tested without a branch first.
fn find<const N: usize>(data: &[u8], test: impl Fn([u8; N]) -> bool) -> Option<usize> {
    let (elements, _) = data.as_chunks::<N>();
    let block =
        elements.chunks(1024).position(|block| block.iter().fold(false, |any, &element| any | test(element)))?;
    elements[block * 1024..].iter().position(|&element| test(element)).map(|index| block * 1024 + index)
}

fn to_f32(data: &[u8], dtype: DataType) -> Vec<f32> {
    match dtype {
        DataType::Float16 => {
            let halves: Vec<f16> = data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b)).collect();
            halves.to_f32_vec()
        }
        DataType::BFloat16 => data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        _ => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
    }
}

fn to_halves(values: &[f32]) -> Result<Vec<u8>, Bad> {
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(values);
    let bytes = bytes_of(&halves, f16::to_le_bytes);
    match not_finite(&bytes, DataType::Float16) {
        // Literals may be infinite on purpose, as in masks.
        Some(_) => match halves.iter().zip(values).position(|(half, value)| !half.is_finite() && value.is_finite()) {
            Some(index) => Err(Bad::Value { index: index as u64, value: values[index].into() }),
            None => Ok(bytes),
        },
        None => Ok(bytes),
    }
}

fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut out = vec![0; values.len() * N];
    for (place, &value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *place = bytes(value);
    }
    out
}

/// A number in the wider of the two kinds.
#[derive(Debug, Clone, Copy)]
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

    fn as_f32(self) -> f32 {
        match self {
            Self::Float(value) => value as f32,
            Self::Int(value) => value as f32,
        }
    }

    /// As float32, but rounded such that rounding it again to a shorter type gives what rounding once would have given:
    /// an inexact result gets an odd last bit, which breaks no ties. (`half` rounds float64 twice, and on some
    /// processors otherwise than on others.)
    fn as_odd_f32(self) -> f32 {
        let value = self.as_f64();
        let near = value as f32;
        if f64::from(near) == value || value.is_nan() {
            return near;
        }
        let toward_zero = if f64::from(near).abs() > value.abs() { near.to_bits() - 1 } else { near.to_bits() };
        f32::from_bits(toward_zero | 1)
    }
}

/// Applies `step` to every number.
fn map(data: &[u8], from: DataType, to: DataType, step: impl Fn(Number) -> Number) -> Result<Vec<u8>, Bad> {
    let mut out = Vec::new();
    for (index, number) in numbers(data, from)?.enumerate() {
        let number = step(number);
        if !push(&mut out, number, to)? {
            return Err(Bad::Value { index: index as u64, value: number.as_f64() });
        }
    }
    Ok(out)
}

fn numbers(data: &[u8], dtype: DataType) -> Result<Box<dyn Iterator<Item = Number> + '_>, ConvertError> {
    macro_rules! read {
        ($type:ty, $number:expr) => {{
            let number: fn($type) -> Number = $number;
            Box::new(data.as_chunks().0.iter().map(move |&bytes| number(<$type>::from_le_bytes(bytes))))
        }};
    }
    Ok(match dtype {
        DataType::Float64 => read!(f64, Number::Float),
        DataType::Float32 => read!(f32, |v| Number::Float(v.into())),
        DataType::Float16 => read!(f16, |v| Number::Float(v.into())),
        DataType::BFloat16 => read!(bf16, |v| Number::Float(v.into())),
        DataType::Float8E4M3FN => read!(u8, |v| Number::Float(float8_e4m3fn(v).into())),
        DataType::Float8E5M2 => read!(u8, |v| Number::Float(float8_e5m2(v).into())),
        DataType::Bool => read!(u8, |v| Number::Int((v != 0).into())),
        DataType::UInt8 => read!(u8, |v| Number::Int(v.into())),
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

/// Appends a number; `Ok(false)` says that it does not fit: beyond the largest, or not whole where only whole numbers
/// are.
fn push(out: &mut Vec<u8>, number: Number, dtype: DataType) -> Result<bool, ConvertError> {
    macro_rules! float {
        ($value:expr) => {{
            let value = $value;
            out.extend_from_slice(&value.to_le_bytes());
            value.is_finite() || !number.as_f64().is_finite()
        }};
    }
    macro_rules! int {
        ($type:ty) => {{
            let whole = match number {
                Number::Int(value) => Some(value),
                Number::Float(value) => (value.fract() == 0.0).then_some(value as i128),
            };
            let fitting = whole.and_then(|value| <$type>::try_from(value).ok());
            out.extend_from_slice(&fitting.unwrap_or(0).to_le_bytes());
            fitting.is_some()
        }};
    }
    Ok(match dtype {
        DataType::Float64 => float!(number.as_f64()),
        DataType::Float32 => float!(number.as_f32()),
        DataType::Float16 => float!(f16::from_f32(number.as_odd_f32())),
        DataType::BFloat16 => float!(bf16::from_f32(number.as_odd_f32())),
        DataType::Int8 => int!(i8),
        DataType::UInt8 => int!(u8),
        DataType::Int16 => int!(i16),
        DataType::UInt16 => int!(u16),
        DataType::Int32 => int!(i32),
        DataType::UInt32 => int!(u32),
        DataType::Int64 => int!(i64),
        DataType::UInt64 => int!(u64),
        _ => return Err(ConvertError::Unsupported { dtype, step: "a cast's result" }),
    })
}
