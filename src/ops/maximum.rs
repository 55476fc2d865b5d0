//! `maximum`: the larger of `x` and `y`.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy. The same at every target.

use super::{
    Op,
    support::binary::{arithmetic, combine},
};
use crate::mil::{Argument, BuildError, Builder, Var};

pub(super) static OP: Op = arithmetic("maximum", |arguments| combine(arguments, |x, y| if x > y || x.is_nan() { x } else { y }, i64::max));

impl Builder {
    /// The larger of `x` and `y`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn maximum(&mut self, name: &str, x: impl Into<Argument>, y: impl Into<Argument>) -> Result<Var, BuildError> {
        self.op1("maximum", name, &[("x", x.into()), ("y", y.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("maximum");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("maximum", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("maximum", Target::Ios18, &arguments, why);
    }
}
