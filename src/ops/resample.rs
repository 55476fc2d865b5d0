//! `resample`: pictures sampled at `coordinates`, between pixels linearly or by the nearest one.
//!
//! `x` [n, c, h, w], float16 or float32; `coordinates` [n, rows, columns, 2] of (x, y): float32 or int32, iOS16:
//! float16, iOS17: 8 and 16 bit integers. `padding_mode` says what stands outside: `constant` (`padding_value`),
//! `border`, `reflection`, `symmetric`.

use candle_core::{DType, Tensor};

use super::{
    Op,
    support::{
        grid_sample::{Border, Coordinates, Sampler},
        shapes::{choice, expect_shape, rank_between, single},
        types::{FLOAT, X, boolean, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, Dimension, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const PARAMETERS: &[Parameter] = &[
    X,
    var("coordinates", 'U'),
    text("sampling_mode"),
    text("padding_mode"),
    var("padding_value", 'T').constant(),
    text("coordinates_mode"),
    boolean("align_corners"),
];
const COORDINATES_17: &[DataType] =
    &[DataType::Int8, DataType::UInt8, DataType::Int16, DataType::UInt16, DataType::Int32, DataType::Float16, DataType::Float32];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "resample",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT), ('U', &[DataType::Int32, DataType::Float32])],
                parameters: PARAMETERS,
            },
            OpVersion {
                since: Target::Ios16,
                domains: &[('T', FLOAT), ('U', &[DataType::Int32, DataType::Float16, DataType::Float32])],
                parameters: PARAMETERS,
            },
            OpVersion { since: Target::Ios17, domains: &[('T', FLOAT), ('U', COORDINATES_17)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

fn sampler(call: &Call<'_>) -> Result<Sampler, InferError> {
    let border = match choice(call, "padding_mode", &["constant", "border", "reflection", "symmetric"])?.as_str() {
        "border" => Border::Edge,
        "reflection" => Border::Reflection,
        "symmetric" => Border::Symmetric,
        _ => Border::Constant(call.number("padding_value")? as f32),
    };
    let modes = ["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"];
    let coordinates = match choice(call, "coordinates_mode", &modes)?.as_str() {
        "normalized_minus_one_to_one" => Coordinates::MinusOneToOne,
        "normalized_zero_to_one" => Coordinates::ZeroToOne,
        _ => Coordinates::Pixels,
    };
    let nearest = choice(call, "sampling_mode", &["bilinear", "nearest"])? == "nearest";
    Ok(Sampler { coordinates, border, align_corners: call.bool("align_corners")?, nearest })
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 4, 4)?;
    rank_between(call, "coordinates", 4, 4)?;
    sampler(call)?;
    let (x, places) = (call.tensor("x")?, call.tensor("coordinates")?);
    expect_shape(call, "coordinates", &[x.shape[0], places.shape[1], places.shape[2], Dimension::Known(2)])?;
    single(x.dtype, vec![x.shape[0], x.shape[1], places.shape[1], places.shape[2]])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let places = arguments.tensor("coordinates")?.to_dtype(DType::F32)?;
    Ok(vec![sampler(arguments.call)?.sample(arguments.tensor("x")?, &places)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("resample");
    }

    #[test]
    fn one_row_of_places_per_picture() {
        let arguments = [
            ("x", testing::float32(&[2, 1, 4, 4])),
            ("coordinates", testing::float32(&[1, 3, 3, 2])),
            ("sampling_mode", "bilinear".into()),
            ("padding_mode", "border".into()),
            ("padding_value", testing::constant_float32(0.0)),
            ("coordinates_mode", "unnormalized".into()),
            ("align_corners", true.into()),
        ];
        let why = "parameter `coordinates`: expected tensor<fp32, [2, 3, 3, 2]>, found tensor<fp32, [1, 3, 3, 2]>";
        testing::refuses("resample", Target::Ios15, &arguments, why);
    }
}
