//! Pooling: a window over every channel, folded to one number.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    defaults,
    shapes::{integers, rank_between, single},
    types::{FLOAT, X, boolean, int, text},
    window::{Window, places, windows},
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, InferError, OpVersion, Parameter, ValueType},
};

const KERNEL_SIZES: Parameter = int("kernel_sizes");
const STRIDES: Parameter = int("strides").default(|call| defaults::per_spatial_dimension(call, 1, 1));
const PAD_TYPE: Parameter = text("pad_type");
const PAD: Parameter = int("pad").default(|call| defaults::per_spatial_dimension(call, 2, 0));
const CEIL_MODE: Parameter = boolean("ceil_mode").default(defaults::off);
const EXCLUDE: Parameter = boolean("exclude_padding_from_average").default(defaults::off);

/// One contract for all targets.
pub(in crate::ops) const VERSIONS: &[OpVersion] = &[OpVersion {
    since: Target::Ios15,
    domains: &[('T', FLOAT)],
    parameters: &[X, KERNEL_SIZES, STRIDES, PAD_TYPE, PAD, CEIL_MODE],
}];
/// The same with `exclude_padding_from_average`.
pub(in crate::ops) const AVERAGE_VERSIONS: &[OpVersion] = &[OpVersion {
    since: Target::Ios15,
    domains: &[('T', FLOAT)],
    parameters: &[EXCLUDE, X, KERNEL_SIZES, STRIDES, PAD_TYPE, PAD, CEIL_MODE],
}];

fn layout(call: &Call<'_>) -> Result<Vec<Window>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let x = call.tensor("x")?;
    let kernel = integers(call, "kernel_sizes", x.rank() - 2, 1)?;
    let windows = windows(call, &kernel, &x.shape[2..])?;
    if call.bool("ceil_mode")? {
        if x.rank() > 4 || call.text("pad_type")?.starts_with("same") {
            return Err(InferError::rule("ceil_mode", "only over 1 or 2 dimensions, and not with `pad_type` `same`"));
        }
        if windows.iter().any(|window| window.before != window.after) {
            return Err(InferError::rule("pad", "with `ceil_mode` padding is the same on both sides"));
        }
    }
    Ok(windows)
}

/// [n, c, places..].
pub(in crate::ops) fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let windows = layout(call)?;
    let mut shape = x.shape[..2].to_vec();
    shape.extend(places(&windows, &x.shape[2..], call.bool("ceil_mode")?)?);
    single(x.dtype, shape)
}

/// `fold` of the elements that a window covers and of the number of elements that it would cover with its padding.
pub(in crate::ops) fn pool(
    arguments: &Arguments<'_>,
    fold: impl Fn(&[f32], usize) -> f32 + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let windows = layout(arguments.call)?;
    let input = &x.dims()[2..];
    let (plane, count) = (input.iter().product::<usize>(), shape[2..].iter().product::<usize>());
    let mut out = vec![0.0; shape.iter().product()];
    if out.is_empty() {
        return Ok(vec![Tensor::from_vec(out, shape, &Device::Cpu)?]);
    }
    view(x, |x: &[f32]| {
        out.par_chunks_mut(count).zip(x.par_chunks(plane)).for_each(|(out, x)| {
            let mut covered = Vec::new();
            for (place, out) in out.iter_mut().enumerate() {
                let padded = cover(&windows, input, &shape[2..], place, x, &mut covered);
                *out = fold(&covered, padded);
            }
        });
    })?;
    Ok(vec![Tensor::from_vec(out, shape, &Device::Cpu)?])
}

/// Collects what the window at `place` covers; how many elements it covers with padding, but not beyond it.
fn cover(
    windows: &[Window],
    input: &[usize],
    output: &[usize],
    mut place: usize,
    x: &[f32],
    covered: &mut Vec<f32>,
) -> usize {
    let mut spans = vec![(0, 0); windows.len()];
    let mut padded = 1;
    for axis in (0..windows.len()).rev() {
        let window = &windows[axis];
        let start = (place % output[axis]) * window.stride as usize;
        place /= output[axis];
        let (before, length) = (window.before as usize, input[axis]);
        let end = start + window.kernel as usize;
        padded *= end.min(before + length + window.after as usize).saturating_sub(start);
        spans[axis] = (start.saturating_sub(before).min(length), end.saturating_sub(before).min(length));
    }
    covered.clear();
    collect(&spans, input, x, covered);
    padded
}

fn collect(spans: &[(usize, usize)], input: &[usize], x: &[f32], covered: &mut Vec<f32>) {
    let (begin, end) = spans[0];
    if spans.len() == 1 {
        covered.extend_from_slice(&x[begin..end]);
        return;
    }
    let inner: usize = input[1..].iter().product();
    for i in begin..end {
        collect(&spans[1..], &input[1..], &x[i * inner..(i + 1) * inner], covered);
    }
}
