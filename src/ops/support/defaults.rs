//! Defaults of parameters.

use crate::mil::{Call, DataType, Domain, Value};

/// A float in the width that `parameter` must have: that of the given arguments of its type variable, else float32.
pub(in crate::ops) fn float(call: &Call<'_>, parameter: &str, value: f32) -> Option<Value> {
    let version = call.version();
    let dtype = match version.parameter(parameter)?.domain {
        Domain::Var(letter) => {
            let same = version.parameters.iter().filter(|p| matches!(p.domain, Domain::Var(l) if l == letter));
            same.filter_map(|p| call.tensor(p.name).ok()).map(|ty| ty.dtype).next()
        }
        _ => None,
    };
    Some(Value::float(dtype.unwrap_or(DataType::Float32), value))
}

/// `count` times the same integer, for one value per spatial dimension of `x`.
pub(in crate::ops) fn per_spatial_dimension(call: &Call<'_>, count: usize, value: i32) -> Option<Value> {
    let rank = call.tensor("x").ok()?.rank();
    Some(Value::ints(&vec![value; rank.saturating_sub(2) * count]))
}

/// False.
pub(in crate::ops) fn off(_: &Call<'_>) -> Option<Value> {
    Some(Value::bool(false))
}

/// True.
pub(in crate::ops) fn on(_: &Call<'_>) -> Option<Value> {
    Some(Value::bool(true))
}

/// 0.
pub(in crate::ops) fn zero(_: &Call<'_>) -> Option<Value> {
    Some(Value::int(0))
}

/// 1.
pub(in crate::ops) fn one(_: &Call<'_>) -> Option<Value> {
    Some(Value::int(1))
}

/// -1: the last dimension.
pub(in crate::ops) fn last(_: &Call<'_>) -> Option<Value> {
    Some(Value::int(-1))
}
