//! `read_state` (iOS18): what a state holds now.
//!
//! `input`: a state; the result is a tensor of its type.

use super::Op;
use crate::{
    base::Target,
    mil::{BuildError, Builder, Domain, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "read_state",
        versions: &[OpVersion { since: Target::Ios18, domains: &[], parameters: &[Parameter::new("input", Domain::State)] }],
        infer: |call| match call.value_type("input")? {
            ValueType::State(ty) => Ok(vec![ty.clone().into()]),
            _ => Err(InferError::rule("input", "expected a state")),
        },
    },
    kernel: |arguments| Ok(vec![arguments.tensor("input")?.clone()]),
};

impl Builder {
    /// What `state` holds now.
    ///
    /// # Errors
    /// When it is no state, or before iOS18.
    pub fn read_state(&mut self, name: &str, state: Var) -> Result<Var, BuildError> {
        self.op1("read_state", name, &[("input", state.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn tensors_are_no_states() {
        let arguments = [("input", testing::float16(&[2]))];
        testing::refuses("read_state", Target::Ios18, &arguments, "parameter `input` is tensor<fp16, [2]>, expected a \
             state");
        testing::refuses("read_state", Target::Ios17, &arguments, "`read_state` needs iOS18; the program is for iOS17");
    }
}
