//! Operators of two arguments that broadcast as in numpy.

use candle_core::{Device, Tensor, WithDType};
use rayon::prelude::*;

use super::types::{BOOL, NUMBER, X, var};
use crate::{
    base::Target,
    eval::{Arguments, Kernel, KernelError, view},
    mil::{Call, DataType, Dimension, InferError, OpDef, OpVersion, TensorType, ValueType, broadcast},
    ops::Op,
};

/// One contract for all targets: `x` and `y` of float16, float32 or int32.
pub(in crate::ops) const NUMBERS: &[OpVersion] =
    &[OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[X, var("y", 'T')] }];
/// One contract for all targets: booleans.
pub(in crate::ops) const BOOLS: &[OpVersion] =
    &[OpVersion { since: Target::Ios15, domains: &[('T', BOOL)], parameters: &[X, var("y", 'T')] }];

/// An arithmetic operator: the result has the element type of its arguments.
pub(in crate::ops) const fn arithmetic(name: &'static str, kernel: Kernel) -> Op {
    Op { def: OpDef { name, versions: NUMBERS, infer: infer_same }, kernel }
}

/// A comparison of numbers: the result is boolean.
pub(in crate::ops) const fn comparison(name: &'static str, kernel: Kernel) -> Op {
    Op { def: OpDef { name, versions: NUMBERS, infer: infer_bool }, kernel }
}

/// A logical operator.
pub(in crate::ops) const fn logical(name: &'static str, kernel: Kernel) -> Op {
    Op { def: OpDef { name, versions: BOOLS, infer: infer_bool }, kernel }
}

fn infer_same(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let dtype = call.tensor("x")?.dtype;
    Ok(vec![TensorType { dtype, shape: broadcast_arguments(call, "x", "y")? }.into()])
}

fn infer_bool(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    Ok(vec![TensorType { dtype: DataType::Bool, shape: broadcast_arguments(call, "x", "y")? }.into()])
}

/// The common shape of two arguments.
pub(in crate::ops) fn broadcast_arguments(
    call: &Call<'_>,
    x: &str,
    y: &'static str,
) -> Result<Vec<Dimension>, InferError> {
    let (a, b) = (call.tensor(x)?, call.tensor(y)?);
    broadcast(&a.shape, &b.shape)
        .ok_or_else(|| InferError::rule(y, format!("{b} does not broadcast with `{x}`, which is {a}")))
}

const BLOCK: usize = 1 << 14;

/// `f` of every pair of elements, stretched to `shape`, in parallel.
pub(in crate::ops) fn zip<T: WithDType, R: WithDType + Default>(
    x: &Tensor,
    y: &Tensor,
    shape: &[usize],
    f: impl Fn(T, T) -> R + Sync,
) -> Result<Tensor, KernelError> {
    let count = shape.iter().product();
    let mut out = vec![R::default(); count];
    if y.elem_count() == 1 && x.dims() == shape {
        let y = view(y, |y: &[T]| y[0])?;
        view(x, |x: &[T]| fill(&mut out, x, |x| f(x, y)))?;
    } else {
        let (x, y) = (x.broadcast_as(shape)?, y.broadcast_as(shape)?);
        view(&x, |x: &[T]| {
            view(&y, |y: &[T]| {
                let blocks = out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).zip(y.par_chunks(BLOCK));
                blocks
                    .for_each(|((out, x), y)| out.iter_mut().zip(x).zip(y).for_each(|((out, &x), &y)| *out = f(x, y)));
            })
        })??;
    }
    Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
}

fn fill<T: WithDType, R: WithDType>(out: &mut [R], x: &[T], f: impl Fn(T) -> R + Sync) {
    out.par_chunks_mut(BLOCK)
        .zip(x.par_chunks(BLOCK))
        .for_each(|(out, x)| out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x)));
}

/// Evaluates an operator on floats or integers, whichever `x` and `y` are.
pub(in crate::ops) fn combine<R: WithDType + Default, S: WithDType + Default>(
    arguments: &Arguments<'_>,
    float: impl Fn(f32, f32) -> R + Sync,
    integer: impl Fn(i64, i64) -> S + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    let (x, y, shape) = (arguments.tensor("x")?, arguments.tensor("y")?, arguments.shape(0)?);
    let result = if x.dtype().is_float() { zip(x, y, &shape, float) } else { zip(x, y, &shape, integer) };
    Ok(vec![result?])
}

/// Evaluates a comparison.
pub(in crate::ops) fn compare(
    arguments: &Arguments<'_>,
    float: impl Fn(f32, f32) -> bool + Sync,
    integer: impl Fn(i64, i64) -> bool + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    combine(arguments, |x, y| u8::from(float(x, y)), |x, y| u8::from(integer(x, y)))
}

/// Evaluates a logical operator.
pub(in crate::ops) fn connect(
    arguments: &Arguments<'_>,
    f: impl Fn(bool, bool) -> bool + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    let (x, y, shape) = (arguments.tensor("x")?, arguments.tensor("y")?, arguments.shape(0)?);
    Ok(vec![zip(x, y, &shape, |x: u8, y: u8| u8::from(f(x != 0, y != 0)))?])
}
