//! `batch_norm`: every channel shifted and scaled by a known `mean` and `variance`, then by `gamma` and `beta`.
//!
//! `x` [n, c, spatial..] of rank 3 to 5, float16 or float32; the others are [c], known at compile time.
//! iOS17: they and `epsilon` may have another float type than `x`.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        shapes::{along, expect_shape, rank_between},
        types::{FLOAT, X, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const fn parameter(name: &'static str, letter: char) -> Parameter {
    var(name, letter).constant().optional()
}

const fn epsilon(letter: char) -> Parameter {
    var("epsilon", letter).constant().default(|call| defaults::float(call, "epsilon", 1e-5))
}

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "batch_norm",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[
                    X,
                    var("mean", 'T').constant(),
                    var("variance", 'T').constant(),
                    parameter("gamma", 'T'),
                    parameter("beta", 'T'),
                    epsilon('T'),
                ],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT), ('U', FLOAT)],
                parameters: &[
                    X,
                    var("mean", 'U').constant(),
                    var("variance", 'U').constant(),
                    parameter("gamma", 'U'),
                    parameter("beta", 'U'),
                    epsilon('U'),
                ],
            },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let channels = [call.tensor("x")?.shape[1]];
    for name in ["mean", "variance", "gamma", "beta"] {
        expect_shape(call, name, &channels)?;
    }
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let deviation = (arguments.tensor("variance")? + arguments.call.number("epsilon")?)?.sqrt()?;
    let mut scale = deviation.recip()?;
    if let Some(gamma) = arguments.given("gamma") {
        scale = (scale * gamma)?;
    }
    let centred = x.broadcast_sub(&along(arguments.tensor("mean")?, 1, x.rank())?)?;
    let mut result = centred.broadcast_mul(&along(&scale, 1, x.rank())?)?;
    if let Some(beta) = arguments.given("beta") {
        result = result.broadcast_add(&along(beta, 1, x.rank())?)?;
    }
    Ok(vec![result])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("batch_norm");
    }

    #[test]
    fn statistics_are_known_and_per_channel() {
        let x = || ("x", testing::float32(&[1, 4, 2, 2]));
        let arguments = [x(), ("mean", testing::float32(&[4])), ("variance", testing::constant_zeros(&[4]))];
        testing::refuses("batch_norm", Target::Ios15, &arguments, "parameter `mean` must be a constant");
        let arguments = [x(), ("mean", testing::constant_zeros(&[4])), ("variance", testing::constant_zeros(&[3]))];
        let why = "parameter `variance`: expected tensor<fp32, [4]>, found tensor<fp32, [3]>";
        testing::refuses("batch_norm", Target::Ios15, &arguments, why);
    }
}
