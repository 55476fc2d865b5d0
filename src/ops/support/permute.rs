//! Operators that regroup dimensions: split some, reorder, join again.

use candle_core::Tensor;

use crate::eval::KernelError;

/// `x` seen as `split`, its dimensions in the order `perm`, then seen as `joined`.
pub(in crate::ops) fn regroup(x: &Tensor, split: &[usize], perm: &[usize], joined: &[usize]) -> Result<Vec<Tensor>, KernelError> {
    Ok(vec![x.reshape(split)?.permute(perm)?.contiguous()?.reshape(joined)?])
}
