//! `greater_equal`: whether `x >= y`.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy; the result is boolean. The same
//! at every target.

use super::{
    Op,
    support::binary::{compare, comparison},
};

pub(super) static OP: Op = comparison("greater_equal", |arguments| compare(arguments, |x, y| x >= y, |x, y| x >= y));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("greater_equal");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("greater_equal", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("greater_equal", Target::Ios18, &arguments, why);
    }
}
