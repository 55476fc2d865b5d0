//! `while_loop`: variables that a nested block changes again and again, as long as another gives true for them.
//!
//! `loop_vars`: the variables at first, tensors or lists. The first block takes them and gives one boolean, the second
//! takes them and gives their next values, of the same types. The interpreter walks the blocks, from the variables that
//! the evaluation gives: a tensor each, two for a list.

use super::Op;
use crate::{
    base::Target,
    mil::{BlockTypes, Call, DataType, Domain, InferError, OpDef, OpVersion, Parameter, TensorType, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "while_loop",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[Parameter::new("loop_vars", Domain::Any).variadic()] }],
        infer,
    },
    kernel: |arguments| Ok(arguments.tensors("loop_vars")?.to_vec()),
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let rule = |why: String| Err(InferError::rule("loop_vars", why));
    let [condition, body] = call.blocks() else {
        return rule(format!("expected a condition and a body, found {} blocks", call.blocks().len()));
    };
    // coremltools gives vectors of one boolean too.
    let is_flag = |ty: &TensorType| ty.dtype == DataType::Bool && ty.rank() <= 1 && ty.elements().is_none_or(|n| n == 1);
    if condition.outputs.len() != 1 || !condition.outputs[0].tensor().is_some_and(is_flag) {
        return rule("the condition does not give one boolean".to_owned());
    }
    let variables = call.value_types("loop_vars")?;
    let fits = |types: &[ValueType]| types.len() == variables.len() && types.iter().zip(&variables).all(|(a, b)| a.agrees(b));
    let BlockTypes { inputs, outputs } = body;
    for (what, types) in [("condition takes", &condition.inputs), ("body takes", inputs), ("body gives", outputs)] {
        if !fits(types) {
            let list = |types: &mut dyn Iterator<Item = String>| types.collect::<Vec<_>>().join(", ");
            let (found, expected) =
                (list(&mut types.iter().map(ToString::to_string)), list(&mut variables.iter().map(ToString::to_string)));
            return rule(format!("the {what} {found}, the variables are {expected}"));
        }
    }
    Ok(outputs.clone())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn a_loop_needs_a_condition_and_a_body() {
        let why = "parameter `loop_vars`: expected a condition and a body, found 0 blocks";
        testing::refuses("while_loop", Target::Ios15, &[("loop_vars", testing::several(&[testing::float32(&[2])]))], why);
    }
}
