//! `make_list`: a list of `init_length` tensors of shape `elem_shape` and element type `dtype`, not written yet.
//!
//! Lengths in `elem_shape` are int32, or strings for lengths that stay open until the first element is written.
//! Elements of a fixed shape are zeros. The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        lists::{DYNAMIC_LENGTH, flags, list},
        shapes::{UNKNOWN, choice},
        types::{INT32, text},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, storage_type},
    mil::{Call, DataType, Dimension, Domain, InferError, Literal, OpDef, OpVersion, Parameter, TensorType, Value},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "make_list",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[],
            parameters: &[
                Parameter::new("init_length", Domain::Of(INT32)).default(defaults::one),
                DYNAMIC_LENGTH,
                Parameter::new("elem_shape", Domain::Any).variadic(),
                text("dtype").default(|_| Some(Value::string("fp32"))),
            ],
        }],
        infer: |call| {
            let length = if call.known("init_length").is_some() { length(call)? } else { UNKNOWN };
            Ok(vec![list(element(call)?, length)])
        },
    },
    kernel,
};

fn length(call: &Call<'_>) -> Result<Dimension, InferError> {
    let length = call.int("init_length")?;
    let found = || InferError::rule("init_length", format!("expected a length, found {length}"));
    u64::try_from(length).map(Dimension::Known).map_err(|_| found())
}

fn element(call: &Call<'_>) -> Result<TensorType, InferError> {
    let dtype = choice(call, "dtype", &["bool", "fp16", "fp32", "int32"])?;
    let dimension = |value: &Value| match value.tensor().and_then(|recipe| recipe.as_literal()) {
        Some(Literal::Ints(lengths)) if lengths.len() == 1 && lengths[0] >= 0 => Ok(Dimension::Known(lengths[0] as u64)),
        Some(Literal::Strings(names)) if names.len() == 1 => Ok(UNKNOWN),
        _ => Err(InferError::rule("elem_shape", format!("expected lengths or names, found {}", value.value_type()))),
    };
    let shape = call.known_values("elem_shape")?.iter().map(dimension).collect::<Result<_, _>>()?;
    Ok(TensorType { dtype: DataType::from_name(&dtype).unwrap_or(DataType::Float32), shape })
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let element = element(arguments.call)?;
    let lengths = [length(arguments.call)?].into_iter().chain(element.shape.iter().copied());
    let shape: Vec<usize> = lengths.map(|d| d.known().unwrap_or(0) as usize).collect();
    let dtype = storage_type(element.dtype).ok_or_else(|| InferError::rule("dtype", "strings have no numbers"))?;
    let readable = vec![element.fixed_shape().is_some(); shape[0]];
    Ok(vec![Tensor::zeros(shape, dtype, &Device::Cpu)?, flags(&readable)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, mil::Value, ops::support::testing};

    fn shape(value: Value) -> (&'static str, testing::Given) {
        ("elem_shape", testing::several(&[testing::Given::Constant(Value::int(2).into()), testing::Given::Constant(value.into())]))
    }

    #[test]
    fn lengths_may_have_names() {
        testing::accepts("make_list", Target::Ios15, &[shape(Value::int(3))], "list<tensor<fp32, [2, 3]>, 1>");
        testing::accepts(
            "make_list",
            Target::Ios15,
            &[shape(Value::string("n")), ("init_length", 4.into())],
            "list<tensor<fp32, [2, ?]>, 4>",
        );
        let why = "parameter `elem_shape`: expected lengths or names, found bool";
        testing::refuses("make_list", Target::Ios15, &[shape(Value::bool(true))], why);
    }
}
