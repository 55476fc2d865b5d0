//! `dequantize` (iOS17): `scale * (input - zero_point)`.
//!
//! `input`: int8 or uint8; `zero_point` of its type (0 without) and `scale` (float16, float32) are scalars, or vectors
//! along `axis`. The result has the element type of `scale`.

use super::{
    Op,
    support::{
        blocks::{Blocks, dequantized},
        quantization::{check, counts},
        types::{FLOAT, int, var},
    },
};
use crate::{
    base::Target,
    mil::{DataType, OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "dequantize",
        versions: &[OpVersion {
            since: Target::Ios17,
            domains: &[('S', &[DataType::Int8, DataType::UInt8]), ('D', FLOAT)],
            parameters: &[
                var("input", 'S'),
                var("zero_point", 'S').constant().optional(),
                var("scale", 'D').constant(),
                int("axis").optional(),
            ],
        }],
        infer: |call| {
            check(call)?;
            Ok(vec![call.tensor("input")?.with_dtype(call.tensor("scale")?.dtype).into()])
        },
    },
    kernel: |arguments| {
        let input = arguments.tensor("input")?;
        let blocks = Blocks::new(input.dims(), &counts(arguments.call, input.dims())?);
        Ok(vec![dequantized(input, &blocks, arguments.tensor("scale")?, arguments.given("zero_point"))?])
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("dequantize");
    }

    #[test]
    fn vectors_need_an_axis() {
        let input = testing::constant("int8", &[2, 3], &[0; 6]);
        let arguments = [("input", input), ("scale", testing::constant_zeros(&[3]))];
        testing::refuses("dequantize", Target::Ios17, &arguments, "required parameter `axis` is missing");
        testing::refuses("dequantize", Target::Ios16, &arguments, "`dequantize` needs iOS17; the program is for iOS16");
    }
}
