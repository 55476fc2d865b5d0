//! Elements between files and memory: little-endian, row-major bytes in, held tensors out, and back.

use std::io::{self, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::TensorFileError;
use crate::{
    eval::{decode, view},
    recipe::{float8_e4m3fn, float8_e5m2},
    types::DataType,
};

/// How many elements are turned to bytes at once.
const BLOCK: usize = 1 << 14;

/// Why elements cannot be held or written.
#[derive(Debug, thiserror::Error)]
pub enum ElementProblem {
    /// A number that does not fit.
    #[error("element {index} is {value}, which {dtype} cannot hold")]
    Value {
        /// Its place in row-major order.
        index: usize,
        /// The number.
        value: String,
        /// The element type.
        dtype: DataType,
    },
    /// An element type without numbers, or one that no format has.
    #[error("elements of type {dtype} cannot be read or written")]
    DataType {
        /// The element type.
        dtype: DataType,
    },
    /// A shape whose length does not fit into memory.
    #[error("the shape {shape:?} is larger than any memory")]
    Shape {
        /// The shape.
        shape: Vec<u64>,
    },
    /// The tensor library refused.
    #[error("the tensor cannot be held")]
    Tensor(#[from] candle_core::Error),
}

impl ElementProblem {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let Self::Value { dtype: DataType::Float16 | DataType::BFloat16, .. } = self else { return None };
        Some("write the tensor as float32".to_owned())
    }
}

/// Why elements could not be written.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Element(ElementProblem),
}

impl Failure {
    /// The error of a tensor in a file.
    pub(super) fn at(self, path: &Path, name: &str) -> TensorFileError {
        match self {
            Self::Io(source) => TensorFileError::Io { path: path.to_owned(), source },
            Self::Element(problem) => TensorFileError::Tensor { path: path.to_owned(), name: name.to_owned(), problem },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ElementProblem> for Failure {
    fn from(problem: ElementProblem) -> Self {
        Self::Element(problem)
    }
}

/// The tensor of exactly as many bytes as type and shape need.
pub(super) fn tensor(dtype: DataType, shape: &[u64], bytes: &[u8]) -> Result<Tensor, ElementProblem> {
    // Strides are products of dimensions too, also where another dimension is 0.
    let fits = shape
        .iter()
        .try_fold(8u64, |product, &n| product.checked_mul(n.max(1)))
        .is_some_and(|n| i64::try_from(n).is_ok());
    if !fits {
        return Err(ElementProblem::Shape { shape: shape.to_vec() });
    }
    let eight = |read: fn(u8) -> f32| {
        let shape: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
        Tensor::from_vec(bytes.iter().map(|&b| read(b)).collect::<Vec<f32>>(), shape, &Device::Cpu)
            .map_err(ElementProblem::from)
    };
    match dtype {
        DataType::Float8E4M3FN => return eight(float8_e4m3fn),
        DataType::Float8E5M2 => return eight(float8_e5m2),
        DataType::UInt64 => check_u64(bytes)?,
        _ => {}
    }
    decode(dtype, shape, bytes)?.ok_or(ElementProblem::DataType { dtype })
}

fn check_u64(bytes: &[u8]) -> Result<(), ElementProblem> {
    let values = bytes.as_chunks::<8>().0;
    let Some(index) = values.iter().position(|value| value[7] >= 0x80) else { return Ok(()) };
    Err(ElementProblem::Value { index, value: u64::from_le_bytes(values[index]).to_string(), dtype: DataType::Int64 })
}

/// The type that elements are stored in where files have whole bytes only; `None` for what is never held.
pub(super) fn whole_bytes(dtype: DataType) -> Option<DataType> {
    match dtype {
        DataType::String | DataType::Float8E4M3FN | DataType::Float8E5M2 => None,
        DataType::Int4 => Some(DataType::Int8),
        DataType::UInt1 | DataType::UInt2 | DataType::UInt3 | DataType::UInt4 | DataType::UInt6 => {
            Some(DataType::UInt8)
        }
        other => Some(other),
    }
}

/// Writes a tensor's elements as little-endian bytes of a type that [`whole_bytes`] gave, in blocks.
pub(super) fn write(tensor: &Tensor, dtype: DataType, out: &mut dyn Write) -> Result<(), Failure> {
    let written = match tensor.dtype() {
        DType::F32 => view(tensor, |values: &[f32]| write_all(values, Number::Float, dtype, out)),
        DType::I64 => view(tensor, |values: &[i64]| write_all(values, Number::Int, dtype, out)),
        DType::U8 => view(tensor, |values: &[u8]| write_all(values, |v| Number::Int(i64::from(v)), dtype, out)),
        _ => tensor
            .to_dtype(DType::F32)
            .and_then(|t| view(&t, |values: &[f32]| write_all(values, Number::Float, dtype, out))),
    };
    written.map_err(ElementProblem::from)?
}

fn write_all<T: Copy>(
    values: &[T],
    number: impl Fn(T) -> Number,
    dtype: DataType,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut bytes = Vec::with_capacity(values.len().min(BLOCK) * 8);
    for (block, elements) in values.chunks(BLOCK).enumerate() {
        bytes.clear();
        for (i, &value) in elements.iter().enumerate() {
            let number = number(value);
            if number.push(dtype, &mut bytes).is_none() {
                return Err(ElementProblem::Value { index: block * BLOCK + i, value: number.to_string(), dtype }.into());
            }
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// A held number.
#[derive(Clone, Copy)]
enum Number {
    Float(f32),
    Int(i64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
        }
    }
}

impl Number {
    /// Appends its bytes; `None` where the type cannot hold it. Floats are rounded to shorter ones, everything else
    /// must be exact.
    fn push(self, dtype: DataType, out: &mut Vec<u8>) -> Option<()> {
        match dtype {
            DataType::Float16 => self.short_float(f16::from_f32, f16::is_finite).map(|v| out.extend(v.to_le_bytes())),
            DataType::BFloat16 => {
                self.short_float(bf16::from_f32, bf16::is_finite).map(|v| out.extend(v.to_le_bytes()))
            }
            DataType::Float32 => self.float().map(|v| out.extend(v.to_le_bytes())),
            DataType::Float64 => self.float64().map(|v| out.extend(v.to_le_bytes())),
            DataType::Int8 => self.int::<i8>().map(|v| out.extend(v.to_le_bytes())),
            DataType::Int16 => self.int::<i16>().map(|v| out.extend(v.to_le_bytes())),
            DataType::Int32 => self.int::<i32>().map(|v| out.extend(v.to_le_bytes())),
            DataType::Int64 => self.int::<i64>().map(|v| out.extend(v.to_le_bytes())),
            DataType::UInt8 => self.int::<u8>().map(|v| out.push(v)),
            DataType::UInt16 => self.int::<u16>().map(|v| out.extend(v.to_le_bytes())),
            DataType::UInt32 => self.int::<u32>().map(|v| out.extend(v.to_le_bytes())),
            DataType::UInt64 => self.int::<u64>().map(|v| out.extend(v.to_le_bytes())),
            DataType::Bool => self.int::<u8>().filter(|&v| v < 2).map(|v| out.push(v)),
            _ => None,
        }
    }

    fn float(self) -> Option<f32> {
        match self {
            Self::Float(value) => Some(value),
            Self::Int(value) => Some(value as f32).filter(|&float| float as i128 == i128::from(value)),
        }
    }

    fn float64(self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(f64::from(value)),
            Self::Int(value) => Some(value as f64).filter(|&float| float as i128 == i128::from(value)),
        }
    }

    /// Rounded to a shorter float, unless that makes an infinity of a finite number.
    fn short_float<T: Copy>(self, round: fn(f32) -> T, is_finite: fn(T) -> bool) -> Option<T> {
        let value = self.float()?;
        let short = round(value);
        (is_finite(short) || !value.is_finite()).then_some(short)
    }

    fn int<T: TryFrom<i64>>(self) -> Option<T> {
        let value = match self {
            Self::Int(value) => value,
            // 2^63 is the first float past i64.
            Self::Float(value) if value.fract() == 0.0 && (-9.223_372e18..9.223_372e18).contains(&value) => {
                value as i64
            }
            Self::Float(_) => return None,
        };
        T::try_from(value).ok()
    }
}
