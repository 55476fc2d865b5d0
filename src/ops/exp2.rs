//! `exp2`: 2 to the power of `x`; of an integer below 0 it is 0.
//!
//! `x`: float16, float32 or int32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{NUMBERS, map_number, operator},
};

pub(super) static OP: Op =
    operator("exp2", NUMBERS, |arguments| map_number(arguments, f32::exp2, |x| if (0..63).contains(&x) { 1 << x } else { 0 }));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("exp2");
    }

    #[test]
    fn booleans_are_refused() {
        testing::refuses(
            "exp2",
            Target::Ios15,
            &[("x", testing::boolean(&[2]))],
            "parameter `x` is tensor<bool, [2]>, expected a tensor of fp16, fp32, int32",
        );
    }
}
