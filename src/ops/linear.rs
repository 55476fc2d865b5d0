//! `linear`: `x` times the transposed `weight`, plus `bias`.
//!
//! `x` [.., in], `weight` [out, in] and `bias` [out] of float16, float32 or int32, both known at compile time; without
//! a bias it is zero, and written as such. iOS17: `weight` and `bias` may have another element type than `x`.

use candle_core::Tensor;

use super::{
    Op,
    matmul::product,
    support::{
        shapes::{expect_shape, single},
        types::{NUMBER, X, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Argument, BuildError, Builder, Call, DataType, InferError, Literal, OpDef, OpVersion, Parameter, Recipe, Value, ValueType, Var},
};

const fn weight(letter: char) -> Parameter {
    var("weight", letter).constant()
}

const fn bias(letter: char) -> Parameter {
    var("bias", letter).constant().default(zeros)
}

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "linear",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[X, weight('T'), bias('T')] },
            OpVersion { since: Target::Ios17, domains: &[('T', NUMBER), ('U', NUMBER)], parameters: &[X, weight('U'), bias('U')] },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// `x` times the transposed `weight`, plus `bias` where there is one.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn linear(&mut self, name: &str, x: Var, weight: impl Into<Argument>, bias: Option<Argument>) -> Result<Var, BuildError> {
        let mut arguments = vec![("x", x.into()), ("weight", weight.into())];
        arguments.extend(bias.map(|bias| ("bias", bias)));
        self.op1("linear", name, &arguments)
    }
}

/// A zero for every row of the weight, in its element type.
fn zeros(call: &Call<'_>) -> Option<Value> {
    let weight = call.tensor("weight").ok()?;
    let length = weight.shape.first()?.known()?;
    let count = usize::try_from(length).ok()?;
    let literal = match weight.dtype {
        DataType::Float16 => Literal::Halves(vec![half::f16::ZERO; count]),
        DataType::Float32 => Literal::Floats(vec![0.0; count]),
        _ => Literal::Ints(vec![0; count]),
    };
    Recipe::literal(weight.dtype, &[length], literal).map(Value::Tensor)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, weight) = (call.tensor("x")?, call.tensor("weight")?);
    if weight.rank() != 2 {
        return Err(InferError::rule("weight", format!("expected rank 2, found {weight}")));
    }
    let Some(&last) = x.shape.last() else { return Err(InferError::rule("x", "expected a rank of at least 1, found a scalar")) };
    if last.known().is_some() && weight.shape[1].known().is_some() && last != weight.shape[1] {
        return Err(InferError::rule("weight", format!("{weight} does not take the last dimension of `x`, which is {x}")));
    }
    expect_shape(call, "bias", &weight.shape[..1])?;
    let mut shape = x.shape.clone();
    shape[x.rank() - 1] = weight.shape[0];
    single(x.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, weight, shape) = (arguments.tensor("x")?, arguments.tensor("weight")?, arguments.shape(0)?);
    let rows = x.reshape(((), weight.dims()[1]))?;
    let mut result = product(&rows, &weight.t()?)?;
    if let Some(bias) = arguments.given("bias") {
        result = result.broadcast_add(&bias.to_dtype(result.dtype())?)?;
    }
    Ok(vec![result.reshape(shape)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("linear");
    }

    #[test]
    fn weights_must_be_known_and_fit() {
        let arguments = [("x", testing::float32(&[2, 3])), ("weight", testing::float32(&[4, 3]))];
        testing::refuses("linear", Target::Ios18, &arguments, "parameter `weight` must be a constant");
        let arguments = [("x", testing::float32(&[2, 3])), ("weight", testing::constant_zeros(&[4, 2]))];
        let why = "parameter `weight`: tensor<fp32, [4, 2]> does not take the last dimension of `x`, which is \
             tensor<fp32, [2, 3]>";
        testing::refuses("linear", Target::Ios15, &arguments, why);
    }
}
