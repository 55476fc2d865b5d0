//! `gelu`: the Gaussian error linear unit, exactly (`x * (1 + erf(x / sqrt(2))) / 2`) or approximated by tanh or
//! sigmoid.
//!
//! `x`: float16 or float32 of any shape; `mode`: `EXACT`, `TANH_APPROXIMATION` (`gelu_new`, `gelu_pytorch_tanh` of
//! Hugging Face) or `SIGMOID_APPROXIMATION`. The same at every target.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use super::{
    Op,
    support::{
        shapes::choice,
        types::{FLOAT, X, text},
        unary::{map, same_as_x},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, OpDef, OpVersion, Value, Var},
};

const MODES: &[&str] = &["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "gelu",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[X, text("mode").default(|_| Some(Value::string("EXACT")))],
        }],
        infer: |call| {
            choice(call, "mode", MODES)?;
            same_as_x(call)
        },
    },
    kernel: |arguments| match arguments.call.text("mode")?.as_str() {
        "TANH_APPROXIMATION" => map(arguments, |x| 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())),
        "SIGMOID_APPROXIMATION" => map(arguments, |x| x / (1.0 + (-1.702 * x).exp())),
        _ => map(arguments, |x| 0.5 * x * (1.0 + libm::erff(x * FRAC_1_SQRT_2))),
    },
};

impl Builder {
    /// The Gaussian error linear unit in one of its three modes.
    ///
    /// # Errors
    /// When there is no such mode.
    pub fn gelu(&mut self, name: &str, x: Var, mode: &str) -> Result<Var, BuildError> {
        self.op1("gelu", name, &[("x", x.into()), ("mode", mode.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("gelu");
    }

    #[test]
    fn unknown_modes_are_refused() {
        let arguments = [("x", testing::float32(&[2])), ("mode", "tanh".into())];
        let why = "parameter `mode`: expected one of `EXACT`, `TANH_APPROXIMATION`, `SIGMOID_APPROXIMATION`, found \
             `tanh`";
        testing::refuses("gelu", Target::Ios15, &arguments, why);
    }
}
