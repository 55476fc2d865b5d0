//! `pixel_unshuffle` (iOS16): pixels become channels, as PyTorch's `PixelUnshuffle`: [n, c, h * f, w * f] -> [n, c * f
//! * f, h, w].
//!
//! `x`: float16 or float32 of rank 4; f is `downscale_factor`. The factor is uint32.

use super::{
    Op,
    support::{
        permute::{regroup, shrunk},
        types::{FLOAT, X},
    },
};
use crate::{
    base::Target,
    mil::{DataType, Domain, OpDef, OpVersion, Parameter},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "pixel_unshuffle",
        versions: &[OpVersion {
            since: Target::Ios16,
            domains: &[('T', FLOAT)],
            parameters: &[X, Parameter::new("downscale_factor", Domain::Of(&[DataType::UInt32])).constant()],
        }],
        infer: |call| shrunk(call, "downscale_factor"),
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let (n, c, h, w) = x.dims4()?;
        let f = arguments.call.int("downscale_factor")? as usize;
        regroup(x, &[n, c, h / f, f, w / f, f], [0, 1, 3, 5, 2, 4], &arguments.shape(0)?)
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("pixel_unshuffle");
    }

    #[test]
    fn the_factor_must_divide() {
        let arguments = [("x", testing::float32(&[1, 1, 4, 3])), ("downscale_factor", testing::constant("uint32", &[], &[2, 0, 0, 0]))];
        testing::refuses(
            "pixel_unshuffle",
            Target::Ios18,
            &arguments,
            "parameter `downscale_factor`: its pictures of 4 x 3 are no multiple of 2",
        );
    }
}
