//! `reverse`: the order of elements turned round along `axes` (all without).
//!
//! Any element type; iOS17: 8 and 16 bit integers too.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        types::{PLAIN, WIDE, X, int},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    mil::{Call, InferError, OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "reverse",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X, int("axes").optional()] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: &[X, int("axes").optional()] },
        ],
        infer: |call| {
            axes(call)?;
            same_as_x(call)
        },
    },
    kernel: |arguments| {
        let mut result = arguments.tensor("x")?.contiguous()?;
        for axis in axes(arguments.call)? {
            let length = result.dims()[axis];
            let order: Vec<i64> = (0..length as i64).rev().collect();
            result = result.index_select(&Tensor::from_vec(order, length, &Device::Cpu)?, axis)?;
        }
        Ok(vec![result])
    },
};

fn axes(call: &Call<'_>) -> Result<Vec<usize>, InferError> {
    let rank = call.tensor("x")?.rank();
    if call.has("axes") { call.axes("axes", rank) } else { Ok((0..rank).collect()) }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reverse");
    }

    #[test]
    fn axes_must_be_there() {
        let arguments = [("x", testing::float32(&[2, 1])), ("axes", testing::ints(&[2]))];
        testing::refuses("reverse", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of rank 2");
    }
}
