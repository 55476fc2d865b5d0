//! Operators that give every element of `x` a new value.

use candle_core::{Device, Tensor, WithDType};
use rayon::prelude::*;

use super::types::{FLOAT, NUMBER, X, var};
use crate::{
    base::Target,
    eval::{Arguments, Kernel, KernelError, view},
    mil::{Call, InferError, OpDef, OpVersion, ValueType},
    ops::Op,
};

/// One contract for all targets: `x` of float16 or float32.
pub(in crate::ops) const FLOATS: &[OpVersion] =
    &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X] }];
/// One contract for all targets: `x` of float16, float32 or int32.
pub(in crate::ops) const NUMBERS: &[OpVersion] =
    &[OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[X] }];

/// `x` and a known `alpha`, whose width is free from iOS17 on.
pub(in crate::ops) const WITH_ALPHA: &[OpVersion] = &[
    OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, var("alpha", 'T').constant()] },
    OpVersion {
        since: Target::Ios17,
        domains: &[('T', FLOAT), ('U', FLOAT)],
        parameters: &[X, var("alpha", 'U').constant()],
    },
];
/// `x` and known `alpha` and `beta`, whose width is free from iOS17 on.
pub(in crate::ops) const WITH_ALPHA_BETA: &[OpVersion] = &[
    OpVersion {
        since: Target::Ios15,
        domains: &[('T', FLOAT)],
        parameters: &[X, var("alpha", 'T').constant(), var("beta", 'T').constant()],
    },
    OpVersion {
        since: Target::Ios17,
        domains: &[('T', FLOAT), ('U', FLOAT)],
        parameters: &[X, var("alpha", 'U').constant(), var("beta", 'U').constant()],
    },
];

/// An operator whose result has the type of `x`.
pub(in crate::ops) const fn operator(name: &'static str, versions: &'static [OpVersion], kernel: Kernel) -> Op {
    Op { def: OpDef { name, versions, infer: same_as_x }, kernel }
}

/// The result has the type of `x`.
pub(in crate::ops) fn same_as_x(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    Ok(vec![call.tensor("x")?.clone().into()])
}

const BLOCK: usize = 1 << 14;

/// `f` of every element, in parallel.
pub(in crate::ops) fn map_elements<T: WithDType, R: WithDType + Default>(
    x: &Tensor,
    f: impl Fn(T) -> R + Sync,
) -> Result<Tensor, KernelError> {
    let values = view(x, |values: &[T]| {
        let mut out = vec![R::default(); values.len()];
        out.par_chunks_mut(BLOCK)
            .zip(values.par_chunks(BLOCK))
            .for_each(|(out, values)| out.iter_mut().zip(values).for_each(|(out, &value)| *out = f(value)));
        out
    })?;
    Ok(Tensor::from_vec(values, x.shape(), &Device::Cpu)?)
}

/// `f` of every element of the float argument `x`.
pub(in crate::ops) fn map(
    arguments: &Arguments<'_>,
    f: impl Fn(f32) -> f32 + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    Ok(vec![map_elements(arguments.tensor("x")?, f)?])
}

/// The same for arguments that may be integers.
pub(in crate::ops) fn map_number(
    arguments: &Arguments<'_>,
    float: impl Fn(f32) -> f32 + Sync,
    integer: impl Fn(i64) -> i64 + Sync,
) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let result = if x.dtype().is_float() { map_elements(x, float) } else { map_elements(x, integer) };
    Ok(vec![result?])
}
