//! `pow`: `x` to the power of `y`; between integers rounded towards zero.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy. The same at every target.

use super::{
    Op,
    support::binary::{arithmetic, combine},
};
use crate::mil::{Argument, BuildError, Builder, Var};

pub(super) static OP: Op = arithmetic("pow", |arguments| combine(arguments, f32::powf, power));

fn power(x: i64, y: i64) -> i64 {
    match u32::try_from(y) {
        Ok(exponent) => x.wrapping_pow(exponent),
        Err(_) => (x as f64).powf(y as f64) as i64,
    }
}

impl Builder {
    /// `x` to the power of `y`; between integers rounded towards zero.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn pow(&mut self, name: &str, x: impl Into<Argument>, y: impl Into<Argument>) -> Result<Var, BuildError> {
        self.op1("pow", name, &[("x", x.into()), ("y", y.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("pow");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("pow", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("pow", Target::Ios18, &arguments, why);
    }
}
