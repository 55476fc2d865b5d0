//! `constexpr_blockwise_shift_scale` (iOS18): a weight made wide with one scale and offset per block: `scale * (data -
//! offset)`.
//!
//! `data`: 4 or 8 bit integers or floats; `scale` (float16, float32) has as many dimensions, each of which divides that
//! of `data`; `offset` has the shape of `scale` and is float or of the type of `data`. The result has the element type
//! of `scale`.

use super::{
    Op,
    support::{
        blocks::{Blocks, dequantized, expect_blocks},
        shapes::{expect_shape, single},
        types::{FLOAT, var},
    },
};
use crate::{
    base::Target,
    mil::{Call, DataType, InferError, OpDef, OpVersion, TensorType},
};

pub(super) const DATA: &[DataType] =
    &[DataType::Int4, DataType::UInt4, DataType::Int8, DataType::UInt8, DataType::Float16, DataType::Float32];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_blockwise_shift_scale",
        versions: &[OpVersion {
            since: Target::Ios18,
            domains: &[('S', DATA), ('D', FLOAT), ('O', DATA)],
            parameters: &[var("data", 'S').constant(), var("scale", 'D').constant(), var("offset", 'O').constant().optional()],
        }],
        infer: |call| {
            let data = call.tensor("data")?;
            check(call, data)?;
            single(call.tensor("scale")?.dtype, data.shape.clone())
        },
    },
    kernel: |arguments| {
        let (data, scale) = (arguments.tensor("data")?, arguments.tensor("scale")?);
        Ok(vec![dequantized(data, &Blocks::new(data.dims(), scale.dims()), scale, arguments.given("offset"))?])
    },
};

/// Refuses scales and offsets that do not fit `data`.
pub(super) fn check(call: &Call<'_>, data: &TensorType) -> Result<(), InferError> {
    let scale = call.tensor("scale")?;
    expect_blocks("scale", &scale.shape, &data.shape)?;
    expect_shape(call, "offset", &scale.shape)?;
    match call.tensor("offset") {
        Ok(offset) if !offset.dtype.is_float() && offset.dtype != data.dtype => {
            Err(InferError::rule("offset", format!("expected floats or {}, found {offset}", data.dtype)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};

    use crate::{
        base::Target,
        eval::{Interpreter, Mode},
        recipe::Literals,
        mil::{Builder, DataType, Literal, Program, Recipe, TensorType, Value, verify},
        ops::{self, support::testing},
    };

    #[test]
    fn the_result_is_a_weight_like_any_other() {
        let mut builder = Builder::new(ops::find, Target::Ios18);
        let x = builder.input("x", TensorType::new(DataType::Float16, &[1, 2]));
        let data = Recipe::literal(DataType::Int4, &[2, 2], Literal::Packed(vec![0x21, 0xf3])).unwrap();
        let scale = Recipe::literal(DataType::Float16, &[2, 1], Literal::Halves(vec![half::f16::ONE, half::f16::from_f32(2.0)])).unwrap();
        let arguments = [("data", Value::Tensor(data).into()), ("scale", Value::Tensor(scale).into())];
        let weight = builder.op1("constexpr_blockwise_shift_scale", "weight", &arguments).unwrap();
        let y = builder.linear("y", x, weight, None).unwrap();
        let function = builder.finish(&[("y", y)]).unwrap();
        let functions = BTreeMap::from([("main".to_owned(), function)]);
        let program = Program { target: Target::Ios18, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
        verify(&program, ops::find).unwrap();
        let inputs = BTreeMap::from([("x".to_owned(), Tensor::new(&[[10f32, 1.0]], &Device::Cpu).unwrap())]);
        let outputs = Interpreter::new(&program, ops::OPERATORS, &Literals).run(None, inputs, Mode::Declared).unwrap();
        assert_eq!(outputs["y"].to_vec2::<f32>().unwrap(), [[12.0, 58.0]]);
    }

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_blockwise_shift_scale");
    }

    #[test]
    fn scales_must_cut_into_blocks() {
        let arguments = [("data", testing::constant("int8", &[2, 3], &[0; 6])), ("scale", testing::constant_zeros(&[2, 2]))];
        let why = "parameter `scale`: [2, 2] does not cut [2, 3] into blocks";
        testing::refuses("constexpr_blockwise_shift_scale", Target::Ios18, &arguments, why);
    }
}
