//! Operators that fold dimensions away. Sums run in float64: a mean over a large picture must not depend on the order
//! of its pixels.

use candle_core::{Device, Tensor, WithDType};
use rayon::prelude::*;

use super::{
    defaults,
    types::{NUMBER, X, boolean, int},
};
use crate::{
    base::Target,
    eval::{Arguments, Kernel, KernelError, view},
    mil::{Call, Dimension, InferError, OpDef, OpVersion, TensorType, ValueType},
    ops::Op,
};

const VERSIONS: &[OpVersion] = &[OpVersion {
    since: Target::Ios15,
    domains: &[('T', NUMBER)],
    parameters: &[X, int("axes").optional(), boolean("keep_dims").default(defaults::off)],
}];

/// A reduction over `axes` (all without), which stay as length 1 with `keep_dims`.
pub(in crate::ops) const fn operator(name: &'static str, kernel: Kernel) -> Op {
    Op { def: OpDef { name, versions: VERSIONS, infer }, kernel }
}

/// The reduced dimensions, sorted.
fn axes(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, InferError> {
    if !call.has("axes") {
        return Ok((0..rank).collect());
    }
    let mut axes = call.axes("axes", rank)?;
    axes.sort_unstable();
    Ok(axes)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let shape = reduced(&x.shape, &axes(call, x.rank())?, call.bool("keep_dims")?);
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

/// The shape without `axes`, or with 1 in their place.
pub(in crate::ops) fn reduced(shape: &[Dimension], axes: &[usize], keep: bool) -> Vec<Dimension> {
    let dimensions = shape.iter().enumerate();
    dimensions
        .filter(|(i, _)| keep || !axes.contains(i))
        .map(|(i, &d)| if axes.contains(&i) { Dimension::Known(1) } else { d })
        .collect()
}

/// `f` of the elements along `axes`, for every place in the other dimensions, which keep their order.
pub(in crate::ops) fn fold<T: WithDType, R: WithDType + Default>(
    x: &Tensor,
    axes: &[usize],
    f: impl Fn(&[T]) -> R + Sync,
) -> Result<Vec<R>, KernelError> {
    let kept: Vec<usize> = (0..x.rank()).filter(|i| !axes.contains(i)).collect();
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let rows: usize = kept.iter().map(|&i| x.dims()[i]).product();
    let length: usize = axes.iter().map(|&i| x.dims()[i]).product();
    let moved = if order.iter().copied().eq(0..x.rank()) { x.clone() } else { x.permute(order)? };
    Ok(view(&moved, |values: &[T]| {
        let mut out = vec![R::default(); rows];
        out.par_iter_mut().enumerate().for_each(|(row, out)| *out = f(&values[row * length..(row + 1) * length]));
        out
    })?)
}

/// Evaluates a reduction on floats or integers, whichever `x` is.
pub(in crate::ops) fn evaluate(
    arguments: &Arguments<'_>,
    float: impl Fn(&[f32]) -> f32 + Sync,
    integer: impl Fn(&[i64]) -> i64 + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let (axes, shape) = (axes(arguments.call, x.rank())?, arguments.shape(0)?);
    let result = if x.dtype().is_float() {
        Tensor::from_vec(fold(x, &axes, float)?, shape, &Device::Cpu)
    } else {
        Tensor::from_vec(fold(x, &axes, integer)?, shape, &Device::Cpu)
    };
    Ok(vec![result?])
}

/// The sum in float64 of `f` of every element.
pub(in crate::ops) fn sum(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    values.iter().map(|&v| f(f64::from(v))).sum()
}
