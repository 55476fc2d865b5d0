//! `sigmoid_hard`: `alpha * x + beta`, brought into `0..=1`.
//!
//! `x`: float16 or float32 of any shape. `alpha` and `beta` have the element type of `x`; iOS17: either float type.

use super::{
    Op,
    support::unary::{WITH_ALPHA_BETA, map, operator},
};

pub(super) static OP: Op = operator("sigmoid_hard", WITH_ALPHA_BETA, |arguments| {
    let (alpha, beta) = (arguments.call.number("alpha")? as f32, arguments.call.number("beta")? as f32);
    map(arguments, |x| (alpha * x + beta).clamp(0.0, 1.0))
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("sigmoid_hard");
    }

    #[test]
    fn both_parameters_are_needed() {
        let arguments = [("x", testing::float32(&[2])), ("alpha", 1.0.into())];
        testing::refuses("sigmoid_hard", Target::Ios15, &arguments, "required parameter `beta` is missing");
    }
}
