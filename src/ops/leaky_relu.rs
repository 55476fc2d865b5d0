//! `leaky_relu`: `x`, or `alpha * x` where `x` is below 0.
//!
//! `x`: float16 or float32 of any shape. `alpha` has the element type of `x`; iOS17: either float type.

use super::{
    Op,
    support::unary::{WITH_ALPHA, map, operator},
};

pub(super) static OP: Op = operator("leaky_relu", WITH_ALPHA, |arguments| {
    let alpha = arguments.call.number("alpha")? as f32;
    map(arguments, |x| if x < 0.0 { alpha * x } else { x })
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("leaky_relu");
    }

    #[test]
    fn the_width_of_alpha_is_free_from_ios17() {
        let arguments = [("x", testing::float16(&[2])), ("alpha", testing::constant_float32(0.1))];
        let why = "parameter `alpha` is fp32, expected a tensor of fp16, as the other arguments";
        testing::refuses("leaky_relu", Target::Ios16, &arguments, why);
        testing::accepts("leaky_relu", Target::Ios17, &arguments, "tensor<fp16, [2]>");
    }
}
