//! `erf`: the Gauss error function.
//!
//! `x`: float16 or float32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{FLOATS, map, operator},
};

pub(super) static OP: Op = operator("erf", FLOATS, |arguments| map(arguments, libm::erff));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("erf");
    }

    #[test]
    fn integers_are_refused() {
        testing::refuses(
            "erf",
            Target::Ios15,
            &[("x", testing::int32(&[2]))],
            "parameter `x` is tensor<int32, [2]>, expected a tensor of fp16, fp32",
        );
    }
}
