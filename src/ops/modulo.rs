//! `mod`: `x - y * floor(x / y)`: the remainder has the sign of `y`; between integers 0 where `y` is 0.
//!
//! `x`, `y`: one element type of float16, float32, int32, shapes broadcast as in numpy. The same at every target.
//! The file has another name because `mod` is a word of Rust.

use super::{
    Op,
    support::binary::{arithmetic, combine},
};

pub(super) static OP: Op = arithmetic("mod", |arguments| combine(arguments, |x, y| x - y * (x / y).floor(), modulo));

fn modulo(x: i64, y: i64) -> i64 {
    let Some(remainder) = x.checked_rem(y) else { return 0 };
    if remainder != 0 && (remainder < 0) != (y < 0) { remainder + y } else { remainder }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("mod");
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("y", testing::float32(&[2]))];
        let why = "parameter `y`: tensor<fp32, [2]> does not broadcast with `x`, which is tensor<fp32, [2, 3]>";
        testing::refuses("mod", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2])), ("y", testing::float16(&[2]))];
        let why = "parameter `y` is tensor<fp16, [2]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("mod", Target::Ios18, &arguments, why);
    }
}
