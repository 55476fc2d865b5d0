//! `random_bernoulli`: 1 with the probability `prob`, else 0.
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
        name: "random_bernoulli",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[SHAPE, number("prob", |call| like(call, "prob", 0.5)), SEED],
        }],
        infer: |call| infer(call, "prob"),
    },
    kernel: KERNEL,
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn the_shape_is_given() {
        testing::accepts("random_bernoulli", Target::Ios15, &[("shape", testing::ints(&[2, 3]))], "tensor<fp32, [2, 3]>");
        testing::refuses("random_bernoulli", Target::Ios15, &[("shape", testing::ints(&[-1]))], "parameter `shape`: a \
             length of -1");
    }
}
