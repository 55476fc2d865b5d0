//! `expand_dims`: dimensions of length 1 added; `axes` are their places in the result.
//!
//! Any element type; iOS17: 8 and 16 bit integers too.

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
        name: "expand_dims",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X, int("axes")] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: &[X, int("axes")] },
        ],
        infer,
    },
    kernel: |arguments| reshaped(arguments.tensor("x")?, &arguments.shape(0)?),
};

impl Builder {
    /// Dimensions of length 1 added at `axes`.
    ///
    /// # Errors
    /// When an axis is outside of the result or repeats.
    pub fn expand_dims(&mut self, name: &str, x: Var, axes: &[i32]) -> Result<Var, BuildError> {
        self.op1("expand_dims", name, &[("x", x.into()), ("axes", axes.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let rank = x.rank() + call.ints("axes")?.len();
    let axes = call.axes("axes", rank)?;
    let mut old = x.shape.iter().copied();
    let shape = (0..rank).filter_map(|i| if axes.contains(&i) { Some(Dimension::Known(1)) } else { old.next() });
    single(x.dtype, shape.collect())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("expand_dims");
    }

    #[test]
    fn axes_must_be_in_the_result() {
        let arguments = [("x", testing::float32(&[2])), ("axes", testing::ints(&[2]))];
        testing::refuses("expand_dims", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of \
             rank 2");
    }
}
