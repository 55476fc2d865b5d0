//! Reads a checkpoint's tensors as recipes, and keeps account of which were used.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::ArchError;
use crate::{
    checkpoint::Weights,
    mil::{Constant, DataType, Recipe},
};

/// The tensors below a prefix. Every tensor that is read comes out in the compute dtype. Tensors of equal bytes are one: their recipes
/// name the first, so that they are stored once.
#[derive(Debug)]
pub struct Tensors<'a> {
    weights: &'a dyn Weights,
    prefix: String,
    compute: DataType,
    used: RefCell<BTreeSet<String>>,
    equal: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// The tensors of `weights` whose names start with `prefix` (which includes its dot).
    pub fn new(weights: &'a dyn Weights, prefix: &str, compute: DataType) -> Self {
        Self { weights, prefix: prefix.to_owned(), compute, used: RefCell::default(), equal: equal_tensors(weights, prefix) }
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
        let recipe = self.source(&full)?.cast(self.compute);
        self.used.borrow_mut().insert(full);
        Ok(recipe)
    }

    fn source(&self, full: &str) -> Result<Constant, ArchError> {
        let info = self.weights.info(full).ok_or_else(|| ArchError::MissingTensor { name: full.to_owned() })?;
        let dtype = DataType::from(info.dtype);
        if !dtype.is_float() {
            return Err(ArchError::TensorType { name: full.to_owned(), found: dtype.long_name() });
        }
        let name = self.equal.get(full).map_or(full, String::as_str);
        Ok(Recipe::source(name, dtype, &info.shape))
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

    /// A tensor of a known shape, every number times `factor` before it is rounded to the compute dtype.
    ///
    /// # Errors
    /// When it is not there, has another shape, or holds no floating point numbers.
    pub fn get_scaled(&self, name: &str, shape: &[u64], factor: f64) -> Result<Constant, ArchError> {
        let plain = self.get_shaped(name, shape)?;
        if factor == 1.0 {
            return Ok(plain);
        }
        let source = self.source(&self.full(name))?;
        Ok(source.cast(DataType::Float32).scale(factor).cast(self.compute))
    }

    /// Takes account of tensors that are left out on purpose.
    pub fn skip(&self, is_left_out: impl Fn(&str) -> bool) {
        let names: Vec<String> = self.names().filter(|name| is_left_out(name)).map(|name| self.full(name)).collect();
        self.used.borrow_mut().extend(names);
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

/// Every tensor below the prefix whose bytes are those of an earlier one of its dtype and shape, and which that is.
///
/// Reads the first bytes of tensors alone, and more only where these are equal. What cannot be read is left for those who need it.
fn equal_tensors(weights: &dyn Weights, prefix: &str) -> BTreeMap<String, String> {
    const SAMPLE: usize = 256;
    let mut seen: HashMap<_, Vec<&str>> = HashMap::new();
    let mut equal = BTreeMap::new();
    for name in weights.names().filter(|name| name.starts_with(prefix)) {
        let (Some(info), Ok(data)) = (weights.info(name), weights.data(name)) else { continue };
        let alike = seen.entry((info.dtype, &info.shape, data[..data.len().min(SAMPLE)].to_vec())).or_default();
        match alike.iter().find(|other| weights.data(other).is_ok_and(|other| other == data)) {
            Some(other) => _ = equal.insert(name.to_owned(), (*other).to_owned()),
            None => alike.push(name),
        }
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CheckpointDtype, MemoryWeights};

    #[test]
    fn equal_tensors_have_equal_recipes() {
        let mut weights = MemoryWeights::default();
        let values: Vec<f32> = (0..1000).map(|n| n as f32).collect();
        let mut other = values.clone();
        other[999] = 0.0;
        weights.insert_f32("p.a", &[1000], &values);
        weights.insert_f32("p.b", &[1000], &values);
        weights.insert_f32("p.c", &[1000], &other);
        weights.insert_f32("p.d", &[10, 100], &values);
        weights.insert_f32("q.a", &[1000], &values);
        weights.insert("p.e", CheckpointDtype::I32, &[1000], values.iter().flat_map(|v| v.to_le_bytes()).collect());
        let tensors = Tensors::new(&weights, "p.", DataType::Float16);
        let key = |name: &str| tensors.get(name).unwrap().key();
        assert_eq!(key("a"), key("b"));
        assert_eq!(tensors.equal, BTreeMap::from([("p.b".to_owned(), "p.a".to_owned())]));
        assert_ne!(key("a"), key("c"));
        assert!(tensors.all_used("x").is_err());
        tensors.get("d").unwrap();
        assert!(matches!(tensors.get("e"), Err(ArchError::TensorType { .. })));
        assert!(matches!(tensors.get_shaped("a", &[999]), Err(ArchError::TensorShape { .. })));
    }
}
