//! `logical_not`: not `x`.
//!
//! `x`: booleans of any shape. The same at every target.

use super::{
    Op,
    support::{
        types::BOOL,
        unary::{map_elements, operator},
    },
};
use crate::{
    base::Target,
    mil::{Domain, OpVersion, Parameter},
};

const VERSIONS: &[OpVersion] = &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[Parameter::new("x", Domain::Of(BOOL))] }];

pub(super) static OP: Op =
    operator("logical_not", VERSIONS, |arguments| Ok(vec![map_elements(arguments.tensor("x")?, |x: u8| u8::from(x == 0))?]));

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("logical_not");
    }

    #[test]
    fn numbers_are_refused() {
        let why = "parameter `x` is tensor<fp32, [2]>, expected a tensor of bool";
        testing::refuses("logical_not", Target::Ios15, &[("x", testing::float32(&[2]))], why);
    }
}
