//! `depth_to_space`: channels become pixels, block position outermost: [n, f * f * c, h, w] -> [n, c, h * f, w * f].
//!
//! `x`: float16 or float32 of rank 4; f is `block_size`. The same at every target.

use super::{
    Op,
    support::{
        permute::{grown, regroup},
        types::{FLOAT, X, int},
    },
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "depth_to_space",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("block_size")] }],
        infer: |call| grown(call, "block_size"),
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let (n, c, h, w) = x.dims4()?;
        let f = arguments.call.int("block_size")? as usize;
        regroup(x, &[n, f, f, c / (f * f), h, w], [0, 3, 4, 1, 5, 2], &arguments.shape(0)?)
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("depth_to_space");
    }

    #[test]
    fn the_factor_must_divide() {
        let arguments = [("x", testing::float32(&[1, 6, 2, 2])), ("block_size", 2.into())];
        testing::refuses("depth_to_space", Target::Ios18, &arguments, "parameter `block_size`: its 6 channels are no \
             multiple of 4");
    }
}
