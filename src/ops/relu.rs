//! `relu`: `max(x, 0)`; NaN stays NaN.
//!
//! `x`: float16 or float32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{FLOATS, map, operator},
};
use crate::mil::{BuildError, Builder, Var};

pub(super) static OP: Op = operator("relu", FLOATS, |arguments| map(arguments, |x| if x < 0.0 { 0.0 } else { x }));

impl Builder {
    /// `max(x, 0)`; NaN stays NaN.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn relu(&mut self, name: &str, x: Var) -> Result<Var, BuildError> {
        self.op1("relu", name, &[("x", x.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("relu");
    }

    #[test]
    fn integers_are_refused() {
        testing::refuses(
            "relu",
            Target::Ios15,
            &[("x", testing::int32(&[2]))],
            "parameter `x` is tensor<int32, [2]>, expected a tensor of fp16, fp32",
        );
    }
}
