//! `classify`: what a classifier tells: the most likely class, and how likely each is.
//!
//! `probabilities`: float32, one for each of `classes`, a list of strings or int64. Results: the class, and a
//! dictionary of all; evaluated, the class is its number where it is an integer and its place in `classes` where it is
//! a string, the dictionary is the row of its values.

use candle_core::{Device, Tensor};

use super::Op;
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, DataType, Domain, InferError, Literal, OpDef, OpVersion, Parameter, TensorType, Value, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "classify",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[],
            parameters: &[
                Parameter::new("probabilities", Domain::Of(&[DataType::Float32])),
                Parameter::new("classes", Domain::Any).constant(),
            ],
        }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let probabilities = call.tensor("probabilities")?;
    let key = match call.value_type("classes")? {
        ValueType::List { element, length } => match element.tensor() {
            Some(ty) if ty.rank() == 0 && matches!(ty.dtype, DataType::String | DataType::Int64) => {
                let fits = probabilities.elements().zip(length.known()).is_none_or(|(a, b)| a == b && a > 0);
                fits.then_some(ty).ok_or_else(|| InferError::rule("classes", format!("{length} classes for \
                     {probabilities}")))?
            }
            _ => return Err(InferError::rule("classes", format!("expected strings or int64, found {element}"))),
        },
        other => return Err(InferError::rule("classes", format!("expected a list, found {other}"))),
    };
    let key = ValueType::from(key.clone());
    let value = ValueType::from(TensorType::scalar(DataType::Float64));
    Ok(vec![key.clone(), ValueType::Dictionary { key: Box::new(key), value: Box::new(value) }])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let probabilities = arguments.tensor("probabilities")?.flatten_all()?;
    let best = view(&probabilities, |values: &[f32]| (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best }))?;
    let number = match arguments.call.known("classes") {
        Some(Value::List { values, .. }) => match values.get(best).and_then(Value::tensor).and_then(|recipe| recipe.as_literal()) {
            Some(Literal::Ints(numbers)) => numbers.first().copied(),
            _ => None,
        },
        _ => None,
    };
    Ok(vec![Tensor::new(number.unwrap_or(best as i64), &Device::Cpu)?, probabilities])
}

#[cfg(test)]
mod tests {
    use crate::{
        base::Target,
        mil::{DataType, TensorType, Value},
        ops::support::testing,
    };

    #[test]
    fn one_class_per_probability() {
        let classes =
            Value::List { element: TensorType::scalar(DataType::String).into(), values: vec![Value::string("a"), Value::string("b")] };
        let arguments = [("probabilities", testing::float32(&[1, 3])), ("classes", testing::Given::Constant(classes.into()))];
        testing::refuses("classify", Target::Ios15, &arguments, "parameter `classes`: 2 classes for tensor<fp32, [1, \
             3]>");
    }
}
