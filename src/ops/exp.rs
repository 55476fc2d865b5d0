//! `exp`: `e` to the power of `x`.
//!
//! `x`: float16 or float32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{FLOATS, map, operator},
};
use crate::mil::{BuildError, Builder, Var};

pub(super) static OP: Op = operator("exp", FLOATS, |arguments| map(arguments, f32::exp));

impl Builder {
    /// `e` to the power of `x`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn exp(&mut self, name: &str, x: Var) -> Result<Var, BuildError> {
        self.op1("exp", name, &[("x", x.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("exp");
    }

    #[test]
    fn integers_are_refused() {
        testing::refuses(
            "exp",
            Target::Ios15,
            &[("x", testing::int32(&[2]))],
            "parameter `x` is tensor<int32, [2]>, expected a tensor of fp16, fp32",
        );
    }
}
