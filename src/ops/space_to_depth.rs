//! `space_to_depth`: pixels become channels, block position outermost: [n, c, h * f, w * f] -> [n, f * f * c, h, w].
//!
//! `x`: float16 or float32 of rank 4; f is `block_size`. The same at every target.

use super::{
    Op,
    support::{
        permute::{regroup, shrunk},
        types::{FLOAT, X, int},
    },
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "space_to_depth",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("block_size")] }],
        infer: |call| shrunk(call, "block_size"),
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let (n, c, h, w) = x.dims4()?;
        let f = arguments.call.int("block_size")? as usize;
        regroup(x, &[n, c, h / f, f, w / f, f], [0, 3, 5, 1, 2, 4], &arguments.shape(0)?)
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("space_to_depth");
    }

    #[test]
    fn the_factor_must_divide() {
        let arguments = [("x", testing::float32(&[1, 1, 4, 3])), ("block_size", 2.into())];
        testing::refuses("space_to_depth", Target::Ios18, &arguments, "parameter `block_size`: its pictures of 4 x 3 \
             are no multiple of 2");
    }
}
