//! Values while a program runs: which types they have now, whether a program may declare so, how they are rounded.

use candle_core::{DType, Device, Tensor};
use half::{f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::{KernelError, Mode, storage_type, view};
use crate::mil::{DataType, Dimension, Literal, Recipe, TensorType, Value, ValueType};

/// A constant with its values in place where they are few, wherever they were stored.
pub(super) fn readable(value: &Value, tensor: Option<&Tensor>) -> Value {
    match (value, tensor) {
        (Value::Tensor(recipe), Some(tensor)) if recipe.as_literal().is_none() => {
            small(recipe.dtype(), tensor).unwrap_or_else(|| value.clone())
        }
        _ => value.clone(),
    }
}

/// The longest vector whose values operators may ask for.
const MOST_NUMBERS: usize = 1024;

/// The values of integer scalars and short vectors, and of float scalars: shapes, axes, indices that are computed.
pub(super) fn small(dtype: DataType, tensor: &Tensor) -> Option<Value> {
    if tensor.rank() > 1 || tensor.elem_count() > MOST_NUMBERS || (dtype.is_float() && tensor.rank() > 0) {
        return None;
    }
    let literal = match storage_type(dtype)? {
        DType::U8 => Literal::Bools(view(tensor, |values: &[u8]| values.iter().map(|&v| v != 0).collect()).ok()?),
        DType::I64 => Literal::Ints(view(tensor, <[i64]>::to_vec).ok()?),
        _ if dtype == DataType::Float16 => {
            Literal::Halves(view(tensor, |v: &[f32]| v.iter().map(|&v| f16::from_f32(v)).collect()).ok()?)
        }
        _ => Literal::Floats(view(tensor, <[f32]>::to_vec).ok()?),
    };
    let shape: Vec<u64> = tensor.dims().iter().map(|&n| n as u64).collect();
    Recipe::literal(dtype, &shape, literal).map(Value::Tensor)
}

/// The numbers of a value.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    /// Of a list: its elements, stacked.
    pub tensor: Tensor,
    /// Of a list: a flag for each element that can be read.
    pub readable: Option<Tensor>,
}

impl From<Tensor> for Numbers {
    fn from(tensor: Tensor) -> Self {
        Self { tensor, readable: None }
    }
}

impl Numbers {
    /// Takes the numbers of a value of type `ty` from a row of tensors: one, or two of a list.
    pub(super) fn take(ty: &ValueType, tensors: &mut impl Iterator<Item = Tensor>) -> Option<Self> {
        let tensor = tensors.next()?;
        let readable = if matches!(ty, ValueType::List { .. }) { Some(tensors.next()?) } else { None };
        Some(Self { tensor, readable })
    }

    /// How many tensors a value of type `ty` has.
    pub(super) fn count(ty: &ValueType) -> usize {
        if matches!(ty, ValueType::List { .. }) { 2 } else { 1 }
    }

    /// Its tensors, in a row.
    pub(super) fn into_tensors(self) -> impl Iterator<Item = Tensor> {
        [Some(self.tensor), self.readable].into_iter().flatten()
    }

    /// The type of a value of declared type `ty` with the lengths that it has now. Lengths of elements that were left
    /// open are open until an element can be read.
    pub(super) fn held_type(&self, ty: &ValueType) -> ValueType {
        let known = |lengths: &[usize]| lengths.iter().map(|&n| Dimension::Known(n as u64)).collect();
        match ty {
            ValueType::Tensor(ty) if ty.dtype != DataType::String => {
                TensorType { dtype: ty.dtype, shape: known(self.tensor.dims()) }.into()
            }
            ValueType::List { element, .. } => match (element.tensor(), self.tensor.dims()) {
                (Some(element), [length, rest @ ..]) => {
                    let shape = if self.is_settled() { known(rest) } else { open_shape(rest, element) };
                    ValueType::List {
                        element: Box::new(TensorType { dtype: element.dtype, shape }.into()),
                        length: Dimension::Known(*length as u64),
                    }
                }
                _ => ty.clone(),
            },
            _ => ty.clone(),
        }
    }

    fn is_settled(&self) -> bool {
        let flags = self.readable.as_ref().map(|flags| view(flags, |flags: &[u8]| flags.iter().any(|&flag| flag != 0)));
        flags.is_none_or(|any| any.unwrap_or(false))
    }
}

/// The shape of elements that were never written: an open length is held as 0.
fn open_shape(held: &[usize], declared: &TensorType) -> Vec<Dimension> {
    let length = |(axis, &n): (usize, &usize)| match n {
        0 if declared.rank() == held.len() => declared.shape[axis],
        0 => Dimension::Unknown { variadic: false },
        n => Dimension::Known(n as u64),
    };
    held.iter().enumerate().map(length).collect()
}

/// Whether a computed tensor can be of the inferred type.
pub(super) fn check_shape(inferred: &ValueType, tensor: &Tensor) -> Result<(), KernelError> {
    let dtype = match inferred {
        ValueType::Tensor(ty) => storage_type(ty.dtype),
        ValueType::List { element, .. } => element.tensor().and_then(|ty| storage_type(ty.dtype)),
        _ => None,
    };
    // Elements that were never written have any shape; strings and dictionaries stand for their numbers.
    let shape = match inferred {
        ValueType::Tensor(ty) if dtype.is_some() => {
            ty.agrees(&TensorType::new(ty.dtype, &tensor.dims().iter().map(|&n| n as u64).collect::<Vec<_>>()))
        }
        _ => true,
    };
    if shape && dtype.is_none_or(|dtype| dtype == tensor.dtype()) {
        return Ok(());
    }
    Err(KernelError::Shape { computed: tensor.dims().to_vec(), inferred: inferred.to_string() })
}

/// Rounds floats to the declared type where the mode says so, and wraps integers as their width does.
pub(super) fn conform(tensor: Tensor, dtype: DataType, mode: Mode) -> candle_core::Result<Tensor> {
    match dtype {
        DataType::Float16 if mode == Mode::Declared => rounded(tensor),
        DataType::Int8 => wrapped(tensor, |v| i64::from(v as i8)),
        DataType::Int16 => wrapped(tensor, |v| i64::from(v as i16)),
        DataType::Int32 => wrapped(tensor, |v| i64::from(v as i32)),
        DataType::UInt8 => wrapped(tensor, |v| i64::from(v as u8)),
        DataType::UInt16 => wrapped(tensor, |v| i64::from(v as u16)),
        DataType::UInt32 => wrapped(tensor, |v| i64::from(v as u32)),
        _ => Ok(tensor),
    }
}

/// What only moves, chooses or bounds numbers of float16 gives such numbers again, which needs no copy.
fn rounded(tensor: Tensor) -> candle_core::Result<Tensor> {
    let values = view(&tensor, |values: &[f32]| (!are_halves(values)).then(|| round(values)))?;
    match values {
        Some(values) => Tensor::from_vec(values, tensor.shape(), &Device::Cpu),
        None => Ok(tensor),
    }
}

/// Whether all are zero or normal numbers of float16.
fn are_halves(values: &[f32]) -> bool {
    const NORMAL: std::ops::RangeInclusive<u32> = 0x3880_0000..=0x477f_e000;
    let is_half = |value: &f32| {
        let magnitude = value.to_bits() & 0x7fff_ffff;
        magnitude == 0 || (NORMAL.contains(&magnitude) && magnitude & 0x1fff == 0)
    };
    // Without an early end inside of a block, many are looked at together.
    values.par_chunks(BLOCK).all(|values| values.iter().fold(true, |all, value| all & is_half(value)))
}

const BLOCK: usize = 4096;

fn round(values: &[f32]) -> Vec<f32> {
    let round = |(values, out): (&[f32], &mut [f32])| {
        let mut halves = [f16::ZERO; BLOCK];
        let halves = &mut halves[..values.len()];
        halves.convert_from_f32_slice(values);
        halves.convert_to_f32_slice(out);
    };
    let mut out = vec![0.0; values.len()];
    values.par_chunks(BLOCK).zip(out.par_chunks_mut(BLOCK)).for_each(round);
    out
}

fn wrapped(tensor: Tensor, wrap: fn(i64) -> i64) -> candle_core::Result<Tensor> {
    let values = view(&tensor, |values: &[i64]| {
        let fits = values.iter().all(|&v| wrap(v) == v);
        (!fits).then(|| values.iter().map(|&v| wrap(v)).collect::<Vec<_>>())
    })?;
    match values {
        Some(values) => Tensor::from_vec(values, tensor.shape(), &Device::Cpu),
        None => Ok(tensor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_for_a_half_is_one() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits).to_f32();
            assert_eq!(are_halves(&[half]), half == 0.0 || f16::from_bits(bits).is_normal(), "{half}");
        }
        for other in [0.1, 2049.0, 65520.0, 1e-9, 1e30, -1.000_01, f32::MIN_POSITIVE] {
            assert!(!are_halves(&[1.0, other]), "{other}");
        }
    }

    #[test]
    fn floats_are_rounded_to_the_nearest_half() {
        let x = Tensor::new(&[2049.0f32, 2051.0, 65519.0, -65520.0, 3e-8, 2e-8, 6.1e-5], &Device::Cpu).unwrap();
        let expected =
            [2048.0, 2052.0, 65504.0, f32::NEG_INFINITY, 2f32.powi(-24), 0.0, f16::from_f32(6.1e-5).to_f32()];
        assert_eq!(conform(x, DataType::Float16, Mode::Declared).unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}
