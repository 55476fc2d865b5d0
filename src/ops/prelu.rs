//! `prelu`: `x`, or `alpha` of its channel times `x` where `x` is below 0.
//!
//! `x` [n, c, spatial..] of rank 3 to 5, float16 or float32; `alpha` [c]. At rank 3 and 5 all of `alpha` is one number.
//! iOS17: `alpha` may have another float type.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::{along, expect_shape, rank_between},
        unary::{WITH_ALPHA, same_as_x},
    },
};
use crate::{
    eval::{Arguments, KernelError},
    mil::{Call, InferError, Literal, OpDef, Value, ValueType},
};

pub(super) static OP: Op = Op { def: OpDef { name: "prelu", versions: WITH_ALPHA, infer }, kernel };

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let x = call.tensor("x")?;
    expect_shape(call, "alpha", &[x.shape[1]])?;
    if x.rank() != 4 && !is_uniform(call.known("alpha").as_ref()) {
        return Err(InferError::rule("alpha", format!("its numbers must be equal for {x}")));
    }
    same_as_x(call)
}

/// Whether all numbers are one, as far as they are known.
fn is_uniform(alpha: Option<&Value>) -> bool {
    let uniform = |mut values: Box<dyn Iterator<Item = f32> + '_>| {
        let first = values.next();
        values.all(|value| first.is_none_or(|first| (value - first).abs() <= 1e-5))
    };
    match alpha.and_then(Value::tensor).and_then(|recipe| recipe.as_literal()) {
        Some(Literal::Floats(values)) => uniform(Box::new(values.iter().copied())),
        Some(Literal::Halves(values)) => uniform(Box::new(values.iter().map(|value| value.to_f32()))),
        _ => true,
    }
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let alpha = along(arguments.tensor("alpha")?, 1, x.rank())?;
    let zeros = x.zeros_like()?;
    Ok(vec![(x.maximum(&zeros)? + x.minimum(&zeros)?.broadcast_mul(&alpha)?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, mil, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("prelu");
    }

    #[test]
    fn one_number_per_channel() {
        let arguments = [("x", testing::float32(&[1, 3, 2, 2])), ("alpha", testing::constant_zeros(&[2]))];
        let why = "parameter `alpha`: expected tensor<fp32, [3]>, found tensor<fp32, [2]>";
        testing::refuses("prelu", Target::Ios15, &arguments, why);
    }

    #[test]
    fn other_ranks_take_one_number() {
        let values = mil::Recipe::literal(mil::DataType::Float32, &[2], mil::Literal::Floats(vec![0.1, 0.2])).unwrap();
        let arguments = [("x", testing::float32(&[1, 2, 5])), ("alpha", testing::Given::Constant((&values).into()))];
        let why = "parameter `alpha`: its numbers must be equal for tensor<fp32, [1, 2, 5]>";
        testing::refuses("prelu", Target::Ios17, &arguments, why);
    }
}
