//! The passes of a variant: how its constants are stored, and which operators stand for a pattern of others.

use std::sync::Arc;

use crate::{
    manifest::Axes,
    passes::{Pass, Passes},
};

/// Makes a pass where the axes of a variant ask for it.
type PassOfAxes = fn(&Axes) -> Option<Arc<dyn Pass>>;

/// Every pass, in the order in which they are applied. Adding one: its file in `passes`, and its word here.
const PASSES: &[PassOfAxes] = &[];

/// The passes that the axes ask for.
pub(super) fn passes_of(axes: &Axes) -> Passes {
    Passes::new(PASSES.iter().filter_map(|pass| pass(axes)).collect())
}
