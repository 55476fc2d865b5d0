//! `random_uniform`: numbers equally likely from `low` up to `high`.
//!
//! `shape`: int32; the result is float16 or float32, as the other parameters. The same at every target; not evaluated.

use super::{
    Op,
    support::{
        random::{KERNEL, SEED, SHAPE, infer, like, number},
        types::FLOAT,
    },
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "random_uniform",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[SHAPE, number("low", |call| like(call, "low", 0.0)), number("high", |call| like(call, "high", 1.0)), SEED],
        }],
        infer: |call| infer(call, "low"),
    },
    kernel: KERNEL,
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn the_shape_is_given() {
        testing::accepts("random_uniform", Target::Ios15, &[("shape", testing::ints(&[2, 3]))], "tensor<fp32, [2, 3]>");
        testing::refuses("random_uniform", Target::Ios15, &[("shape", testing::ints(&[-1]))], "parameter `shape`: a \
             length of -1");
    }
}
