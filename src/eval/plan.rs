//! What a block needs to know before it runs, found once: the code of its operations, and which values nobody needs
//! after each.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Kernel, Operators};
use crate::mil::{Binding, Block, OpDef, Operation, ValueId};

/// A block that is ready to be run.
#[derive(Debug)]
pub(super) struct BlockPlan {
    /// One for each operation.
    pub steps: Vec<Step>,
}

/// An operation that is ready to be run.
#[derive(Debug)]
pub(super) struct Step {
    /// Declaration and evaluation; `None` where nobody has them.
    pub code: Option<(&'static OpDef, Kernel)>,
    /// The values that nobody needs afterwards.
    pub releases: Vec<ValueId>,
    /// Whether the results are numbers of `x` or of what is listed, in another place or order.
    pub moves: bool,
    /// What is read from a state, changed here, and written back before anybody reads the state again.
    pub changes: Option<ValueId>,
}

/// Operators that move numbers: what was rounded stays so.
const MOVING: [&str; 13] = [
    "concat",
    "expand_dims",
    "gather",
    "identity",
    "read_state",
    "reshape",
    "slice_by_index",
    "slice_by_size",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
];

impl BlockPlan {
    /// Values of the block itself are dropped after their last use; those of the blocks around it are not, unless it is
    /// the `outermost`.
    fn of(block: &Block, outermost: bool, operators: Operators) -> Self {
        let last = block.last_uses();
        let mut own: HashSet<ValueId> = block.inputs.iter().copied().collect();
        let mut step = |(index, operation): (usize, &Operation)| {
            own.extend(&operation.outputs);
            let mut releases = operation.uses();
            releases.extend(&operation.outputs);
            releases.retain(|id| (outermost || own.contains(id)) && last.get(id).is_none_or(|&last| last <= index));
            let code = (operators.definitions)(&operation.kind).zip((operators.kernels)(&operation.kind));
            let changes = changed(block, index, operation).filter(|id| releases.contains(id));
            Step { code, releases, moves: MOVING.contains(&operation.kind.as_str()), changes }
        };
        Self { steps: block.operations.iter().enumerate().map(&mut step).collect() }
    }
}

/// What `operation` updates, where it is what a state holds and the next to use the state writes the result to it.
fn changed(block: &Block, index: usize, operation: &Operation) -> Option<ValueId> {
    let value = |operation: &Operation, name: &str| match operation.inputs.get(name).map(Vec::as_slice) {
        Some([Binding::Value(id)]) => Some(*id),
        _ => None,
    };
    if operation.kind != "slice_update" {
        return None;
    }
    let x = value(operation, "x")?;
    let read = block.operations[..index].iter().rfind(|read| read.outputs == [x] && read.kind == "read_state")?;
    let state = value(read, "input")?;
    let next = block.operations[index + 1..].iter().find(|next| next.uses().contains(&state))?;
    let written = next.kind == "write_state" && value(next, "input") == Some(state);
    (written && operation.outputs == [value(next, "data")?]).then_some(x)
}

/// The plans of the blocks of one program, which are known by where they stand in it.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<HashMap<usize, Arc<BlockPlan>>>);

impl Plans {
    /// The plan of a block, made where it is not there yet.
    pub(super) fn get(&self, block: &Block, outermost: bool, operators: Operators) -> Arc<BlockPlan> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = std::ptr::from_ref(block).addr();
        Arc::clone(plans.entry(place).or_insert_with(|| Arc::new(BlockPlan::of(block, outermost, operators))))
    }
}
