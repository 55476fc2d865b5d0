//! `sign`: -1, 0 or 1: the sign.
//!
//! `x`: float16, float32 or int32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{NUMBERS, map_number, operator},
};

pub(super) static OP: Op =
    operator("sign", NUMBERS, |arguments| map_number(arguments, |x| if x == 0.0 { 0.0 } else { x.signum() }, i64::signum));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("sign");
    }

    #[test]
    fn booleans_are_refused() {
        testing::refuses(
            "sign",
            Target::Ios15,
            &[("x", testing::boolean(&[2]))],
            "parameter `x` is tensor<bool, [2]>, expected a tensor of fp16, fp32, int32",
        );
    }
}
