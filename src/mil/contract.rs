//! Which deployment targets take an operation as it stands: the contracts of its operator, tried one after another.
//!
//! Judges parameters, element types, constants and shapes as the operator's declaration states them. Where a target
//! computes something else with the same arguments, as some do with negative indices, nothing is seen.

use super::{Function, InferError, Known, Operation, Registry};
use crate::base::Target;

/// Why a target does not take an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its arguments do not fit.
    #[error(transparent)]
    Arguments(#[from] InferError),
    /// It gives other types than those that are declared.
    #[error("its results would be of other types")]
    Results,
    /// Parameters of a `constexpr_*` operator stand among its inputs, which came with iOS18.
    #[error("the parameters of `constexpr_*` are attributes before iOS18")]
    Inputs,
}

/// Why `target` does not take `operation`; `None` where it does, and for constants and operators that nobody declared.
pub fn refusal(
    function: &Function,
    known: &Known<'_>,
    operation: &Operation,
    target: Target,
    registry: Registry,
) -> Option<Refusal> {
    let definition = registry(&operation.kind)?;
    if operation.is_constexpr()
        && target < Target::Ios18
        && !operation.inputs.is_empty()
        && definition.since() <= target
    {
        return Some(Refusal::Inputs);
    }
    let inferred = known.call(function, operation, definition, target).and_then(|call| call.infer());
    match inferred {
        Err(error) => Some(Refusal::Arguments(error)),
        Ok(types) => {
            let declared = operation.outputs.iter().map(|&id| &function.value(id).ty);
            let same = types.len() == operation.outputs.len()
                && declared.zip(&types).all(|(declared, ty)| declared.agrees(ty));
            (!same).then_some(Refusal::Results)
        }
    }
}
