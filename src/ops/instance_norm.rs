//! `instance_norm`: every channel of every image normalized over its pixels, then scaled by `gamma` and shifted by
//! `beta`.
//!
//! `x` [n, c, spatial..] of rank 3 to 5 (pixels, or voxels), float16 or float32; `gamma`, `beta` [c]. Group norm is
//! this over a reshaped `x`. iOS17: `gamma`, `beta` and `epsilon` may have another float type than `x`.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        normalize::normalized,
        shapes::{along, expect_shape, rank_between},
        types::{FLOAT, X, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Argument, BuildError, Builder, Call, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

const fn parameter(name: &'static str, letter: char) -> Parameter {
    var(name, letter).constant().optional()
}

const fn epsilon(letter: char) -> Parameter {
    var("epsilon", letter).constant().default(|call| defaults::float(call, "epsilon", 1e-5))
}

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "instance_norm",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[X, parameter("gamma", 'T'), parameter("beta", 'T'), epsilon('T')],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT), ('U', FLOAT)],
                parameters: &[X, parameter("gamma", 'U'), parameter("beta", 'U'), epsilon('U')],
            },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// Every channel of every image normalized, then scaled and shifted where `gamma` and `beta` are given.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn instance_norm(&mut self, name: &str, x: Var, gamma_beta: Option<(Argument, Argument)>, epsilon: f32) -> Result<Var, BuildError> {
        let mut arguments = vec![("x", x.into()), ("epsilon", epsilon.into())];
        arguments.extend(gamma_beta.into_iter().flat_map(|(gamma, beta)| [("gamma", gamma), ("beta", beta)]));
        self.op1("instance_norm", name, &arguments)
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let channels = call.tensor("x")?.shape[1];
    expect_shape(call, "gamma", &[channels])?;
    expect_shape(call, "beta", &[channels])?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    let wide = |name: &str| arguments.given(name).map(|vector| along(vector, 1, x.rank())).transpose();
    Ok(vec![normalized(x, &axes, wide("gamma")?, wide("beta")?, arguments.call.number("epsilon")?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("instance_norm");
    }

    #[test]
    fn one_scale_per_channel() {
        let arguments = [("x", testing::float32(&[1, 4, 8, 8])), ("gamma", testing::constant_zeros(&[3]))];
        let why = "parameter `gamma`: expected tensor<fp32, [4]>, found tensor<fp32, [3]>";
        testing::refuses("instance_norm", Target::Ios15, &arguments, why);
        let why = "parameter `x`: expected a rank from 3 to 5, found tensor<fp32, [1, 4]>";
        testing::refuses("instance_norm", Target::Ios15, &[("x", testing::float32(&[1, 4]))], why);
    }
}
