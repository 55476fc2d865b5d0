//! `l2_norm`: the last three dimensions divided by the root of the sum of their squares and `epsilon`; dimensions
//! before them are batches.
//!
//! `x`: float16 or float32 of rank 3 to 5; the result has its type. iOS17: `epsilon` may have another float type.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        reduce::{fold, sum},
        shapes::rank_between,
        types::{FLOAT, X, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const fn epsilon(letter: char) -> Parameter {
    var("epsilon", letter).constant().default(|call| defaults::float(call, "epsilon", 1e-6))
}

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "l2_norm",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, epsilon('T')] },
            OpVersion { since: Target::Ios17, domains: &[('T', FLOAT), ('U', FLOAT)], parameters: &[X, epsilon('U')] },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let epsilon = arguments.call.number("epsilon")?;
    let axes = [x.rank() - 3, x.rank() - 2, x.rank() - 1];
    let scale = fold(x, &axes, |values: &[f32]| (1.0 / (sum(values, |v| v * v) + epsilon).sqrt()) as f32)?;
    let mut shape = x.dims().to_vec();
    axes.iter().for_each(|&axis| shape[axis] = 1);
    Ok(vec![x.broadcast_mul(&Tensor::from_vec(scale, shape, &Device::Cpu)?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("l2_norm");
    }

    #[test]
    fn three_dimensions_are_needed() {
        let why = "parameter `x`: expected a rank from 3 to 5, found tensor<fp32, [2, 3]>";
        testing::refuses("l2_norm", Target::Ios15, &[("x", testing::float32(&[2, 3]))], why);
    }
}
