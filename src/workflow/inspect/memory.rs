//! What a function takes in memory: an estimate for a program that is run operation by operation, without fusing.
//!
//! Weights are counted as they lie in the file, and once more as they would be expanded. Open lengths are taken from
//! the default shapes of the inputs, or else from their least lengths; what stays open is counted as nothing and said.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::needs::OperationPlace;
use crate::{
    contract::{Feature, Interface},
    eval::{self, Operators},
    mil::{self, Function, Operation, Program, Value, ValueId, ValueType},
};

/// The memory of a function. Activations hold the outputs, so the sum of everything but [`outputs`](Self::outputs) is
/// what a run takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionMemory {
    /// The function.
    pub function: String,
    /// Its constants.
    pub weights: WeightMemory,
    /// Its states.
    pub states: Extent,
    /// Its inputs, states left out.
    pub inputs: Extent,
    /// Its outputs.
    pub outputs: Extent,
    /// The results of operations that live at once.
    pub activations: Activations,
}

/// Constants in weight files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WeightMemory {
    /// Records of weight files that are used.
    pub records: u64,
    /// Their bytes, each counted once; they can stay mapped.
    pub bytes: u64,
    /// Bytes of the weights that `constexpr_*` operations make, for a runtime that expands them beforehand.
    pub expanded: u64,
}

/// Bytes of some values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Extent {
    /// Bytes of the values of known size.
    pub bytes: u64,
    /// Number of the others, which the bytes leave out.
    pub unknown: u64,
}

/// Where the results of operations take the most memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activations {
    /// Their bytes at the peak, outputs among them.
    #[serde(flatten)]
    pub extent: Extent,
    /// The first operation at which the peak is reached; `None` where nothing is computed.
    pub peak: Option<OperationPlace>,
}

/// Estimates every function; `interface` knows the default shapes.
pub(super) fn memory(program: &Program, interface: &Interface, operators: Operators) -> Vec<FunctionMemory> {
    let functions = program.functions.iter();
    functions.map(|(name, function)| function_memory(name, function, described(interface, name), operators)).collect()
}

fn described<'a>(interface: &'a Interface, function: &str) -> &'a Interface {
    interface.functions.get(function).unwrap_or(interface)
}

fn function_memory(name: &str, function: &Function, interface: &Interface, operators: Operators) -> FunctionMemory {
    let types = eval::types_of(function, &shapes(function, interface), operators);
    let is_state = |id: &ValueId| matches!(function.value(*id).ty, ValueType::State(_));
    let (states, inputs): (Vec<ValueId>, Vec<ValueId>) = function.inputs.iter().partition(|id| is_state(id));
    let peak = mil::peak(function, &types);
    FunctionMemory {
        function: name.to_owned(),
        weights: weights(function),
        states: extent(&states, &types),
        inputs: extent(&inputs, &types),
        outputs: extent(&function.block.outputs, &types),
        activations: Activations {
            extent: Extent { bytes: peak.bytes, unknown: peak.unknown },
            peak: peak.operation.map(|operation| OperationPlace::new(name, operation)),
        },
    }
}

/// The shapes that inputs have by default. Images are described by height and width alone, which are the last
/// dimensions.
fn shapes(function: &Function, interface: &Interface) -> BTreeMap<ValueId, Vec<u64>> {
    let shape = |id: ValueId| {
        let value = function.value(id);
        let feature = interface.inputs.iter().find(|feature| feature.name == value.name)?;
        let (declared, described) = (&value.ty.tensor()?.shape, default_shape(feature)?);
        let leading: Option<Vec<u64>> =
            declared.iter().take(declared.len().saturating_sub(described.len())).map(|d| d.known()).collect();
        Some((id, [leading?, described].concat()))
    };
    function.inputs.iter().filter_map(|&id| shape(id)).collect()
}

/// The default shape, else the least lengths. A least length of 0 stands for none.
fn default_shape(feature: &Feature) -> Option<Vec<u64>> {
    if !feature.shape.is_empty() {
        return Some(feature.shape.clone());
    }
    let least = feature.ranges.as_ref()?.iter().map(|(least, _)| *least);
    least.map(|least| (least > 0).then_some(least)).collect()
}

fn extent(ids: &[ValueId], types: &[ValueType]) -> Extent {
    let sizes = ids.iter().map(|id| types[id.0 as usize].byte_length());
    sizes.fold(Extent::default(), |sum, size| Extent {
        bytes: sum.bytes.saturating_add(size.unwrap_or(0)),
        unknown: sum.unknown + u64::from(size.is_none()),
    })
}

fn weights(function: &Function) -> WeightMemory {
    let mut records: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    function.operations().flat_map(Operation::constants).for_each(|value| add_record(value, &mut records));
    WeightMemory {
        records: records.len() as u64,
        bytes: records.values().fold(0, |sum, bytes| sum.saturating_add(*bytes)),
        expanded: expanded(function),
    }
}

fn add_record<'a>(value: &'a Value, records: &mut BTreeMap<(&'a str, u64), u64>) {
    let Some(recipe) = value.tensor() else { return };
    if let Some((file, offset)) = recipe.as_blob() {
        records.insert((file, offset), recipe.byte_length().unwrap_or(0));
    }
}

/// Bytes of the weights that `constexpr_*` operations give to others than such operations.
fn expanded(function: &Function) -> u64 {
    let plain = function.operations().filter(|operation| !operation.is_constexpr());
    let used: HashSet<ValueId> =
        plain.flat_map(Operation::uses).chain(function.block.outputs.iter().copied()).collect();
    let made =
        function.operations().filter(|operation| operation.is_constexpr()).flat_map(|operation| &operation.outputs);
    let sizes = made.filter(|id| used.contains(id)).filter_map(|&id| function.value(id).ty.byte_length());
    sizes.fold(0, u64::saturating_add)
}
