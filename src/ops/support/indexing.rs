//! Indices that come from tensors.

use candle_core::{Device, Tensor};

use crate::eval::{KernelError, view};

/// The elements of `indices`, made non-negative for `length` elements.
///
/// # Errors
/// When one is outside of `-length..length`. (What a device does there from iOS17 on is undefined; negative ones count
/// from the end here at every target.)
pub(in crate::ops) fn positions(
    parameter: &'static str,
    indices: &Tensor,
    length: usize,
) -> Result<Vec<usize>, KernelError> {
    view(indices, |indices: &[i64]| {
        indices.iter().map(|&index| position(parameter, index, length)).collect::<Result<_, _>>()
    })?
}

/// One index, made non-negative for `length` elements.
pub(in crate::ops) fn position(parameter: &'static str, index: i64, length: usize) -> Result<usize, KernelError> {
    let from_end = if index < 0 { index + length as i64 } else { index };
    usize::try_from(from_end).ok().filter(|&i| i < length).ok_or(KernelError::Index { parameter, index, length })
}

/// A tensor of `shape` whose element `i`, counted in row-major order, is element `from(i)` of `x`.
pub(in crate::ops) fn picked(
    x: &Tensor,
    shape: Vec<usize>,
    from: impl Fn(usize) -> usize,
) -> Result<Tensor, KernelError> {
    let count: usize = shape.iter().product();
    let places: Vec<i64> = (0..count).map(|i| from(i) as i64).collect();
    Ok(x.flatten_all()?
        .contiguous()?
        .index_select(&Tensor::from_vec(places, count, &Device::Cpu)?, 0)?
        .reshape(shape)?)
}
