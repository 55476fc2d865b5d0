//! `clip`: `x` brought into `alpha..=beta`.
//!
//! `x`: float16 or float32 of any shape; `alpha` and `beta` are scalars of the same element type at every target.

use super::{
    Op,
    support::{
        types::{FLOAT, X, var},
        unary::{map, operator},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, OpVersion, Var},
};

const VERSIONS: &[OpVersion] = &[OpVersion {
    since: Target::Ios15,
    domains: &[('T', FLOAT)],
    parameters: &[X, var("alpha", 'T').constant(), var("beta", 'T').constant()],
}];

pub(super) static OP: Op = operator("clip", VERSIONS, |arguments| {
    let (low, high) = (arguments.call.number("alpha")? as f32, arguments.call.number("beta")? as f32);
    map(arguments, |x| {
        if x < low {
            low
        } else if x > high {
            high
        } else {
            x
        }
    })
});

impl Builder {
    /// `x` brought into `low..=high`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn clip(&mut self, name: &str, x: Var, low: f32, high: f32) -> Result<Var, BuildError> {
        self.op1("clip", name, &[("x", x.into()), ("alpha", low.into()), ("beta", high.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("clip");
    }

    #[test]
    fn bounds_of_another_width_are_refused() {
        let arguments = [("x", testing::float16(&[2])), ("alpha", 0.0.into()), ("beta", testing::float32(&[]))];
        let why = "parameter `beta` must be a constant";
        testing::refuses("clip", Target::Ios18, &arguments, why);
        testing::refuses("clip", Target::Ios18, &arguments[..2], "required parameter `beta` is missing");
    }
}
