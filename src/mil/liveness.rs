//! How long values live, and where the results of operations take the most memory at once.
//!
//! A value lives from its operation to its last use; what a nested block uses is used by the operation that holds the block. The peak is what
//! a program needs that is run operation by operation: nothing is fused, computed in place or seen through a view, so devices may need less.

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
    /// By value, the index of the last operation that uses it; results of the block are used after the last one (`usize::MAX`).
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
    /// Bytes of a tensor, a state or a list of tensors; texts and dictionaries, which only classifiers have, count as nothing. `None` for
    /// lengths that are not fixed, and on overflow.
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
    /// Bytes of the values that live at once: results of operations, outputs among them; neither inputs and states nor constants.
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
