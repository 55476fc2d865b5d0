//! Where numbers stop being finite: float16 ends at 65504, and what overflows there spreads through everything behind
//! it.

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use serde::Serialize;

use super::view;
use crate::mil::{Binding, Function, Operation, ValueInfo, ValueType};

/// The first operation whose result is not finite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotFinite {
    /// The operation.
    pub operation: String,
    /// Its operator.
    pub operator: String,
    /// The constants that it works with, which are named after the checkpoint's tensors.
    pub constants: Vec<String>,
}

impl NotFinite {
    /// What is wrong with a result; `None` where every number of it is finite.
    pub fn of(function: &Function, operation: &Operation, tensor: &Tensor) -> Option<Self> {
        // Without an early end inside of a block, many are looked at together.
        let finite = |values: &[f32]| values.iter().fold(true, |all, value| all & value.is_finite());
        let wrong = |values: &[f32]| !values.par_chunks(4096).all(finite);
        if tensor.dtype() != DType::F32 || !view(tensor, wrong).unwrap_or(false) {
            return None;
        }
        let values = operation.inputs.values().flatten().filter_map(|binding| match binding {
            Binding::Value(id) => Some((*id, function.value(*id))),
            Binding::Literal(_) => None,
        });
        let large =
            |value: &ValueInfo| matches!(&value.ty, ValueType::Tensor(ty) if ty.rank() > 0 && ty.dtype.is_float());
        let constant = |made: &Operation| made.kind == "const" || made.kind.starts_with("constexpr_");
        let is_constant = |id| function.operations().any(|made| constant(made) && made.outputs.contains(&id));
        let constants = values
            .filter(|(id, value)| large(value) && is_constant(*id))
            .map(|(_, value)| value.name.clone())
            .collect();
        Some(Self { operation: operation.name.clone(), operator: operation.kind.clone(), constants })
    }
}
