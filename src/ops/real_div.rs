//! `real_div`: `x / y`; between integers it is rounded towards zero, and 0 where `y` is 0.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy. The same at every target.

use super::{
    Op,
    support::binary::{arithmetic, combine},
};
use crate::mil::{Argument, BuildError, Builder, Var};

pub(super) static OP: Op = arithmetic("real_div", |arguments| combine(arguments, |x, y| x / y, |x, y| x.checked_div(y).unwrap_or(0)));

impl Builder {
    /// `x / y`; between integers it is rounded towards zero, and 0 where `y` is 0.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn real_div(&mut self, name: &str, x: impl Into<Argument>, y: impl Into<Argument>) -> Result<Var, BuildError> {
        self.op1("real_div", name, &[("x", x.into()), ("y", y.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("real_div");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("real_div", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("real_div", Target::Ios18, &arguments, why);
    }
}
