//! `crop`: rows and columns taken off the borders of pictures.
//!
//! `x` [.., height, width] of rank 3 to 5, float16 or float32; `crop_height` and `crop_width` say how many (before,
//! after). The same at every target.

use super::{
    Op,
    support::{
        shapes::{integers, rank_between, single},
        tiles::mapped,
        types::{FLOAT, X, int},
    },
};
use crate::{
    base::Target,
    mil::{Call, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "crop",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("crop_height"), int("crop_width")] }],
        infer,
    },
    kernel: |arguments| {
        let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
        let (row, column) = (x.rank() - 2, x.rank() - 1);
        let before = |name| Ok::<_, InferError>(integers(arguments.call, name, 2, 0)?[0] as usize);
        let rows = x.narrow(row, before("crop_height")?, shape[row])?;
        Ok(vec![rows.narrow(column, before("crop_width")?, shape[column])?.contiguous()?])
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "x", 3, 5)?;
    let x = call.tensor("x")?;
    let mut shape = x.shape.clone();
    for (axis, name) in [(x.rank() - 2, "crop_height"), (x.rank() - 1, "crop_width")] {
        let amounts = integers(call, name, 2, 0)?;
        shape[axis] = mapped(shape[axis], |length| {
            let rest = length.checked_sub(amounts[0].saturating_add(amounts[1]));
            rest.ok_or_else(|| InferError::rule(name, format!("{} and {} are more than {length} pixels", amounts[0], amounts[1])))
        })?;
    }
    single(x.dtype, shape)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("crop");
    }

    #[test]
    fn no_more_than_there_is_can_go() {
        let arguments =
            [("x", testing::float32(&[1, 4, 4])), ("crop_height", testing::ints(&[2, 3])), ("crop_width", testing::ints(&[0, 0]))];
        testing::refuses("crop", Target::Ios15, &arguments, "parameter `crop_height`: 2 and 3 are more than 4 pixels");
    }
}
