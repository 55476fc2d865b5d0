//! `resize_bilinear`: pictures of another size, interpolated linearly in both directions.
//!
//! `x` [.., height, width] of rank 3 to 5, float16 or float32; `sampling_mode` says where the places of the result lie
//! among the pixels. The same at every target.

use super::{
    Op, resize_nearest_neighbor,
    support::{
        defaults,
        sampling::{Grid, SAMPLING_MODE, resized},
        types::{FLOAT, X, int},
    },
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "resize_bilinear",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[
                X,
                int("target_size_height").default(defaults::one),
                int("target_size_width").default(defaults::one),
                SAMPLING_MODE,
            ],
        }],
        infer: |call| {
            Grid::of(call)?;
            resize_nearest_neighbor::infer(call)
        },
    },
    kernel: |arguments| {
        let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
        let (height, width) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        Ok(vec![resized(x, Grid::of(arguments.call)?, height, width)?])
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("resize_bilinear");
    }

    #[test]
    fn other_grids_are_refused() {
        let arguments = [("x", testing::float32(&[1, 4, 4])), ("sampling_mode", "CORNERS".into())];
        let why = "parameter `sampling_mode`: expected one of `STRICT_ALIGN_CORNERS`, `ALIGN_CORNERS`, `DEFAULT`, \
             `OFFSET_CORNERS`, \
                   `UNALIGN_CORNERS`, found `CORNERS`";
        testing::refuses("resize_bilinear", Target::Ios15, &arguments, why);
    }
}
