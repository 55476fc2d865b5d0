//! `one_hot`: for every index a vector with `on_value` at that place and `off_value` elsewhere, along a new dimension
//! `axis`.
//!
//! `indices`: int32; the vectors are `one_hot_vector_size` long and of the type of `on_value` (int32 1 by default). An
//! index outside gives `off_value` everywhere. The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        shapes::{UNKNOWN, single},
        types::{INT32, PLAIN, int, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, Value, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "one_hot",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[
                Parameter::new("indices", Domain::Of(INT32)),
                Parameter::new("one_hot_vector_size", Domain::Of(INT32)),
                int("axis").default(defaults::last),
                var("on_value", 'T').constant().default(|call| number(call, "off_value", 1)),
                var("off_value", 'T').constant().default(|call| number(call, "on_value", 0)),
            ],
        }],
        infer,
    },
    kernel,
};

/// A number in the type of the other value; int32 where neither is given.
fn number(call: &Call<'_>, other: &str, value: i32) -> Option<Value> {
    Some(match call.tensor(other).map(|ty| ty.dtype) {
        Ok(dtype @ (DataType::Float16 | DataType::Float32)) => Value::float(dtype, value as f32),
        Ok(DataType::Bool) => Value::bool(value != 0),
        _ => Value::int(value),
    })
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let indices = call.tensor("indices")?;
    let axis = call.axis("axis", indices.rank() + 1)?;
    let length = match call.known("one_hot_vector_size") {
        None => UNKNOWN,
        Some(_) => {
            let size = call.int("one_hot_vector_size")?;
            let wrong = |_| InferError::rule("one_hot_vector_size", format!("expected no negative length, found {size}"));
            Dimension::Known(u64::try_from(size).map_err(wrong)?)
        }
    };
    let mut shape = indices.shape.clone();
    shape.insert(axis, length);
    let dtype = call.tensor("on_value").or_else(|_| call.tensor("off_value")).map_or(DataType::Int32, |ty| ty.dtype);
    single(dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (indices, shape) = (arguments.tensor("indices")?, arguments.shape(0)?);
    let axis = arguments.call.axis("axis", shape.len())?;
    let length = shape[axis] as i64;
    let hot: Vec<u8> = view(indices, |indices: &[i64]| {
        indices.iter().flat_map(|&index| (0..length).map(move |place| u8::from(place == index))).collect()
    })?;
    let mut last = indices.dims().to_vec();
    last.push(shape[axis]);
    let mut order: Vec<usize> = (0..indices.rank()).collect();
    order.insert(axis, indices.rank());
    let hot = Tensor::from_vec(hot, last, &Device::Cpu)?.permute(order)?.contiguous()?;
    let value = |name: &str, otherwise: i64| match arguments.given(name) {
        Some(value) => value.broadcast_as(shape.as_slice()),
        None => Tensor::full(otherwise, shape.as_slice(), &Device::Cpu),
    };
    Ok(vec![hot.where_cond(&value("on_value", 1)?, &value("off_value", 0)?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("one_hot");
    }

    #[test]
    fn lengths_cannot_be_negative() {
        let arguments = [("indices", testing::int32(&[2])), ("one_hot_vector_size", (-1).into())];
        let why = "parameter `one_hot_vector_size`: expected no negative length, found -1";
        testing::refuses("one_hot", Target::Ios15, &arguments, why);
    }
}
