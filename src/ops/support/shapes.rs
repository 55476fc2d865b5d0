//! Small helpers for shapes.

use candle_core::Tensor;

use crate::{
    eval::KernelError,
    mil::{Call, DataType, Dimension, InferError, TensorType, ValueType},
};

/// A length that is known only at run time.
pub(in crate::ops) const UNKNOWN: Dimension = Dimension::Unknown { variadic: false };
/// Any number of dimensions.
pub(in crate::ops) const ANY_RANK: Dimension = Dimension::Unknown { variadic: true };

/// One tensor as the only result.
pub(in crate::ops) fn single(dtype: DataType, shape: Vec<Dimension>) -> Result<Vec<ValueType>, InferError> {
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// Known lengths.
pub(in crate::ops) fn lengths(shape: &[Dimension]) -> Option<Vec<u64>> {
    shape.iter().map(|d| d.known()).collect()
}

/// Number of elements, where it is known and fits.
pub(in crate::ops) fn elements(shape: &[Dimension]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, d| product.checked_mul(d.known()?))
}

/// The constant integers of a parameter that must have `count` of them, none below `least`.
pub(in crate::ops) fn integers(
    call: &Call<'_>,
    name: &'static str,
    count: usize,
    least: i64,
) -> Result<Vec<u64>, InferError> {
    let values = call.ints(name)?;
    if values.len() != count {
        return Err(InferError::rule(name, format!("expected {count} values, found {}", values.len())));
    }
    let wrong = values.iter().find(|&&v| v < least);
    if let Some(wrong) = wrong {
        return Err(InferError::rule(name, format!("expected values of at least {least}, found {wrong}")));
    }
    Ok(values.into_iter().map(|v| v as u64).collect())
}

/// The string of a parameter that must be one of `allowed`.
pub(in crate::ops) fn choice(call: &Call<'_>, name: &'static str, allowed: &[&str]) -> Result<String, InferError> {
    let text = call.text(name)?;
    if allowed.contains(&text.as_str()) {
        return Ok(text);
    }
    let allowed: Vec<_> = allowed.iter().map(|a| format!("`{a}`")).collect();
    Err(InferError::rule(name, format!("expected one of {}, found `{text}`", allowed.join(", "))))
}

/// Refuses a tensor whose rank is outside of `least..=most`.
pub(in crate::ops) fn rank_between(
    call: &Call<'_>,
    name: &'static str,
    least: usize,
    most: usize,
) -> Result<(), InferError> {
    let ty = call.tensor(name)?;
    if (least..=most).contains(&ty.rank()) {
        return Ok(());
    }
    let expected = if least == most { format!("rank {least}") } else { format!("a rank from {least} to {most}") };
    Err(InferError::rule(name, format!("expected {expected}, found {ty}")))
}

/// Refuses an argument that is given with another shape than `expected`; lengths that one side does not know may be
/// anything.
pub(in crate::ops) fn expect_shape(
    call: &Call<'_>,
    name: &'static str,
    expected: &[Dimension],
) -> Result<(), InferError> {
    if !call.has(name) {
        return Ok(());
    }
    let ty = call.tensor(name)?;
    let same = |(a, b): (&Dimension, &Dimension)| a.agrees(*b);
    if ty.rank() == expected.len() && ty.shape.iter().zip(expected).all(same) {
        return Ok(());
    }
    let expected = TensorType { dtype: ty.dtype, shape: expected.to_vec() };
    Err(InferError::rule(name, format!("expected {expected}, found {ty}")))
}

/// The same elements in another shape.
pub(in crate::ops) fn reshaped(tensor: &Tensor, shape: &[usize]) -> Result<Vec<Tensor>, KernelError> {
    Ok(vec![tensor.reshape(shape)?])
}

/// A vector along dimension `axis` of a tensor of `rank`, ready to broadcast.
pub(in crate::ops) fn along(vector: &Tensor, axis: usize, rank: usize) -> Result<Tensor, KernelError> {
    let mut shape = vec![1; rank];
    shape[axis] = vector.elem_count();
    Ok(vector.reshape(shape)?)
}
