//! `crop_resize`: boxes of pictures, each brought to one size by linear interpolation.
//!
//! Before iOS17: `roi` [n, 1, 4, 1, 1] takes n boxes out of every picture of `x` [b, c, h, w], the result is [n, b, c,
//! height, width]; `roi` [n, 1, 5, 1, 1] has the number of the picture in front, the result is [n, 1, c, height,
//! width]. iOS16: `pad_value` stands outside of the picture (before: 0). iOS17: `boxes` [n, 4] and `box_indices` [n],
//! the result is [n, c, height, width]. The grid of `sampling_mode` is laid over a box of `end - start + 1` pixels, as
//! Core ML's specification of the older layer has it.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        defaults,
        indexing::position,
        sampling::{Grid, SAMPLING_MODE, Tap},
        shapes::{choice, expect_shape, integers, rank_between, single},
        types::{FLOAT, X, boolean, int, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, Value, ValueType},
};

const ROI: Parameter = var("roi", 'T');
const BOXES: Parameter = Parameter::new("boxes", Domain::Of(&[DataType::Float16, DataType::Float32, DataType::UInt16]));
const BOX_INDICES: Parameter = Parameter::new("box_indices", Domain::Of(&[DataType::UInt16, DataType::Int32])).default(|call| {
    let count = i32::try_from(call.tensor("boxes").ok()?.shape.first()?.known()?).ok().filter(|&n| n <= 1 << 16)?;
    Some(Value::ints(&(0..count).collect::<Vec<_>>()))
});
const HEIGHT: Parameter = int("target_height").default(defaults::one);
const WIDTH: Parameter = int("target_width").default(defaults::one);
const NORMALIZED: Parameter = boolean("normalized_coordinates").default(defaults::off);
const SCALE: Parameter =
    Parameter::new("spatial_scale", Domain::Of(&[DataType::Float32])).constant().default(|_| Some(Value::float(DataType::Float32, 1.0)));
const COORDINATES: Parameter = text("box_coordinate_mode").default(|_| Some(Value::string("CORNERS_HEIGHT_FIRST")));
const PAD_VALUE: Parameter = var("pad_value", 'T').constant().default(|call| defaults::float(call, "pad_value", 0.0));

const MODES: &[&str] = &["CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "crop_resize",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[X, ROI, HEIGHT, WIDTH, NORMALIZED, SCALE, COORDINATES, SAMPLING_MODE],
            },
            OpVersion {
                since: Target::Ios16,
                domains: &[('T', FLOAT)],
                parameters: &[X, ROI, HEIGHT, WIDTH, NORMALIZED, SCALE, COORDINATES, SAMPLING_MODE, PAD_VALUE],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', FLOAT)],
                parameters: &[X, BOXES, BOX_INDICES, HEIGHT, WIDTH, NORMALIZED, SCALE, COORDINATES, SAMPLING_MODE, PAD_VALUE],
            },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 4, 4)?;
    Grid::of(call)?;
    choice(call, "box_coordinate_mode", MODES)?;
    let x = call.tensor("x")?;
    let size = [Dimension::Known(integers(call, "target_height", 1, 1)?[0]), Dimension::Known(integers(call, "target_width", 1, 1)?[0])];
    if call.version().parameter("boxes").is_some() {
        let boxes = call.tensor("boxes")?;
        let count = *boxes.shape.first().unwrap_or(&Dimension::Known(0));
        expect_shape(call, "boxes", &[count, Dimension::Known(4)])?;
        expect_shape(call, "box_indices", &[count])?;
        if call.bool("normalized_coordinates")? && !boxes.dtype.is_float() {
            return Err(InferError::rule("boxes", format!("normalized coordinates are floats, found {boxes}")));
        }
        return single(x.dtype, vec![count, x.shape[1], size[0], size[1]]);
    }
    let roi = call.tensor("roi")?;
    let one = Dimension::Known(1);
    let numbers = roi.shape.get(2).and_then(|d| d.known()).filter(|n| roi.rank() == 5 && (4..=5).contains(n));
    let numbers = numbers.ok_or_else(|| InferError::rule("roi", format!("expected [n, 1, 4 or 5, 1, 1], found {roi}")))?;
    expect_shape(call, "roi", &[roi.shape[0], one, Dimension::Known(numbers), one, one])?;
    single(x.dtype, vec![roi.shape[0], if numbers == 4 { x.shape[0] } else { one }, x.shape[1], size[0], size[1]])
}

/// A crop: the picture it is of, and where its rows and columns lie there; `None` outside.
struct Crop {
    picture: usize,
    rows: Vec<Option<Tap>>,
    columns: Vec<Option<Tap>>,
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, call) = (arguments.tensor("x")?, arguments.call);
    let shape = arguments.shape(0)?;
    let pad = if call.version().parameter("pad_value").is_some() { call.number("pad_value")? as f32 } else { 0.0 };
    let crops = crops(arguments, &shape)?;
    let (channels, height, width) = (x.dims()[1], x.dims()[2], x.dims()[3]);
    let place = shape[shape.len() - 2] * shape[shape.len() - 1];
    let mut out = vec![0.0; shape.iter().product()];
    if !out.is_empty() {
        view(x, |x: &[f32]| {
            out.par_chunks_mut(place).enumerate().for_each(|(i, out)| {
                let crop = &crops[i / channels];
                let plane = &x[(crop.picture * channels + i % channels) * height * width..][..height * width];
                let all = crop.rows.iter().flat_map(|row| crop.columns.iter().map(move |column| (row, column)));
                for (out, taps) in out.iter_mut().zip(all) {
                    *out = match taps {
                        (Some(row), Some(column)) => row.mix(|y| column.mix(|x| plane[y * width + x])),
                        _ => pad,
                    };
                }
            });
        })?;
    }
    Ok(vec![Tensor::from_vec(out, shape, &Device::Cpu)?])
}

/// Every crop, in the order of the result.
fn crops(arguments: &Arguments<'_>, shape: &[usize]) -> Result<Vec<Crop>, KernelError> {
    let (x, call) = (arguments.tensor("x")?, arguments.call);
    let (pictures, height, width) = (x.dims()[0], x.dims()[2], x.dims()[3]);
    let numbers = |tensor: &Tensor| -> Result<Vec<f64>, KernelError> { Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?) };
    let (boxes, indices) = if call.version().parameter("boxes").is_some() {
        let indices = match arguments.given("box_indices") {
            Some(indices) => indices.to_vec1::<i64>()?,
            None => (0..shape[0] as i64).collect(),
        };
        (numbers(arguments.tensor("boxes")?)?, Some(indices))
    } else {
        let roi = arguments.tensor("roi")?.flatten_from(1)?;
        let indexed = roi.dims()[1] == 5;
        let indices = if indexed { Some(numbers(&roi.narrow(1, 0, 1)?)?.into_iter().map(|i| i as i64).collect()) } else { None };
        (numbers(&roi.narrow(1, usize::from(indexed), 4)?.contiguous()?)?, indices)
    };
    let (size, grid) = (&shape[shape.len() - 2..], Grid::of(call)?);
    let mut crops = Vec::new();
    for (i, corners) in boxes.chunks(4).enumerate() {
        let [top, left, bottom, right] = corners_of(call, corners, height, width)?;
        let own = match &indices {
            Some(indices) => vec![position("box_indices", indices[i], pictures)?],
            None => (0..pictures).collect(),
        };
        crops.extend(own.into_iter().map(|picture| Crop {
            picture,
            rows: taps(grid, top, bottom, size[0], height),
            columns: taps(grid, left, right, size[1], width),
        }));
    }
    Ok(crops)
}

/// Top, left, bottom, right of a box, in pixels.
fn corners_of(call: &Call<'_>, numbers: &[f64], height: usize, width: usize) -> Result<[f64; 4], KernelError> {
    let mode = call.text("box_coordinate_mode")?;
    let order = if mode.ends_with("HEIGHT_FIRST") { [0, 1, 2, 3] } else { [1, 0, 3, 2] };
    let [mut top, mut left, mut bottom, mut right] = order.map(|i| numbers[i]);
    if mode.starts_with("CENTER_SIZE") {
        let (tall, wide) = (bottom, right);
        (top, bottom) = (top - tall / 2.0, top + tall / 2.0);
        (left, right) = (left - wide / 2.0, left + wide / 2.0);
    }
    let scale = call.number("spatial_scale")?;
    let (rows, columns) = if call.bool("normalized_coordinates")? { (height as f64 - 1.0, width as f64 - 1.0) } else { (1.0, 1.0) };
    Ok([top * rows * scale, left * columns * scale, bottom * rows * scale, right * columns * scale])
}

fn taps(grid: Grid, start: f64, end: f64, count: usize, length: usize) -> Vec<Option<Tap>> {
    // A box that is turned round is walked backwards.
    let step = if end < start { -1.0 } else { 1.0 };
    let inside = |position: f64| (0.0..=length as f64 - 1.0).contains(&position).then(|| Tap::at(position, length));
    grid.positions((end - start).abs() + 1.0, count).into_iter().map(|offset| inside(start + step * offset)).collect()
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("crop_resize");
    }

    #[test]
    fn boxes_have_four_numbers() {
        let x = || ("x", testing::float32(&[2, 1, 4, 4]));
        let why = "parameter `roi`: expected [n, 1, 4 or 5, 1, 1], found tensor<fp32, [3, 1, 6, 1, 1]>";
        testing::refuses("crop_resize", Target::Ios15, &[x(), ("roi", testing::float32(&[3, 1, 6, 1, 1]))], why);
        let why = "parameter `boxes`: expected tensor<fp32, [3, 4]>, found tensor<fp32, [3, 5]>";
        testing::refuses("crop_resize", Target::Ios17, &[x(), ("boxes", testing::float32(&[3, 5]))], why);
        let shape = "tensor<fp32, [3, 2, 1, 1, 1]>";
        testing::accepts("crop_resize", Target::Ios15, &[x(), ("roi", testing::float32(&[3, 1, 4, 1, 1]))], shape);
    }
}
