//! `affine`: pictures moved, turned and scaled: place (x, y) of the result takes what stands at (a0 x + a1 y + a2, b0 x
//! + b1 y + b2).
//!
//! `x` [n, c, h, w], float16 or float32; `transform_matrix` [n or 1, 6] of a0 a1 a2 b0 b1 b2 in its type. Coordinates
//! run from -1 to 1 between the centres of the outermost pixels, outside are zeros, between pixels it is linear:
//! nothing else is defined. The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        grid_sample::{Border, Coordinates, Sampler},
        shapes::{choice, integers, rank_between, single},
        types::{FLOAT, X, boolean, int, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, Dimension, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "affine",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[
                X,
                var("transform_matrix", 'T'),
                int("output_height"),
                int("output_width"),
                text("sampling_mode"),
                text("padding_mode"),
                var("padding_value", 'T').constant(),
                text("coordinates_mode"),
                boolean("align_corners"),
            ],
        }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 4, 4)?;
    choice(call, "sampling_mode", &["bilinear"])?;
    choice(call, "padding_mode", &["constant"])?;
    choice(call, "coordinates_mode", &["normalized_minus_one_to_one"])?;
    if call.number("padding_value")? != 0.0 {
        return Err(InferError::rule("padding_value", "only 0 is defined"));
    }
    if !call.bool("align_corners")? {
        return Err(InferError::rule("align_corners", "only true is defined"));
    }
    let (x, matrix) = (call.tensor("x")?, call.tensor("transform_matrix")?);
    let rows = |rows: Dimension| rows == Dimension::Known(1) || rows.agrees(x.shape[0]);
    if matrix.rank() != 2 || !rows(matrix.shape[0]) || matrix.shape[1].known().is_some_and(|n| n != 6) {
        return Err(InferError::rule("transform_matrix", format!("expected [{} or 1, 6], found {matrix}", x.shape[0])));
    }
    let (height, width) = (integers(call, "output_height", 1, 1)?[0], integers(call, "output_width", 1, 1)?[0]);
    single(x.dtype, vec![x.shape[0], x.shape[1], Dimension::Known(height), Dimension::Known(width)])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let (pictures, height, width) = (shape[0], shape[2], shape[3]);
    let along = |i: usize, count: usize| if count == 1 { 0.0 } else { 2.0 * i as f32 / (count - 1) as f32 - 1.0 };
    let places = view(arguments.tensor("transform_matrix")?, |matrices: &[f32]| {
        let mut places = Vec::with_capacity(pictures * height * width * 2);
        for picture in 0..pictures {
            let matrix = &matrices[if matrices.len() == 6 { 0 } else { picture * 6 }..][..6];
            for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
                let (x, y) = (along(column, width), along(row, height));
                places.extend([matrix[0] * x + matrix[1] * y + matrix[2], matrix[3] * x + matrix[4] * y + matrix[5]]);
            }
        }
        places
    })?;
    let places = Tensor::from_vec(places, (pictures, height, width, 2), &Device::Cpu)?;
    let sampler = Sampler { coordinates: Coordinates::MinusOneToOne, border: Border::Constant(0.0), align_corners: true, nearest: false };
    Ok(vec![sampler.sample(x, &places)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("affine");
    }

    #[test]
    fn a_matrix_has_six_numbers() {
        let arguments = [
            ("x", testing::float32(&[3, 1, 4, 4])),
            ("transform_matrix", testing::float32(&[2, 6])),
            ("output_height", 2.into()),
            ("output_width", 2.into()),
            ("sampling_mode", "bilinear".into()),
            ("padding_mode", "constant".into()),
            ("padding_value", testing::constant_float32(0.0)),
            ("coordinates_mode", "normalized_minus_one_to_one".into()),
            ("align_corners", true.into()),
        ];
        let why = "parameter `transform_matrix`: expected [3 or 1, 6], found tensor<fp32, [2, 6]>";
        testing::refuses("affine", Target::Ios15, &arguments, why);
    }
}
