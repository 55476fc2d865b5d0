//! What is added to the scores of attention: 0 where a query sees a key, a large negative number where it does not.
//!
//! The number is far from float16's end, so that a score can be added to it, and far below any score. Integers are made
//! into it inside the program: tables that depend on a length would make weight files depend on it.

use super::Positions;
use crate::{
    arch::{ArchError, Form},
    contract::LinearForm,
    mil::{Argument, Builder, DataType, Value, Var},
};

/// Added to the score of a key that is not seen.
const UNSEEN: f32 = -32_768.0;

/// [1, keys] of int32, 1 = keep -> [1, 1, 1, keys].
///
/// # Errors
/// When `keep` is something else.
pub fn padding_bias(builder: &mut Builder, name: &str, keep: Var, compute: DataType) -> Result<Var, ArchError> {
    let dropped = builder.sub(&format!("{name}_dropped"), 1, keep)?;
    let dropped = builder.cast(&format!("{name}_dropped_float"), dropped, compute)?;
    let bias = builder.mul(&format!("{name}_flat"), dropped, UNSEEN)?;
    Ok(builder.expand_dims(name, bias, &[1, 2])?)
}

/// [1, 1, queries, keys]: each query sees the keys up to its own position; `keys` are their positions, int32.
///
/// # Errors
/// When the positions are no integers.
pub fn causal_bias(
    builder: &mut Builder,
    name: &str,
    positions: Positions,
    keys: Argument,
    compute: DataType,
) -> Result<Var, ArchError> {
    let queries = positions.indices(builder)?;
    let queries = builder.expand_dims(&format!("{name}_queries"), queries, &[1])?;
    let later = builder.op1("greater", &format!("{name}_later"), &[("x", keys), ("y", queries.into())])?;
    let later = builder.cast(&format!("{name}_later_float"), later, compute)?;
    let bias = builder.mul(&format!("{name}_flat"), later, UNSEEN)?;
    Ok(builder.expand_dims(name, bias, &[0, 1])?)
}

/// Positions of keys that stand at 0, 1, ...
pub fn key_positions(count: u64) -> Argument {
    let positions: Vec<i32> = (0..i32::try_from(count).unwrap_or(i32::MAX)).collect();
    Value::ints(&positions).into()
}

/// [1, 1, queries, keys]: no query sees a key that is `window` positions or more before its own.
///
/// # Errors
/// When the positions are no integers.
pub fn window_bias(
    builder: &mut Builder,
    name: &str,
    positions: Positions,
    keys: Argument,
    window: u64,
    compute: DataType,
) -> Result<Var, ArchError> {
    let queries = positions.indices(builder)?;
    let oldest = builder.sub(&format!("{name}_oldest"), queries, i32::try_from(window).unwrap_or(i32::MAX))?;
    let oldest = builder.expand_dims(&format!("{name}_queries"), oldest, &[1])?;
    let earlier = builder.op1("less_equal", &format!("{name}_earlier"), &[("x", keys), ("y", oldest.into())])?;
    let earlier = builder.cast(&format!("{name}_earlier_float"), earlier, compute)?;
    let bias = builder.mul(&format!("{name}_flat"), earlier, UNSEEN)?;
    Ok(builder.expand_dims(name, bias, &[0, 1])?)
}

/// What both masks let through. Their sum would leave float16.
///
/// # Errors
/// When their shapes do not broadcast.
pub fn stricter(builder: &mut Builder, name: &str, one: Var, other: Var) -> Result<Var, ArchError> {
    Ok(builder.minimum(name, one, other)?)
}

/// 0 for queries that a mask lets see no key, 1 for the others; shaped so that heads in the form's layout can be
/// multiplied with it.
///
/// # Errors
/// When the mask is not [1, 1, queries, keys].
pub fn seeing(builder: &mut Builder, name: &str, mask: Var, form: &Form) -> Result<Var, ArchError> {
    let dtype = builder.ty(mask).dtype;
    let nearest = builder.reduce_max(&format!("{name}_most"), mask, &[3], true)?;
    let sees =
        builder.op1("greater", &format!("{name}_any"), &[("x", nearest.into()), ("y", (UNSEEN / 2.0).into())])?;
    let sees = builder.cast(&format!("{name}_rows"), sees, dtype)?;
    match form.linear {
        LinearForm::Linear => Ok(sees),
        LinearForm::Conv => Ok(builder.transpose(name, sees, &[0, 1, 3, 2])?),
    }
}
