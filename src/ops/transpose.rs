//! `transpose`: dimensions in another order; dimension `i` of the result is dimension `perm[i]` of `x`.
//!
//! Any element type; iOS17: 8 and 16 bit integers too.

use super::{
    Op,
    support::{
        shapes::single,
        types::{PLAIN, WIDE, X, int},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "transpose",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X, int("perm")] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: &[X, int("perm")] },
        ],
        infer,
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        Ok(vec![x.permute(arguments.call.axes("perm", x.rank())?)?.contiguous()?])
    },
};

impl Builder {
    /// Dimensions reordered.
    ///
    /// # Errors
    /// When `perm` is no permutation of the dimensions of `x`.
    pub fn transpose(&mut self, name: &str, x: Var, perm: &[i32]) -> Result<Var, BuildError> {
        self.op1("transpose", name, &[("x", x.into()), ("perm", perm.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let perm = call.axes("perm", x.rank())?;
    if perm.len() != x.rank() {
        return Err(InferError::rule("perm", format!("expected {} dimensions, found {}", x.rank(), perm.len())));
    }
    single(x.dtype, perm.into_iter().map(|i| x.shape[i]).collect())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("transpose");
    }

    #[test]
    fn an_order_that_is_no_permutation_is_refused() {
        let arguments = |perm: &[i32]| [("x", testing::float32(&[2, 3])), ("perm", testing::ints(perm))];
        testing::refuses("transpose", Target::Ios15, &arguments(&[0, 0]), "parameter `perm`: axes repeat: [0, 0]");
        testing::refuses("transpose", Target::Ios15, &arguments(&[0]), "parameter `perm`: expected 2 dimensions, found \
             1");
    }
}
