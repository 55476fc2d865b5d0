//! Indices that come from tensors.

use candle_core::Tensor;

use crate::eval::{KernelError, view};

/// The elements of `indices`, made non-negative for `length` elements.
///
/// # Errors
/// When one is outside of `-length..length`. (What a device does there from iOS17 on is undefined; negative ones count from the end here at
/// every target.)
pub(in crate::ops) fn positions(parameter: &'static str, indices: &Tensor, length: usize) -> Result<Vec<usize>, KernelError> {
    view(indices, |indices: &[i64]| indices.iter().map(|&index| position(parameter, index, length)).collect::<Result<_, _>>())?
}

/// One index, made non-negative for `length` elements.
pub(in crate::ops) fn position(parameter: &'static str, index: i64, length: usize) -> Result<usize, KernelError> {
    let from_end = if index < 0 { index + length as i64 } else { index };
    usize::try_from(from_end).ok().filter(|&i| i < length).ok_or(KernelError::Index { parameter, index, length })
}
