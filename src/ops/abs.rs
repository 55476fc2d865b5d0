//! `abs`: the absolute value.
//!
//! `x`: float16, float32 or int32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{NUMBERS, map_number, operator},
};
use crate::mil::{BuildError, Builder, Var};

pub(super) static OP: Op = operator("abs", NUMBERS, |arguments| map_number(arguments, f32::abs, i64::wrapping_abs));

impl Builder {
    /// The absolute value.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn abs(&mut self, name: &str, x: Var) -> Result<Var, BuildError> {
        self.op1("abs", name, &[("x", x.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("abs");
    }

    #[test]
    fn booleans_are_refused() {
        testing::refuses(
            "abs",
            Target::Ios15,
            &[("x", testing::boolean(&[2]))],
            "parameter `x` is tensor<bool, [2]>, expected a tensor of fp16, fp32, int32",
        );
    }
}
