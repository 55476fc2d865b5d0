//! `quantize` (iOS17): `round(input / scale) + zero_point`, brought into the range of `output_dtype`; halves go to the
//! even number.
//!
//! `input`: float16 or float32; `scale` of its type and `zero_point` of the result's (0 without) are scalars, or
//! vectors along `axis`. `output_dtype`: `int8` or `uint8`.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        blocks::{Blocks, numbers},
        quantization::{check, counts},
        shapes::choice,
        types::{FLOAT, int, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, DataType, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "quantize",
        versions: &[OpVersion {
            since: Target::Ios17,
            domains: &[('S', FLOAT), ('D', &[DataType::Int8, DataType::UInt8])],
            parameters: &[
                var("input", 'S'),
                var("zero_point", 'D').constant().optional(),
                var("scale", 'S').constant(),
                int("axis").optional(),
                text("output_dtype"),
            ],
        }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let dtype = if choice(call, "output_dtype", &["int8", "uint8"])? == "int8" { DataType::Int8 } else { DataType::UInt8 };
    if let Ok(zero_point) = call.tensor("zero_point")
        && zero_point.dtype != dtype
    {
        return Err(InferError::rule("zero_point", format!("expected {dtype}, found {zero_point}")));
    }
    check(call)?;
    Ok(vec![call.tensor("input")?.with_dtype(dtype).into()])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let input = arguments.tensor("input")?;
    let blocks = Blocks::new(input.dims(), &counts(arguments.call, input.dims())?);
    let (scale, zero_point) = (numbers(arguments.tensor("scale")?)?, arguments.given("zero_point").map(numbers).transpose()?);
    let (low, high) = if arguments.result(0)?.dtype == DataType::Int8 { (-128.0, 127.0) } else { (0.0, 255.0) };
    let values: Vec<i64> = view(input, |input: &[f32]| {
        let value = |(i, &x): (usize, &f32)| {
            let block = blocks.of(i);
            let steps = f64::from(x / scale[block] as f32).round_ties_even();
            (steps + zero_point.as_ref().map_or(0.0, |zero_point| zero_point[block])).clamp(low, high) as i64
        };
        input.iter().enumerate().map(value).collect()
    })?;
    Ok(vec![Tensor::from_vec(values, input.shape(), &Device::Cpu)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("quantize");
    }

    #[test]
    fn the_zero_point_is_of_the_result() {
        let arguments = [
            ("input", testing::float32(&[2])),
            ("scale", testing::constant_float32(1.0)),
            ("zero_point", testing::constant("int8", &[], &[0])),
            ("output_dtype", "uint8".into()),
        ];
        testing::refuses("quantize", Target::Ios17, &arguments, "parameter `zero_point`: expected uint8, found \
             tensor<int8, []>");
    }
}
