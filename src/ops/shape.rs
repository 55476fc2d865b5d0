//! `shape`: the lengths of `x` as an int32 vector.
//!
//! Any element type of iOS15; the same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        shapes::single,
        types::{PLAIN, X},
    },
};
use crate::{
    base::Target,
    mil::{DataType, Dimension, OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "shape",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X] }],
        infer: |call| single(DataType::Int32, vec![Dimension::Known(call.tensor("x")?.rank() as u64)]),
    },
    kernel: |arguments| {
        let lengths: Vec<i64> = arguments.tensor("x")?.dims().iter().map(|&n| n as i64).collect();
        let rank = lengths.len();
        Ok(vec![Tensor::from_vec(lengths, rank, &Device::Cpu)?])
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("shape");
    }

    #[test]
    fn unknown_lengths_still_have_a_rank() {
        testing::accepts("shape", Target::Ios15, &[("x", testing::flexible(&[0, 3]))], "tensor<int32, [2]>");
    }
}
