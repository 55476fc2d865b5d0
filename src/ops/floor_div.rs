//! `floor_div`: `floor(x / y)`; between integers 0 where `y` is 0.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy. The same at every target.

use super::{
    Op,
    support::binary::{arithmetic, combine},
};

pub(super) static OP: Op = arithmetic("floor_div", |arguments| combine(arguments, |x, y| (x / y).floor(), floor_div));

fn floor_div(x: i64, y: i64) -> i64 {
    let Some(quotient) = x.checked_div(y) else { return 0 };
    if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("floor_div");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("floor_div", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("floor_div", Target::Ios18, &arguments, why);
    }
}
