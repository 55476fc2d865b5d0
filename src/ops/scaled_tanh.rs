//! `scaled_tanh`: `alpha * tanh(beta * x)`.
//!
//! `x`: float16 or float32 of any shape. `alpha` and `beta` have the element type of `x`; iOS17: either float type.

use super::{
    Op,
    support::unary::{WITH_ALPHA_BETA, map, operator},
};

pub(super) static OP: Op = operator("scaled_tanh", WITH_ALPHA_BETA, |arguments| {
    let (alpha, beta) = (arguments.call.number("alpha")? as f32, arguments.call.number("beta")? as f32);
    map(arguments, |x| alpha * (beta * x).tanh())
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("scaled_tanh");
    }

    #[test]
    fn both_parameters_are_needed() {
        let arguments = [("x", testing::float32(&[2])), ("alpha", 1.0.into())];
        testing::refuses("scaled_tanh", Target::Ios15, &arguments, "required parameter `beta` is missing");
    }
}
