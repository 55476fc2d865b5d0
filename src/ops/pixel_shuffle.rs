//! `pixel_shuffle`: channels become pixels, as PyTorch's `PixelShuffle`: [n, c * f * f, h, w] -> [n, c, h * f, w * f].
//!
//! `x`: float16 or float32 of rank 4; f is `upscale_factor`. The same at every target.

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
        name: "pixel_shuffle",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("upscale_factor")] }],
        infer: |call| grown(call, "upscale_factor"),
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let (n, c, h, w) = x.dims4()?;
        let f = arguments.call.int("upscale_factor")? as usize;
        regroup(x, &[n, c / (f * f), f, f, h, w], [0, 1, 4, 2, 5, 3], &arguments.shape(0)?)
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("pixel_shuffle");
    }

    #[test]
    fn the_factor_must_divide() {
        let arguments = [("x", testing::float32(&[1, 6, 2, 2])), ("upscale_factor", 2.into())];
        testing::refuses("pixel_shuffle", Target::Ios18, &arguments, "parameter `upscale_factor`: its 6 channels are \
             no multiple of 4");
    }
}
