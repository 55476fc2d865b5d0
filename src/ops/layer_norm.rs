//! `layer_norm`: `x` normalized over `axes` (all without), then scaled by `gamma` and shifted by `beta`.
//!
//! `x`: float16 or float32; `gamma` and `beta` have the lengths of `x` along `axes`, in the order of dimensions.
//! iOS17: `gamma`, `beta` and `epsilon` may have another float type than `x`.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        normalize::normalized,
        shapes::expect_shape,
        types::{FLOAT, X, int, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Argument, BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, Parameter, Value, ValueType, Var},
};

const fn parameter(name: &'static str, letter: char) -> Parameter {
    var(name, letter).constant().optional()
}

const fn epsilon(letter: char) -> Parameter {
    var("epsilon", letter).constant().default(|call| defaults::float(call, "epsilon", 1e-5))
}

const AXES: Parameter = int("axes").default(|call| {
    let rank = i32::try_from(call.tensor("x").ok()?.rank()).ok()?;
    Some(Value::ints(&(0..rank).collect::<Vec<_>>()))
});

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "layer_norm",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[X, AXES, parameter("gamma", 'T'), parameter("beta", 'T'), epsilon('T')],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT), ('U', FLOAT)],
                parameters: &[X, AXES, parameter("gamma", 'U'), parameter("beta", 'U'), epsilon('U')],
            },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// `x` normalized over `axes`, then scaled and shifted where `gamma` and `beta` are given.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: Var,
        axes: &[i32],
        gamma_beta: Option<(Argument, Argument)>,
        epsilon: f32,
    ) -> Result<Var, BuildError> {
        let mut arguments = vec![("x", x.into()), ("axes", axes.into()), ("epsilon", epsilon.into())];
        arguments.extend(gamma_beta.into_iter().flat_map(|(gamma, beta)| [("gamma", gamma), ("beta", beta)]));
        self.op1("layer_norm", name, &arguments)
    }
}

fn sorted_axes(call: &Call<'_>) -> Result<Vec<usize>, InferError> {
    let mut axes = call.axes("axes", call.tensor("x")?.rank())?;
    axes.sort_unstable();
    Ok(axes)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let normalized: Vec<Dimension> = sorted_axes(call)?.into_iter().map(|i| x.shape[i]).collect();
    expect_shape(call, "gamma", &normalized)?;
    expect_shape(call, "beta", &normalized)?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let axes = sorted_axes(arguments.call)?;
    let shape: Vec<usize> = x.dims().iter().enumerate().map(|(i, &n)| if axes.contains(&i) { n } else { 1 }).collect();
    let wide = |name: &str| arguments.given(name).map(|tensor| tensor.reshape(shape.as_slice())).transpose();
    Ok(vec![normalized(x, &axes, wide("gamma")?, wide("beta")?, arguments.call.number("epsilon")?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("layer_norm");
    }

    #[test]
    fn scales_have_the_lengths_of_the_axes() {
        let gamma = testing::constant_zeros(&[2]);
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[-1])), ("gamma", gamma)];
        let why = "parameter `gamma`: expected tensor<fp32, [3]>, found tensor<fp32, [2]>";
        testing::refuses("layer_norm", Target::Ios15, &arguments, why);
    }
}
