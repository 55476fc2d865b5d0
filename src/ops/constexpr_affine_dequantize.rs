//! `constexpr_affine_dequantize` (iOS16): a weight of 8 bits made wide: `scale * (quantized_data - zero_point)`.
//!
//! `quantized_data`: int8 or uint8; `scale` (float16, float32) and `zero_point` are scalars or hold one number per
//! index of `axis`; the result has the type of `scale`. Its parameters are attributes, at every target.

use super::{
    Op,
    support::{
        blocks::{Blocks, dequantized},
        shapes::single,
        types::{FLOAT, int, var},
    },
};
use crate::{
    base::Target,
    mil::{Call, DataType, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_affine_dequantize",
        versions: &[OpVersion {
            since: Target::Ios16,
            domains: &[
                ('Q', &[DataType::Int8, DataType::UInt8]),
                ('Z', &[DataType::Int8, DataType::UInt8, DataType::Float32]),
                ('D', FLOAT),
            ],
            parameters: &[
                var("quantized_data", 'Q').constant(),
                var("zero_point", 'Z').constant(),
                var("scale", 'D').constant(),
                int("axis"),
            ],
        }],
        infer,
    },
    kernel: |arguments| {
        let data = arguments.tensor("quantized_data")?;
        let axis = arguments.call.axis("axis", data.rank())?;
        let (scale, zero_point) = (arguments.tensor("scale")?, arguments.tensor("zero_point")?);
        let mut counts = vec![1; data.rank()];
        counts[axis] = scale.elem_count().max(zero_point.elem_count());
        let scale = scale.flatten_all()?.broadcast_as(counts[axis])?.contiguous()?;
        let zero_point = zero_point.flatten_all()?.broadcast_as(counts[axis])?.contiguous()?;
        Ok(vec![dequantized(data, &Blocks::new(data.dims(), &counts), &scale, Some(&zero_point))?])
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let data = call.tensor("quantized_data")?;
    let axis = call.axis("axis", data.rank())?;
    for name in ["zero_point", "scale"] {
        let ty = call.tensor(name)?;
        if ty.rank() > 1 || ty.rank() == 1 && ty.shape[0] != data.shape[axis] {
            return Err(InferError::rule(name, format!("expected a scalar or a vector of {}, found {ty}", data.shape[axis])));
        }
    }
    single(call.tensor("scale")?.dtype, data.shape.clone())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_affine_dequantize");
    }

    #[test]
    fn one_scale_per_index_of_the_axis() {
        let data = testing::constant("int8", &[2, 3], &[0; 6]);
        let arguments = [
            ("quantized_data", data),
            ("zero_point", testing::constant("int8", &[], &[0])),
            ("scale", testing::constant_zeros(&[2])),
            ("axis", 1.into()),
        ];
        let why = "parameter `scale`: expected a scalar or a vector of 3, found tensor<fp32, [2]>";
        testing::refuses("constexpr_affine_dequantize", Target::Ios16, &arguments, why);
        let why = "`constexpr_affine_dequantize` needs iOS16; the program is for iOS15";
        testing::refuses("constexpr_affine_dequantize", Target::Ios15, &arguments, why);
    }
}
