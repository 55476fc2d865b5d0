//! The interface of a program, as releases record it.

use std::collections::BTreeMap;

use crate::{
    contract::{Feature, Interface},
    mil::{Function, Program, TensorType, ValueId, ValueType},
};

/// Inputs, outputs and states of a program. A program with a default function lists all of its functions; the top level
/// is the default one. Dimensions that are not fixed leave a feature without a shape.
pub fn interface_of(program: &Program) -> Interface {
    let mut top = program.main().map(|(_, function)| of_function(function)).unwrap_or_default();
    if let Some(default) = &program.default_function {
        top.functions = program
            .functions
            .iter()
            .map(|(name, function)| (name.clone(), of_function(function)))
            .collect::<BTreeMap<_, _>>();
        promote_default(&mut top, default);
    }
    top
}

/// Copies the default function of an interface with functions to the top level.
pub(super) fn promote_default(top: &mut Interface, name: &str) {
    if let Some(default) = top.functions.get(name).cloned() {
        top.inputs = default.inputs;
        top.outputs = default.outputs;
        top.states = default.states;
        top.default_function = Some(name.to_owned());
    }
}

fn of_function(function: &Function) -> Interface {
    let is_state = |id: &ValueId| matches!(function.value(*id).ty, ValueType::State(_));
    let (states, inputs): (Vec<ValueId>, Vec<ValueId>) = function.inputs.iter().partition(|id| is_state(id));
    let features = |ids: &[ValueId]| ids.iter().map(|&id| feature(function, id)).collect();
    Interface {
        inputs: features(&inputs),
        outputs: features(&function.block.outputs),
        states: features(&states),
        ..Interface::default()
    }
}

fn feature(function: &Function, id: ValueId) -> Feature {
    let value = function.value(id);
    let of_tensor = |ty: &TensorType| (ty.dtype.long_name(), ty.fixed_shape().unwrap_or_default());
    let (dtype, shape) = match &value.ty {
        ValueType::Tensor(ty) | ValueType::State(ty) => of_tensor(ty),
        ValueType::Dictionary { .. } => ("dictionary".to_owned(), Vec::new()),
        ValueType::List { .. } | ValueType::Tuple(_) => ("sequence".to_owned(), Vec::new()),
    };
    Feature { name: value.name.clone(), dtype, shape, ..Feature::default() }
}
