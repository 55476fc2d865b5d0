//! `softplus_parametric`: `alpha * log(1 + exp(beta * x))` with an `alpha` and a `beta` for each channel.
//!
//! `x` [n, c, ..] of rank 3 to 5, float16 or float32; `alpha`, `beta` [c]. iOS17: they may have another float type.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::{along, expect_shape, rank_between},
        unary::{WITH_ALPHA_BETA, map_elements, same_as_x},
    },
};
use crate::{
    eval::{Arguments, KernelError},
    mil::{Call, InferError, OpDef, ValueType},
};

pub(super) static OP: Op = Op { def: OpDef { name: "softplus_parametric", versions: WITH_ALPHA_BETA, infer }, kernel };

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let channels = [call.tensor("x")?.shape[1]];
    expect_shape(call, "alpha", &channels)?;
    expect_shape(call, "beta", &channels)?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let scaled = x.broadcast_mul(&along(arguments.tensor("beta")?, 1, x.rank())?)?;
    // Written so that nothing overflows: log(1 + exp(v)) is v for large v.
    let soft = map_elements(&scaled, |v: f32| v.max(0.0) + (-v.abs()).exp().ln_1p())?;
    Ok(vec![soft.broadcast_mul(&along(arguments.tensor("alpha")?, 1, x.rank())?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("softplus_parametric");
    }

    #[test]
    fn one_number_per_channel() {
        let x = ("x", testing::float32(&[1, 3, 2, 2]));
        let arguments = [x, ("alpha", testing::constant_zeros(&[3])), ("beta", testing::constant_zeros(&[1]))];
        let why = "parameter `beta`: expected tensor<fp32, [3]>, found tensor<fp32, [1]>";
        testing::refuses("softplus_parametric", Target::Ios15, &arguments, why);
    }
}
