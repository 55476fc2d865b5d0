//! `mul`: `x * y`.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy. The same at every target.

use super::{
    Op,
    support::binary::{arithmetic, combine},
};
use crate::mil::{Argument, BuildError, Builder, Var};

pub(super) static OP: Op = arithmetic("mul", |arguments| combine(arguments, |x, y| x * y, i64::wrapping_mul));

impl Builder {
    /// `x * y`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn mul(&mut self, name: &str, x: impl Into<Argument>, y: impl Into<Argument>) -> Result<Var, BuildError> {
        self.op1("mul", name, &[("x", x.into()), ("y", y.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("mul");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("mul", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("mul", Target::Ios18, &arguments, why);
    }
}
