//! `silu`: `x * sigmoid(x)`.
//!
//! `x`: float16 or float32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{FLOATS, map, operator},
};
use crate::mil::{BuildError, Builder, Var};

pub(super) static OP: Op = operator("silu", FLOATS, |arguments| map(arguments, |x| x / (1.0 + (-x).exp())));

impl Builder {
    /// `x * sigmoid(x)`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn silu(&mut self, name: &str, x: Var) -> Result<Var, BuildError> {
        self.op1("silu", name, &[("x", x.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("silu");
    }

    #[test]
    fn integers_are_refused() {
        testing::refuses(
            "silu",
            Target::Ios15,
            &[("x", testing::int32(&[2]))],
            "parameter `x` is tensor<int32, [2]>, expected a tensor of fp16, fp32",
        );
    }
}
