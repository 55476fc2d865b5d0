//! Scattering: elements of `updates` put into `data`, or combined with what is there.

use candle_core::{DType, Device, Tensor, WithDType};

use super::{
    defaults,
    shapes::choice,
    types::{boolean, int, text},
};
use crate::{
    eval::{Arguments, KernelError, view},
    mil::{Call, InferError, Parameter, Value},
};

/// The dimension.
pub(in crate::ops) const AXIS: Parameter = int("axis").default(defaults::zero);
/// How elements are combined.
pub(in crate::ops) const MODE: Parameter = text("mode").default(|_| Some(Value::string("add")));
/// Whether indices are checked (iOS17).
pub(in crate::ops) const VALIDATE: Parameter = boolean("validate_indices").default(defaults::off);

const MODES: &[&str] = &["add", "div", "max", "min", "mul", "sub", "update"];

/// Refuses unknown modes.
pub(in crate::ops) fn check_mode(call: &Call<'_>) -> Result<(), InferError> {
    choice(call, "mode", MODES).map(drop)
}

/// `data` with update `i` combined into element `places[i]`, one after the other.
pub(in crate::ops) fn scattered(
    arguments: &Arguments<'_>,
    places: impl Fn(usize) -> usize,
) -> Result<Vec<Tensor>, KernelError> {
    let mode = arguments.call.text("mode")?;
    let (data, updates) = (arguments.tensor("data")?, arguments.tensor("updates")?);
    let result = if data.dtype() == DType::F32 {
        let combine: fn(f32, f32) -> f32 = match mode.as_str() {
            "add" => |a, b| a + b,
            "div" => |a, b| a / b,
            "max" => f32::max,
            "min" => f32::min,
            "mul" => |a, b| a * b,
            "sub" => |a, b| a - b,
            _ => |_, b| b,
        };
        combined(data, updates, places, combine)
    } else {
        let combine: fn(i64, i64) -> i64 = match mode.as_str() {
            "add" => i64::wrapping_add,
            "div" => |a, b| a.checked_div(b).unwrap_or(0),
            "max" => i64::max,
            "min" => i64::min,
            "mul" => i64::wrapping_mul,
            "sub" => i64::wrapping_sub,
            _ => |_, b| b,
        };
        combined(data, updates, places, combine)
    };
    Ok(vec![result?])
}

fn combined<T: WithDType>(
    data: &Tensor,
    updates: &Tensor,
    places: impl Fn(usize) -> usize,
    combine: fn(T, T) -> T,
) -> Result<Tensor, KernelError> {
    let mut values = view(data, <[T]>::to_vec)?;
    view(updates, |updates: &[T]| {
        for (i, &update) in updates.iter().enumerate() {
            let value = &mut values[places(i)];
            *value = combine(*value, update);
        }
    })?;
    Ok(Tensor::from_vec(values, data.shape(), &Device::Cpu)?)
}
