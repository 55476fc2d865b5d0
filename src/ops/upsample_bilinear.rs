//! `upsample_bilinear`: pictures enlarged by a factor, interpolated linearly in both directions.
//!
//! `x` [.., height, width] of rank 3 to 5, float16 or float32; factors are float32 or int32; lengths become
//! `floor(length * factor)`, and places are laid over the pixels by lengths, not by factors. iOS16:
//! `half_pixel_centers`, the opposite of `align_corners` unless given.

use super::{
    Op,
    support::{
        defaults,
        sampling::{Grid, resized},
        types::{FLOAT, X, boolean, var},
    },
    upsample_nearest_neighbor::{enlarged, factor_one},
};
use crate::{
    base::Target,
    mil::{Call, DataType, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const FACTOR: &[DataType] = &[DataType::Float32, DataType::Int32];
const HEIGHT: Parameter = var("scale_factor_height", 'U').constant().default(|call| factor_one(call, "scale_factor_width"));
const WIDTH: Parameter = var("scale_factor_width", 'U').constant().default(|call| factor_one(call, "scale_factor_height"));
const ALIGN_CORNERS: Parameter = boolean("align_corners").default(defaults::on);
const HALF_PIXEL_CENTERS: Parameter = boolean("half_pixel_centers").optional();

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "upsample_bilinear",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', FLOAT), ('U', FACTOR)], parameters: &[X, HEIGHT, WIDTH, ALIGN_CORNERS] },
            OpVersion {
                since: Target::Ios16,
                domains: &[('T', FLOAT), ('U', FACTOR)],
                parameters: &[X, HEIGHT, WIDTH, ALIGN_CORNERS, HALF_PIXEL_CENTERS],
            },
        ],
        infer,
    },
    kernel: |arguments| {
        let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
        Ok(vec![resized(x, grid(arguments.call)?, shape[shape.len() - 2], shape[shape.len() - 1])?])
    },
};

fn grid(call: &Call<'_>) -> Result<Grid, InferError> {
    let aligned = call.bool("align_corners")?;
    let centers = if call.has("half_pixel_centers") { call.bool("half_pixel_centers")? } else { !aligned };
    match (aligned, centers) {
        (true, true) => Err(InferError::rule("half_pixel_centers", "not together with `align_corners`")),
        (true, false) => Ok(Grid::StrictAlignCorners),
        (false, true) => Ok(Grid::UnalignCorners),
        (false, false) => Ok(Grid::Default),
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    grid(call)?;
    enlarged(call)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("upsample_bilinear");
    }

    #[test]
    fn corners_and_centers_exclude_each_other() {
        let arguments = [("x", testing::float32(&[1, 2, 2])), ("align_corners", true.into()), ("half_pixel_centers", true.into())];
        let why = "parameter `half_pixel_centers`: not together with `align_corners`";
        testing::refuses("upsample_bilinear", Target::Ios16, &arguments, why);
        let why = "`upsample_bilinear` has no parameter `half_pixel_centers` at iOS15";
        testing::refuses("upsample_bilinear", Target::Ios15, &arguments, why);
    }
}
