//! `softplus`: `log(1 + exp(x))`, without overflow.
//!
//! `x`: float16 or float32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{FLOATS, map, operator},
};

pub(super) static OP: Op = operator("softplus", FLOATS, |arguments| map(arguments, |x| (-x.abs()).exp().ln_1p() + x.max(0.0)));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("softplus");
    }

    #[test]
    fn integers_are_refused() {
        testing::refuses(
            "softplus",
            Target::Ios15,
            &[("x", testing::int32(&[2]))],
            "parameter `x` is tensor<int32, [2]>, expected a tensor of fp16, fp32",
        );
    }
}
