//! From a constant's bytes to a tensor. Bytes are laid out as in a weight file: little-endian, sub-byte elements as one
//! bit stream.

use candle_core::{Device, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::OperationError;
use crate::{
    mil::{DataType, TensorType},
    recipe::{ConstantSource, Recipe},
};

/// The tensor of a recipe, in the element type that it is [held](super::storage_type) in.
pub(super) fn tensor(name: &str, recipe: &Recipe, source: &dyn ConstantSource) -> Result<Tensor, OperationError> {
    let bytes = match recipe.as_literal() {
        Some(literal) => literal.to_bytes(recipe.dtype()).unwrap_or_default(),
        None => source.bytes(recipe).map_err(|source| OperationError::Source { name: name.to_owned(), source })?,
    };
    let expected = recipe.byte_length().unwrap_or(u64::MAX);
    if bytes.len() as u64 != expected {
        let ty = TensorType::new(recipe.dtype(), recipe.shape()).to_string();
        return Err(OperationError::Length { name: name.to_owned(), ty, expected, found: bytes.len() as u64 });
    }
    let tensor = decode(recipe.dtype(), recipe.shape(), &bytes).map_err(super::KernelError::from)?;
    tensor.ok_or_else(|| OperationError::DataType { name: name.to_owned(), dtype: recipe.dtype() })
}

/// A tensor from bytes of exactly its length; `None` for element types that cannot be computed with (strings, 8-bit
/// floats).
///
/// # Errors
/// When the bytes are not as many as the shape needs.
pub fn decode(dtype: DataType, shape: &[u64], bytes: &[u8]) -> candle_core::Result<Option<Tensor>> {
    let shape: Vec<usize> =
        shape.iter().map(|&n| usize::try_from(n).map_err(candle_core::Error::wrap)).collect::<Result<_, _>>()?;
    let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let Some(elements) = elements else { candle_core::bail!("the shape {shape:?} overflows") };
    let ints = |values: Vec<i64>| Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).map(Some);
    let floats = |values: Vec<f32>| Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).map(Some);
    match dtype {
        DataType::String | DataType::Float8E4M3FN | DataType::Float8E5M2 => Ok(None),
        DataType::Bool => {
            Tensor::from_vec(bytes.iter().map(|&b| u8::from(b != 0)).collect(), shape.as_slice(), &Device::Cpu)
                .map(Some)
        }
        DataType::Float16 => floats(halves(bytes)),
        DataType::Float32 => floats(each(bytes, f32::from_le_bytes)),
        DataType::Float64 => floats(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        DataType::BFloat16 => floats(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        DataType::Int8 => ints(each(bytes, |b| i64::from(i8::from_le_bytes(b)))),
        DataType::Int16 => ints(each(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        DataType::Int32 => ints(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        DataType::UInt8 => ints(each(bytes, |[b]: [u8; 1]| i64::from(b))),
        DataType::UInt16 => ints(each(bytes, |b| i64::from(u16::from_le_bytes(b)))),
        DataType::UInt32 => ints(each(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        DataType::Int64 | DataType::UInt64 => ints(each(bytes, i64::from_le_bytes)),
        DataType::Int4 => ints(bits(bytes, 4, elements).into_iter().map(|v| if v > 7 { v - 16 } else { v }).collect()),
        DataType::UInt1 => ints(bits(bytes, 1, elements)),
        DataType::UInt2 => ints(bits(bytes, 2, elements)),
        DataType::UInt3 => ints(bits(bytes, 3, elements)),
        DataType::UInt4 => ints(bits(bytes, 4, elements)),
        DataType::UInt6 => ints(bits(bytes, 6, elements)),
    }
}

fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

/// Converted in blocks, so that no second copy of a large weight exists.
fn halves(bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / 2];
    let convert = |(chunk, out): (&[u8], &mut [f32])| each(chunk, f16::from_le_bytes).convert_to_f32_slice(out);
    bytes.par_chunks(8192).zip(values.par_chunks_mut(4096)).for_each(convert);
    values
}

/// `count` unsigned integers of `width` bits (at most 8), low bits first; an element may cross a byte.
fn bits(bytes: &[u8], width: usize, count: usize) -> Vec<i64> {
    let count = count.min(bytes.len() * 8 / width);
    let byte = |i: usize| bytes.get(i).map_or(0, |&byte| u16::from(byte));
    let element = |i: usize| {
        let at = i * width;
        i64::from((byte(at / 8) | byte(at / 8 + 1) << 8) >> (at % 8) & ((1 << width) - 1))
    };
    (0..count).into_par_iter().with_min_len(1 << 14).map(element).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mil::Literal;

    #[test]
    fn elements_of_every_width_are_read_little_endian() {
        let ints =
            |dtype, count, bytes: &[u8]| decode(dtype, &[count], bytes).unwrap().unwrap().to_vec1::<i64>().unwrap();
        assert_eq!(ints(DataType::Int8, 2, &[0xff, 1]), [-1, 1]);
        assert_eq!(ints(DataType::UInt16, 1, &[0x01, 0x80]), [0x8001]);
        assert_eq!(ints(DataType::Int16, 1, &[0x01, 0x80]), [-32767]);
        assert_eq!(ints(DataType::Int4, 3, &[0xf1, 0x08]), [1, -1, -8]);
        assert_eq!(ints(DataType::UInt3, 3, &[0b1011_1001, 0b1]), [1, 7, 6]);
        assert_eq!(ints(DataType::UInt1, 4, &[0b1010]), [0, 1, 0, 1]);
        let floats = |dtype, bytes: &[u8]| decode(dtype, &[1], bytes).unwrap().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(floats(DataType::Float16, &[0x00, 0xc0]), [-2.0]);
        assert_eq!(floats(DataType::BFloat16, &[0x80, 0x3f]), [1.0]);
        assert_eq!(floats(DataType::Float64, &2.5f64.to_le_bytes()), [2.5]);
    }

    #[test]
    fn a_wrong_number_of_bytes_is_refused() {
        assert!(decode(DataType::Float32, &[2], &[0; 4]).is_err());
        assert!(decode(DataType::UInt4, &[3], &[0]).is_err());
        assert!(decode(DataType::Float32, &[u64::MAX, 2], &[]).is_err());
        assert!(decode(DataType::String, &[1], &[0]).unwrap().is_none());
    }

    #[test]
    fn literals_and_bytes_agree() {
        let literal = Literal::Ints(vec![-2, 300]);
        let bytes = literal.to_bytes(DataType::Int32).unwrap();
        assert_eq!(decode(DataType::Int32, &[2], &bytes).unwrap().unwrap().to_vec1::<i64>().unwrap(), [-2, 300]);
    }
}
