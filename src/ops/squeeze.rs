//! `squeeze`: dimensions of length 1 removed: those of `axes`, or all.
//!
//! An axis whose length is not 1 stays, as in coremltools. Any element type; iOS17: 8 and 16 bit integers too.

use super::{
    Op,
    support::{
        shapes::{reshaped, single},
        types::{PLAIN, WIDE, X, int},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "squeeze",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X, int("axes").optional()] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: &[X, int("axes").optional()] },
        ],
        infer,
    },
    kernel: |arguments| reshaped(arguments.tensor("x")?, &arguments.shape(0)?),
};

impl Builder {
    /// Dimensions of length 1 removed.
    ///
    /// # Errors
    /// When an axis is outside of `x`.
    pub fn squeeze(&mut self, name: &str, x: Var, axes: &[i32]) -> Result<Var, BuildError> {
        self.op1("squeeze", name, &[("x", x.into()), ("axes", axes.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let axes = if call.has("axes") { call.axes("axes", x.rank())? } else { (0..x.rank()).collect() };
    let kept = x.shape.iter().enumerate().filter(|(i, d)| !axes.contains(i) || **d != Dimension::Known(1));
    single(x.dtype, kept.map(|(_, &d)| d).collect())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("squeeze");
    }

    #[test]
    fn axes_must_be_there() {
        let arguments = [("x", testing::float32(&[2, 1])), ("axes", testing::ints(&[-3]))];
        testing::refuses("squeeze", Target::Ios15, &arguments, "parameter `axes`: axis -3 is outside a tensor of rank \
             2");
    }
}
