//! `cond`: the results of one of two nested blocks, the first where `pred` is true.
//!
//! `pred`: a boolean scalar; both blocks give values of the same types. The interpreter runs the block that the
//! evaluation chooses.

use super::Op;
use crate::{
    base::Target,
    mil::{Call, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
    ops::support::{shapes::rank_between, types::BOOL},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "cond",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[Parameter::new("pred", Domain::Of(BOOL))] }],
        infer,
    },
    kernel: |arguments| Ok(vec![arguments.tensor("pred")?.clone()]),
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "pred", 0, 0)?;
    let [first, second] = call.blocks() else {
        return Err(InferError::rule("pred", format!("expected two blocks to choose from, found {}", call.blocks().len())));
    };
    let (a, b) = (&first.outputs, &second.outputs);
    if a.len() != b.len() || !a.iter().zip(b).all(|(a, b)| a.agrees(b)) {
        let list = |types: &[ValueType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(InferError::rule("pred", format!("the blocks differ: one gives {}, the other {}", list(a), list(b))));
    }
    Ok(a.clone())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn a_choice_needs_two_blocks() {
        let why = "parameter `pred`: expected two blocks to choose from, found 0";
        testing::refuses("cond", Target::Ios15, &[("pred", testing::boolean(&[]))], why);
        let why = "parameter `pred`: expected rank 0, found tensor<bool, [1]>";
        testing::refuses("cond", Target::Ios15, &[("pred", testing::boolean(&[1]))], why);
    }
}
