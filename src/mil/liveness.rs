//! How long values live, and where the results of operations take the most memory at once.
//!
//! A value lives from its operation to its last use; what a nested block uses is used by the operation that holds the
//! block. The peak is what a program needs that is run operation by operation: nothing is fused, computed in place or
//! seen through a view, so devices may need less.

use std::collections::HashMap;

use super::{Binding, Block, DataType, Function, Operation, TensorType, ValueId, ValueType};

impl Operation {
    /// Every value that it uses, in the blocks inside of it too; repeated where it is used repeatedly.
    pub fn uses(&self) -> Vec<ValueId> {
        let mut ids: Vec<ValueId> = Vec::new();
        for binding in self.inputs.values().flatten() {
            if let Binding::Value(id) = binding {
                ids.push(*id);
            }
        }
        for block in &self.blocks {
            ids.extend(block.operations.iter().flat_map(Self::uses));
            ids.extend(&block.outputs);
        }
        ids
    }
}

impl Block {
    /// By value, the index of the last operation that uses it; results of the block are used after the last one
    /// (`usize::MAX`).
    pub fn last_uses(&self) -> HashMap<ValueId, usize> {
        let mut last = HashMap::new();
        for (index, operation) in self.operations.iter().enumerate() {
            last.extend(operation.uses().into_iter().map(|id| (id, index)));
        }
        last.extend(self.outputs.iter().map(|&id| (id, usize::MAX)));
        last
    }
}

impl TensorType {
    /// Bytes of its elements without gaps; `None` for lengths that are not fixed, for strings, and on overflow.
    pub fn byte_length(&self) -> Option<u64> {
        Some(self.elements()?.checked_mul(self.dtype.bits()?)?.div_ceil(8))
    }
}

impl ValueType {
    /// Bytes of a tensor, a state or a list of tensors; texts and dictionaries, which only classifiers have, count as
    /// nothing. `None` for lengths that are not fixed, and on overflow.
    pub fn byte_length(&self) -> Option<u64> {
        match self {
            Self::Tensor(tensor) if tensor.dtype == DataType::String => Some(0),
            Self::Tensor(tensor) | Self::State(tensor) => tensor.byte_length(),
            Self::List { element, length } => element.byte_length()?.checked_mul(length.known()?),
            Self::Tuple(types) => types.iter().try_fold(0u64, |sum, ty| sum.checked_add(ty.byte_length()?)),
            Self::Dictionary { .. } => Some(0),
        }
    }
}

/// Where a function's activations take the most memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak<'a> {
    /// Bytes of the values that live at once: results of operations, outputs among them; neither inputs and states nor
    /// constants.
    pub bytes: u64,
    /// The first operation during which they do; `None` where no result has a known size.
    pub operation: Option<&'a Operation>,
    /// Number of results of a size that is not known, in the whole function; they count as nothing.
    pub unknown: u64,
}

/// The peak of a function whose values have the types `types`, by their ids.
///
/// Loop variables live as long as their block; of several nested blocks, one runs at a time.
pub fn peak<'a>(function: &'a Function, types: &[ValueType]) -> Peak<'a> {
    let mut walk = Walk { types, peak: Peak { bytes: 0, operation: None, unknown: 0 } };
    walk.block(&function.block, 0);
    walk.peak
}

struct Walk<'a, 't> {
    types: &'t [ValueType],
    peak: Peak<'a>,
}

impl<'a> Walk<'a, '_> {
    /// Walks a block while `around` bytes live outside of it.
    fn block(&mut self, block: &'a Block, around: u64) {
        let last = block.last_uses();
        let around = block.inputs.iter().fold(around, |sum, &id| sum.saturating_add(self.size(id)));
        let mut own: HashMap<ValueId, u64> = HashMap::new();
        let mut live = around;
        for (index, operation) in block.operations.iter().enumerate() {
            for nested in &operation.blocks {
                self.block(nested, live);
            }
            if !operation.is_computed() {
                continue;
            }
            for &id in &operation.outputs {
                let size = self.size(id);
                live = live.saturating_add(size).saturating_sub(own.insert(id, size).unwrap_or(0));
            }
            self.reach(live, operation);
            for id in operation.uses().into_iter().chain(operation.outputs.iter().copied()) {
                if last.get(&id).is_none_or(|&last| last <= index) {
                    live = live.saturating_sub(own.remove(&id).unwrap_or(0));
                }
            }
        }
    }

    fn size(&mut self, id: ValueId) -> u64 {
        let size = self.types.get(id.0 as usize).and_then(ValueType::byte_length);
        self.peak.unknown += u64::from(size.is_none());
        size.unwrap_or(0)
    }

    fn reach(&mut self, bytes: u64, operation: &'a Operation) {
        if bytes > self.peak.bytes {
            (self.peak.bytes, self.peak.operation) = (bytes, Some(operation));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        base::Target,
        mil::{Builder, Recipe, Scope, ValueInfo},
        ops,
    };

    /// Bytes, the operation, open values.
    fn found(function: &Function) -> (u64, Option<&str>, u64) {
        let types: Vec<ValueType> = function.values.iter().map(|value| value.ty.clone()).collect();
        let peak = peak(function, &types);
        (peak.bytes, peak.operation.map(|operation| operation.name.as_str()), peak.unknown)
    }

    #[test]
    fn values_live_until_their_last_use() {
        let mut builder = Builder::new(ops::find, Target::Ios16);
        let x = builder.input("x", TensorType::new(DataType::Float16, &[1, 8]));
        // 16 bytes each: `a` and `b` at `b`; `b` and `c` at `c`; `a` is gone by then.
        let a = builder.op1("relu", "a", &[("x", x.into())]).unwrap();
        let b = builder.op1("exp", "b", &[("x", a.into())]).unwrap();
        let c = builder.op1("exp", "c", &[("x", b.into())]).unwrap();
        let chain = builder.finish(&[("c", c)]).unwrap();
        assert_eq!(found(&chain), (32, Some("b"), 0));
    }

    #[test]
    fn results_stay_and_constants_do_not_count() {
        let mut builder = Builder::new(ops::find, Target::Ios16);
        let x = builder.input("x", TensorType::new(DataType::Float16, &[1, 8]));
        let early = builder.op1("relu", "early", &[("x", x.into())]).unwrap();
        let weight = Recipe::source("weight", DataType::Float16, &[64, 8]);
        // 128 bytes, while `early` waits for the end.
        let wide = builder.op1("linear", "wide", &[("x", x.into()), ("weight", (&weight).into())]).unwrap();
        let axes = [("x", wide.into()), ("axes", [1].into()), ("keep_dims", true.into())];
        let late = builder.op1("reduce_mean", "late", &axes).unwrap();
        let function = builder.finish(&[("early", early), ("late", late)]).unwrap();
        // `early` (16), `wide` (128) and `late` (2).
        assert_eq!(found(&function), (146, Some("late"), 0));
    }

    /// `kind` of values to values, with blocks.
    fn operation(kind: &str, name: &str, inputs: &[u32], outputs: &[u32], blocks: Vec<Block>) -> Operation {
        Operation {
            kind: kind.to_owned(),
            name: name.to_owned(),
            inputs: BTreeMap::from([("x".to_owned(), inputs.iter().map(|&id| Binding::Value(ValueId(id))).collect())]),
            outputs: outputs.iter().map(|&id| ValueId(id)).collect(),
            blocks,
            attributes: BTreeMap::new(),
            scope: Scope::default(),
        }
    }

    fn block(inputs: &[u32], operations: Vec<Operation>, outputs: &[u32]) -> Block {
        let ids = |ids: &[u32]| ids.iter().map(|&id| ValueId(id)).collect();
        Block { inputs: ids(inputs), operations, outputs: ids(outputs), attributes: BTreeMap::new() }
    }

    /// Value `i` has `sizes[i]` bytes; 0 stands for an open length.
    fn function(sizes: &[u64], block: Block) -> Function {
        let ty = |size: u64| match size {
            0 => TensorType { dtype: DataType::Int8, shape: vec![crate::mil::Dimension::Unknown { variadic: false }] },
            size => TensorType::new(DataType::Int8, &[size]),
        };
        let values = sizes
            .iter()
            .enumerate()
            .map(|(i, &size)| ValueInfo { name: format!("v{i}"), ty: ty(size).into() })
            .collect();
        Function { opset: Target::Ios17, values, inputs: vec![ValueId(0)], block, attributes: BTreeMap::new() }
    }

    #[test]
    fn one_of_several_blocks_runs_at_a_time() {
        let narrow = block(&[], vec![operation("relu", "narrow", &[1], &[2], vec![])], &[2]);
        let wide = vec![operation("relu", "wide", &[0], &[3], vec![]), operation("relu", "slim", &[3], &[4], vec![])];
        let choice = operation("cond", "choice", &[0], &[5], vec![narrow, block(&[], wide, &[4])]);
        let operations =
            vec![operation("relu", "first", &[0], &[1], vec![]), choice, operation("relu", "last", &[5], &[6], vec![])];
        // `first` (10) lives until the choice, since a block of it uses it; `wide` (100) and `slim` (7) live together
        // inside.
        let function = function(&[50, 10, 7, 100, 7, 7, 7], block(&[], operations, &[6]));
        assert_eq!(found(&function), (117, Some("slim"), 0));
    }

    #[test]
    fn loop_variables_live_as_long_as_their_block() {
        let body = vec![operation("relu", "step", &[2], &[3], vec![]), operation("relu", "next", &[3], &[4], vec![])];
        let turns = operation("while_loop", "turns", &[1], &[5], vec![block(&[2], body, &[4])]);
        let operations = vec![operation("relu", "first", &[0], &[1], vec![]), turns];
        // What the loop starts with, the variable, `step` and `next`, 10 each.
        assert_eq!(found(&function(&[1, 10, 10, 10, 10, 10], block(&[], operations, &[5]))), (40, Some("next"), 0));
    }

    #[test]
    fn open_lengths_are_counted_apart() {
        let operations =
            vec![operation("relu", "open", &[0], &[1], vec![]), operation("relu", "closed", &[1], &[2], vec![])];
        assert_eq!(found(&function(&[4, 0, 4], block(&[], operations, &[2]))), (4, Some("closed"), 1));
        assert_eq!(found(&function(&[4], block(&[], vec![], &[0]))), (0, None, 0));
    }
}
