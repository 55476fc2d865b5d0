//! Reads a checkpoint's tensors as recipes, and keeps account of which were used.

use std::{cell::RefCell, collections::BTreeSet};

use super::ArchError;
use crate::{
    checkpoint::Weights,
    mil::{Constant, DataType, Recipe},
};

/// The tensors below a prefix. Every tensor that is read comes out in the compute dtype.
#[derive(Debug)]
pub struct Tensors<'a> {
    weights: &'a dyn Weights,
    prefix: String,
    compute: DataType,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Tensors<'a> {
    /// The tensors of `weights` whose names start with `prefix` (which includes its dot).
    pub fn new(weights: &'a dyn Weights, prefix: &str, compute: DataType) -> Self {
        Self { weights, prefix: prefix.to_owned(), compute, used: RefCell::default() }
    }

    /// Names without the prefix, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.names().filter_map(|name| name.strip_prefix(self.prefix.as_str()))
    }

    /// Whether the tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.weights.info(&self.full(name)).is_some()
    }

    /// The checkpoint's name of a tensor.
    pub fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A tensor's shape.
    ///
    /// # Errors
    /// When it is not there.
    pub fn shape(&self, name: &str) -> Result<&[u64], ArchError> {
        let full = self.full(name);
        self.weights.info(&full).map(|info| info.shape.as_slice()).ok_or(ArchError::MissingTensor { name: full })
    }

    /// A tensor in the compute dtype.
    ///
    /// # Errors
    /// When it is not there or holds no floating point numbers.
    pub fn get(&self, name: &str) -> Result<Constant, ArchError> {
        let full = self.full(name);
        let info = self.weights.info(&full).ok_or_else(|| ArchError::MissingTensor { name: full.clone() })?;
        let dtype = DataType::from(info.dtype);
        if !dtype.is_float() {
            return Err(ArchError::TensorType { name: full, found: dtype.long_name() });
        }
        let recipe = Recipe::source(&full, dtype, &info.shape).cast(self.compute);
        self.used.borrow_mut().insert(full);
        Ok(recipe)
    }

    /// A tensor of a known shape.
    ///
    /// # Errors
    /// When it is not there or has another shape.
    pub fn get_shaped(&self, name: &str, shape: &[u64]) -> Result<Constant, ArchError> {
        let found = self.shape(name)?;
        if found != shape {
            return Err(ArchError::TensorShape { name: self.full(name), expected: format!("{shape:?}"), found: found.to_vec() });
        }
        self.get(name)
    }

    /// Fails when tensors below the prefix were not read, since leaving them out would give wrong numbers.
    ///
    /// # Errors
    /// Names the first few.
    pub fn all_used(&self, architecture: &'static str) -> Result<(), ArchError> {
        let used = self.used.borrow();
        let names: Vec<String> = self.names().map(|name| self.full(name)).filter(|name| !used.contains(name)).take(5).collect();
        if names.is_empty() { Ok(()) } else { Err(ArchError::UnusedTensors { architecture, names }) }
    }
}
