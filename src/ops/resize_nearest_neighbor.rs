//! `resize_nearest_neighbor`: pictures of another size; place i of the result takes pixel `floor(i * length / result
//! length)`.
//!
//! `x` [.., height, width] of rank 3 to 5, float16 or float32. The same at every target.

use super::{
    Op,
    support::{
        sampling::{Grid, selected},
        shapes::{integers, rank_between, single},
        types::{FLOAT, X, int},
    },
};
use crate::{
    base::Target,
    mil::{Call, Dimension, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "resize_nearest_neighbor",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[X, int("target_size_height"), int("target_size_width")],
        }],
        infer,
    },
    kernel: |arguments| {
        let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
        let (row, column) = (x.rank() - 2, x.rank() - 1);
        let rows = selected(x, row, &Grid::Default.nearest(x.dims()[row], shape[row]))?;
        Ok(vec![selected(&rows, column, &Grid::Default.nearest(x.dims()[column], shape[column]))?])
    },
};

/// The shape of `x` with the target sizes as the last two lengths.
pub(super) fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let x = call.tensor("x")?;
    let mut shape = x.shape.clone();
    for (axis, name) in [(x.rank() - 2, "target_size_height"), (x.rank() - 1, "target_size_width")] {
        if shape[axis].known() == Some(0) {
            return Err(InferError::rule("x", format!("{x} has no pixels")));
        }
        shape[axis] = Dimension::Known(integers(call, name, 1, 1)?[0]);
    }
    single(x.dtype, shape)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("resize_nearest_neighbor");
    }

    #[test]
    fn sizes_are_positive() {
        let arguments = [("x", testing::float32(&[1, 4, 4])), ("target_size_height", 0.into()), ("target_size_width", 2.into())];
        let why = "parameter `target_size_height`: expected values of at least 1, found 0";
        testing::refuses("resize_nearest_neighbor", Target::Ios15, &arguments, why);
    }
}
