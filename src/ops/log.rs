//! `log`: the natural logarithm of `x + epsilon`.
//!
//! `x`: float16 or float32 of any shape. `epsilon` has the element type of `x`; iOS17: either float type.

use super::{
    Op,
    support::{
        defaults,
        types::{FLOAT, X, var},
        unary::{map, operator},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, OpVersion, Parameter, Var},
};

const fn epsilon(letter: char) -> Parameter {
    var("epsilon", letter).constant().default(|call| defaults::float(call, "epsilon", 1e-45))
}

const VERSIONS: &[OpVersion] = &[
    OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, epsilon('T')] },
    OpVersion { since: Target::Ios17, domains: &[('T', FLOAT), ('U', FLOAT)], parameters: &[X, epsilon('U')] },
];

pub(super) static OP: Op = operator("log", VERSIONS, |arguments| {
    let epsilon = arguments.call.number("epsilon")? as f32;
    map(arguments, |x| (x + epsilon).ln())
});

impl Builder {
    /// The natural logarithm of `x + epsilon`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn log(&mut self, name: &str, x: Var, epsilon: f32) -> Result<Var, BuildError> {
        self.op1("log", name, &[("x", x.into()), ("epsilon", epsilon.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("log");
    }

    #[test]
    fn the_width_of_epsilon_is_free_from_ios17() {
        let epsilon = testing::constant_float32(1e-5);
        let arguments = [("x", testing::float16(&[2])), ("epsilon", epsilon)];
        let why = "parameter `epsilon` is fp32, expected a tensor of fp16, as the other arguments";
        testing::refuses("log", Target::Ios16, &arguments, why);
        testing::accepts("log", Target::Ios17, &arguments, "tensor<fp16, [2]>");
    }
}
