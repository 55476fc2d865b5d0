//! What is known of a function's values before it runs: its constants, and which values are fixed though their numbers
//! are not known here.
//!
//! Serves everybody who looks at an operation with the eyes of its declaration: the verifier, the search for the lowest
//! target, the inference of shapes.

use std::collections::{HashMap, HashSet};

use super::{Binding, Call, Function, InferError, OpDef, Operation, Value, ValueId, ValueType};
use crate::base::Target;

/// The constants of a function.
#[derive(Debug)]
pub struct Known<'a> {
    constants: HashMap<ValueId, &'a Value>,
    /// Results of `constexpr_*` operators.
    fixed: HashSet<ValueId>,
}

impl<'a> Known<'a> {
    /// Collects the constants of `function`, those of nested blocks included.
    pub fn of(function: &'a Function) -> Self {
        let (mut constants, mut fixed) = (HashMap::new(), HashSet::new());
        for operation in function.operations() {
            if let Some(value) = operation.constant() {
                constants.extend(operation.outputs.iter().map(|&id| (id, value)));
            } else if operation.is_constexpr() {
                fixed.extend(&operation.outputs);
            }
        }
        Self { constants, fixed }
    }

    /// The constant that a value is.
    pub fn constant(&self, id: ValueId) -> Option<&'a Value> {
        self.constants.get(&id).copied()
    }

    /// An operation as a use of its operator at `target`, ready for inference: with the types that are declared.
    ///
    /// # Errors
    /// When the target does not have the operator.
    pub fn call<'o>(
        &self,
        function: &Function,
        operation: &'o Operation,
        definition: &'static OpDef,
        target: Target,
    ) -> Result<Call<'o>, InferError> {
        self.call_with(operation, definition, target, |id| (function.value(id).ty.clone(), self.constant(id).cloned()))
    }

    /// The same with types and numbers of values from `look`.
    ///
    /// # Errors
    /// As there.
    pub fn call_with<'o>(
        &self,
        operation: &'o Operation,
        definition: &'static OpDef,
        target: Target,
        look: impl Fn(ValueId) -> (ValueType, Option<Value>),
    ) -> Result<Call<'o>, InferError> {
        let mut call = Call::new(definition, target)?;
        for (parameter, bindings) in &operation.inputs {
            for binding in bindings {
                match binding {
                    Binding::Value(id) if self.fixed.contains(id) => call.push_fixed(parameter, look(*id).0),
                    Binding::Value(id) => {
                        let (ty, value) = look(*id);
                        call.push(parameter, ty, value);
                    }
                    Binding::Literal(value) => call.push(parameter, value.value_type(), Some(value.clone())),
                }
            }
        }
        // Before iOS18 the parameters of `constexpr_*` are attributes.
        for (parameter, value) in operation.attributes.iter().filter(|_| operation.is_constexpr()) {
            call.push(parameter, value.value_type(), Some(value.clone()));
        }
        for block in &operation.blocks {
            let types = |ids: &[ValueId]| ids.iter().map(|&id| look(id).0).collect();
            call.push_block(types(&block.inputs), types(&block.outputs));
        }
        Ok(call)
    }
}
