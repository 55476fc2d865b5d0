//! `logical_and`: both `x` and `y`.
//!
//! `x`, `y`: booleans, shapes broadcast as in numpy; the result is boolean. The same at every target.

use super::{
    Op,
    support::binary::{connect, logical},
};

pub(super) static OP: Op = logical("logical_and", |arguments| connect(arguments, |x, y| x && y));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("logical_and");
    }

    #[test]
    fn numbers_are_refused() {
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float32(&[2]))];
        testing::refuses("logical_and", Target::Ios15, &arguments, "parameter `x` is tensor<fp32, [2]>, expected a \
             tensor of bool");
    }
}
