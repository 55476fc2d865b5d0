//! Operators that exchange channels and pixels: split dimensions, reorder, join again.

use candle_core::Tensor;

use super::shapes::{UNKNOWN, rank_between, single};
use crate::{
    eval::KernelError,
    mil::{Call, Dimension, InferError, ValueType},
};

/// `x` seen as `split`, its dimensions in the order `perm`, then seen as `joined`.
pub(in crate::ops) fn regroup(
    x: &Tensor,
    split: &[usize],
    perm: [usize; 6],
    joined: &[usize],
) -> Result<Vec<Tensor>, KernelError> {
    Ok(vec![x.reshape(split)?.permute(perm)?.contiguous()?.reshape(joined)?])
}

fn factor(call: &Call<'_>, name: &'static str) -> Result<u64, InferError> {
    rank_between(call, "x", 4, 4)?;
    let factor = call.int(name)?;
    let wrong = || InferError::rule(name, format!("expected a factor above 0, found {factor}"));
    u64::try_from(factor).ok().filter(|&f| (1..=1 << 16).contains(&f)).ok_or_else(wrong)
}

/// Pictures that grow by a factor at the cost of channels.
pub(in crate::ops) fn grown(call: &Call<'_>, name: &'static str) -> Result<Vec<ValueType>, InferError> {
    let (x, f) = (call.tensor("x")?, factor(call, name)?);
    let fewer = match x.shape[1].known() {
        None => UNKNOWN,
        Some(c) if c.is_multiple_of(f * f) => Dimension::Known(c / (f * f)),
        Some(c) => return Err(InferError::rule(name, format!("its {c} channels are no multiple of {}", f * f))),
    };
    let more = |d: Dimension| d.known().map_or(UNKNOWN, |n| Dimension::Known(n.saturating_mul(f)));
    single(x.dtype, vec![x.shape[0], fewer, more(x.shape[2]), more(x.shape[3])])
}

/// Pictures that shrink by a factor and gain channels.
pub(in crate::ops) fn shrunk(call: &Call<'_>, name: &'static str) -> Result<Vec<ValueType>, InferError> {
    let (x, f) = (call.tensor("x")?, factor(call, name)?);
    let (h, w) = (x.shape[2], x.shape[3]);
    if [h, w].iter().any(|d| d.known().is_some_and(|n| !n.is_multiple_of(f))) {
        return Err(InferError::rule(name, format!("its pictures of {h} x {w} are no multiple of {f}")));
    }
    let less = |d: Dimension| d.known().map_or(UNKNOWN, |n| Dimension::Known(n / f));
    let more = x.shape[1].known().map_or(UNKNOWN, |c| Dimension::Known(c.saturating_mul(f * f)));
    single(x.dtype, vec![x.shape[0], more, less(h), less(w)])
}
