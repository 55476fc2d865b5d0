//! Integer vectors of a weight file are put into the program.
//!
//! From iOS18 on coremltools writes constants of ten elements and more into the weight file, whatever they mean: the
//! padding of a tensor of rank 5 or the lengths of ten pieces, too. Such numbers decide types, so they have to be known
//! before anything runs. Weights stay where they are.

use super::{Pass, Replacement};
use crate::{
    base::Target,
    mil::{Constant, DataType, Literal},
    recipe::{ConstantSource, Recipe},
};

/// The longest vector that is put into a program.
const LONGEST: u64 = 1024;

/// Replaces vectors of at most 1024 int32 that are no literals by their values. One that cannot be read stays: running
/// the program says why.
#[derive(Debug)]
pub struct IntegerTables<'w> {
    weights: &'w dyn ConstantSource,
}

impl<'w> IntegerTables<'w> {
    /// Reads the values from `weights`.
    pub fn new(weights: &'w dyn ConstantSource) -> Self {
        Self { weights }
    }
}

impl Pass for IntegerTables<'_> {
    fn name(&self) -> &'static str {
        "integer-tables"
    }

    fn replacement(&self, constant: &Constant, _target: Target) -> Option<Replacement> {
        let is_table =
            constant.dtype() == DataType::Int32 && constant.shape().len() <= 1 && constant.as_literal().is_none();
        if !is_table || constant.elements()? > LONGEST {
            return None;
        }
        let bytes = self.weights.bytes(constant).ok()?;
        let values = bytes.as_chunks().0.iter().map(|&bytes| i64::from(i32::from_le_bytes(bytes))).collect();
        // `None` where there are more or fewer bytes than the shape needs.
        Recipe::literal(DataType::Int32, constant.shape(), Literal::Ints(values)).map(Replacement::Constant)
    }
}
