//! Operators that exchange pictures of a batch and pixels: parameters of `space_to_batch` and `batch_to_space`.

use super::shapes::{UNKNOWN, integers, rank_between};
use crate::mil::{Call, Dimension, InferError};

/// Block height and width, and the two amounts (before, after) for each of the dimensions.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Tiles {
    pub(in crate::ops) block: [u64; 2],
    pub(in crate::ops) border: [(u64, u64); 2],
}

impl Tiles {
    /// The parameters `block_shape` [2] and `border` [2, 2] of an operator on pictures [n, c, height, width].
    pub(in crate::ops) fn of(call: &Call<'_>, border: &'static str) -> Result<Self, InferError> {
        rank_between(call, "x", 4, 4)?;
        let block = integers(call, "block_shape", 2, 1)?;
        let ty = call.tensor(border)?;
        if ty.fixed_shape().as_deref() != Some(&[2, 2]) {
            return Err(InferError::rule(border, format!("expected tensor<int32, [2, 2]>, found {ty}")));
        }
        let amounts = integers(call, border, 4, 0)?;
        Ok(Self { block: [block[0], block[1]], border: [(amounts[0], amounts[1]), (amounts[2], amounts[3])] })
    }

    /// Number of pictures that one becomes. Saturates.
    pub(in crate::ops) fn pieces(&self) -> u64 {
        self.block[0].saturating_mul(self.block[1])
    }
}

/// `f` of a length where it is known; it may refuse it.
pub(in crate::ops) fn mapped(
    length: Dimension,
    f: impl FnOnce(u64) -> Result<u64, InferError>,
) -> Result<Dimension, InferError> {
    length.known().map_or(Ok(UNKNOWN), |length| f(length).map(Dimension::Known))
}
