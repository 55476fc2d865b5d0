//! `flatten2d`: dimensions before `axis` joined to one, those from `axis` on to another.
//!
//! Any element type of iOS15; `axis` may be the rank itself. The same at every target.

use super::{
    Op,
    support::{
        defaults,
        shapes::{UNKNOWN, elements, reshaped, single},
        types::{PLAIN, X, int},
    },
};
use crate::{
    base::Target,
    mil::{Call, Dimension, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "flatten2d",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X, int("axis").default(defaults::one)] }],
        infer,
    },
    kernel: |arguments| reshaped(arguments.tensor("x")?, &arguments.shape(0)?),
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let axis = call.int("axis")?;
    let from_end = if axis < 0 { axis.saturating_add(x.rank() as i64) } else { axis };
    let axis = usize::try_from(from_end).ok().filter(|&axis| axis <= x.rank());
    let axis = axis.ok_or_else(|| InferError::rule("axis", format!("{from_end} is no place between the dimensions of \
         {x}")))?;
    let joined = |shape: &[Dimension]| elements(shape).map_or(UNKNOWN, Dimension::Known);
    single(x.dtype, vec![joined(&x.shape[..axis]), joined(&x.shape[axis..])])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("flatten2d");
    }

    #[test]
    fn the_axis_is_a_place_between_dimensions() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axis", 3.into())];
        let why = "parameter `axis`: 3 is no place between the dimensions of tensor<fp32, [2, 3]>";
        testing::refuses("flatten2d", Target::Ios15, &arguments, why);
    }
}
