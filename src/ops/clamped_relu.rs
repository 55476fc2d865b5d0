//! `clamped_relu`: `min(x, beta)`, or `min(alpha * x, beta)` where `x` is below 0.
//!
//! `x`: float16 or float32 of any shape. `alpha` and `beta` have the element type of `x`; iOS17: either float type.

use super::{
    Op,
    support::unary::{WITH_ALPHA_BETA, map, operator},
};

pub(super) static OP: Op = operator("clamped_relu", WITH_ALPHA_BETA, |arguments| {
    let (alpha, beta) = (arguments.call.number("alpha")? as f32, arguments.call.number("beta")? as f32);
    map(arguments, |x| (if x < 0.0 { alpha * x } else { x }).min(beta))
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("clamped_relu");
    }

    #[test]
    fn both_parameters_are_needed() {
        let arguments = [("x", testing::float32(&[2])), ("alpha", 1.0.into())];
        testing::refuses("clamped_relu", Target::Ios15, &arguments, "required parameter `beta` is missing");
    }
}
