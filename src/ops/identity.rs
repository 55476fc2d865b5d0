//! `identity`: `x` under another name.
//!
//! `x`: any value; only tensors can be run. The same at every target.

use super::Op;
use crate::{
    base::Target,
    mil::{BuildError, Builder, Domain, OpDef, OpVersion, Parameter, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "identity",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[Parameter::new("x", Domain::Any)] }],
        infer: |call| Ok(vec![call.value_type("x")?.clone()]),
    },
    kernel: |arguments| Ok(vec![arguments.tensor("x")?.clone()]),
};

impl Builder {
    /// `x` under another name.
    ///
    /// # Errors
    /// Never for a value of this function.
    pub fn identity(&mut self, name: &str, x: Var) -> Result<Var, BuildError> {
        self.op1("identity", name, &[("x", x.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::support::testing;

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("identity");
    }
}
