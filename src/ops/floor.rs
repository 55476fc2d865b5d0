//! `floor`: the largest whole number that is not above `x`.
//!
//! `x`: float16 or float32 of any shape; the result has its type. The same at every target.

use super::{
    Op,
    support::unary::{FLOATS, map, operator},
};

pub(super) static OP: Op = operator("floor", FLOATS, |arguments| map(arguments, f32::floor));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("floor");
    }

    #[test]
    fn integers_are_refused() {
        testing::refuses(
            "floor",
            Target::Ios15,
            &[("x", testing::int32(&[2]))],
            "parameter `x` is tensor<int32, [2]>, expected a tensor of fp16, fp32",
        );
    }
}
