//! Reads a checkpoint's tensors as recipes, and keeps account of which were used.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{ArchError, Quantization};
use crate::{
    checkpoint::Weights,
    mil::{Constant, DataType, Recipe},
};

/// The tensors below a prefix. Every tensor that is read comes out in the compute dtype. Tensors of equal bytes are
/// one: their recipes name the first, so that they are stored once.
#[derive(Debug)]
pub struct Tensors<'a> {
    weights: &'a dyn Weights,
    prefix: String,
    compute: DataType,
    used: RefCell<BTreeSet<String>>,
    equal: BTreeMap<String, String>,
    /// Rows and columns of the blocks of 8 bit floats that have one scale.
    blocks: Option<[u64; 2]>,
    /// Whether 8 bit floats mean nothing without a scale.
    needs_scales: bool,
}

/// What a name ends with whose tensor is no weight, and why it is left out.
const NO_WEIGHTS: &[(&str, &str)] = &[
    ("rotary_emb.inv_freq", "the config says the frequencies"),
    ("rotary_emb.cos_cached", "computed from the frequencies"),
    ("rotary_emb.sin_cached", "computed from the frequencies"),
    ("embeddings.position_ids", "counts from 0 on"),
    ("input_scale", "scales activations for kernels of 8 bit floats"),
    ("input_scale_ub", "scales activations for kernels of 8 bit floats"),
    ("activation_scale_ub", "scales activations for kernels of 8 bit floats"),
];

/// Why the tensor of that name is left out of every model; none where it is not.
fn is_no_weight(name: &str) -> Option<&'static str> {
    let ends = |end: &str| name.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('.'));
    NO_WEIGHTS.iter().find(|(end, _)| ends(end)).map(|(_, why)| *why)
}

impl<'a> Tensors<'a> {
    /// The tensors of `weights` whose names start with `prefix` (which includes its dot).
    pub fn new(weights: &'a dyn Weights, prefix: &str, compute: DataType) -> Self {
        let is_scale = |name: &str| {
            ["weight_scale", "_scale_inv", "_scale"].iter().any(|end| name.ends_with(end))
                && is_no_weight(name).is_none()
        };
        Self {
            weights,
            prefix: prefix.to_owned(),
            compute,
            used: RefCell::default(),
            equal: equal_tensors(weights, prefix),
            blocks: None,
            needs_scales: weights.names().any(is_scale),
        }
    }

    /// As the config says that weights are quantized: 8 bit floats have scales, maybe for blocks of so many rows and
    /// columns.
    pub fn quantized(self, quantization: Option<&Quantization>) -> Self {
        let blocks = quantization.and_then(|quantization| quantization.block);
        Self { blocks, needs_scales: self.needs_scales || quantization.is_some(), ..self }
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
        self.weights.info(&full).map(|info| info.shape.as_slice()).ok_or_else(|| self.missing(full.clone()))
    }

    fn missing(&self, name: String) -> ArchError {
        const PACKED: [&str; 3] = ["qweight", "weight_packed", "weight_q"];
        let stem = name.strip_suffix("weight");
        let packed = PACKED
            .iter()
            .filter_map(|end| Some(format!("{}{end}", stem?)))
            .find(|name| self.weights.info(name).is_some());
        ArchError::MissingTensor { name, packed }
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
        let info = self.weights.info(full).ok_or_else(|| self.missing(full.to_owned()))?;
        let dtype = DataType::from(info.dtype);
        if !dtype.is_float() {
            return Err(ArchError::TensorType { name: full.to_owned(), found: dtype.long_name() });
        }
        let name = self.equal.get(full).map_or(full, String::as_str);
        let stored = Recipe::source(name, dtype, &info.shape);
        if !matches!(dtype, DataType::Float8E4M3FN | DataType::Float8E5M2) {
            return Ok(stored);
        }
        // Both names are factors of the weight: the one says that the numbers were divided by its inverse.
        let scales = ["_scale_inv", "_scale"].map(|end| format!("{full}{end}"));
        match scales.iter().find(|name| self.weights.info(name).is_some()) {
            Some(scales) => self.dequantized(&stored, full, scales),
            None if self.needs_scales => Err(ArchError::NoScale { name: full.to_owned() }),
            None => Ok(stored),
        }
    }

    /// Numbers of 8 bits times their scales: one for all, for every row, or for every block.
    fn dequantized(&self, stored: &Constant, full: &str, scales: &str) -> Result<Constant, ArchError> {
        let factors = self.source(scales)?.cast(DataType::Float32);
        self.used.borrow_mut().insert(scales.to_owned());
        let shape = stored.shape();
        let (rows, columns) = (shape.first().copied().unwrap_or(1), shape.iter().skip(1).product::<u64>());
        let matrix = stored.cast(DataType::Float32).reshape(&[rows, columns]);
        let count = factors.elements();
        let block = match self.blocks {
            Some(block) => block,
            None if count == Some(1) => [rows, columns],
            None => [1, columns],
        };
        let grid = [rows.div_ceil(block[0].max(1)), columns.div_ceil(block[1].max(1))];
        let refused = || ArchError::TensorShape {
            name: scales.to_owned(),
            expected: format!(
                "{grid:?}: a scale for every {} x {} numbers of `{full}`, which is {shape:?}",
                block[0], block[1]
            ),
            found: factors.shape().to_vec(),
        };
        // Scales of rows or of the whole may have fewer dimensions; of a grid of blocks the order counts.
        let of_rows = self.blocks.is_none() && factors.shape().first() == Some(&rows);
        let scales = if of_rows || count == Some(1) { factors.reshape(&grid) } else { Some(factors.clone()) };
        let scaled = matrix.and_then(|matrix| matrix.scale_blocks(&scales?, block)?.reshape(shape));
        scaled.ok_or_else(refused)
    }

    /// A tensor of a known shape.
    ///
    /// # Errors
    /// When it is not there or has another shape.
    pub fn get_shaped(&self, name: &str, shape: &[u64]) -> Result<Constant, ArchError> {
        let found = self.shape(name)?;
        self.source(&self.full(name))?;
        if found != shape {
            return Err(ArchError::TensorShape {
                name: self.full(name),
                expected: format!("{shape:?}"),
                found: found.to_vec(),
            });
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

    /// Takes account of tensors that are left out on purpose; names below the prefix come without it, all others whole.
    pub fn skip(&self, is_left_out: impl Fn(&str) -> bool) {
        let short = |name: &'a str| name.strip_prefix(self.prefix.as_str()).unwrap_or(name);
        let names: Vec<String> =
            self.weights.names().filter(|name| is_left_out(short(name))).map(str::to_owned).collect();
        self.used.borrow_mut().extend(names);
    }

    /// The checkpoint's names of tensors, below the prefix or outside, that were neither read nor left out on purpose.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let used = self.used.borrow().clone();
        self.weights.names().filter(move |name| !used.contains(*name) && is_no_weight(name).is_none())
    }

    /// Fails when tensors of the checkpoint were not read, below the prefix or outside, since leaving them out would
    /// give wrong numbers.
    ///
    /// # Errors
    /// Names the first few.
    pub fn all_used(&self, architecture: &'static str) -> Result<(), ArchError> {
        let names: Vec<String> = self.unused().take(5).map(str::to_owned).collect();
        if names.is_empty() { Ok(()) } else { Err(ArchError::UnusedTensors { architecture, names }) }
    }
}

/// Every tensor below the prefix whose bytes are those of an earlier one of its dtype and shape, and which that is.
///
/// Reads the first bytes of tensors alone, and more only where these are equal. What cannot be read is left for those
/// who need it.
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

    #[test]
    fn tensors_outside_the_prefix_count() {
        let mut weights = MemoryWeights::default();
        for name in
            ["bert.a", "classifier.weight", "bert.embeddings.position_ids", "layers.0.rotary_emb.inv_freq", "cls.b"]
        {
            weights.insert_f32(name, &[1], &[1.0]);
        }
        let tensors = Tensors::new(&weights, "bert.", DataType::Float32);
        tensors.get("a").unwrap();
        tensors.skip(|name| name.starts_with("cls."));
        let error = tensors.all_used("bert").unwrap_err().to_string();
        assert!(error.ends_with("does not have: classifier.weight"), "{error}");
        tensors.skip(|name| name == "classifier.weight");
        tensors.all_used("bert").unwrap();
    }

    #[test]
    fn floats_of_8_bits_are_scaled() {
        let mut weights = MemoryWeights::default();
        let mut float8 =
            |name: &str| weights.insert(name, CheckpointDtype::F8E4M3, &[2, 2], vec![0x38, 0x40, 0x44, 0x48]);
        ["one", "rows", "blocks", "wrong", "without"].into_iter().for_each(&mut float8);
        weights.insert_f32("one_scale", &[], &[2.0]);
        weights.insert_f32("rows_scale", &[2, 1], &[2.0, 3.0]);
        weights.insert_f32("blocks_scale_inv", &[2, 1], &[2.0, 3.0]);
        weights.insert_f32("wrong_scale_inv", &[1, 2], &[2.0, 3.0]);
        let quantization = Quantization::of(
            &serde_json::json!({ "quantization_config": { "quant_method": "fp8", "weight_block_size": [1, 128] } }),
        );
        let quantization = quantization.unwrap();
        let tensors = Tensors::new(&weights, "", DataType::Float32);
        assert!(matches!(tensors.get("without"), Err(ArchError::NoScale { .. })));
        let blocks = Tensors::new(&weights, "", DataType::Float32).quantized(Some(&quantization));
        assert!(matches!(blocks.get("without"), Err(ArchError::NoScale { .. })));
        let mut unscaled = MemoryWeights::default();
        unscaled.insert("plain", CheckpointDtype::F8E4M3, &[2, 2], vec![0x38, 0x40, 0x44, 0x48]);
        let plain = Tensors::new(&unscaled, "", DataType::Float32);
        let numbers = |tensors: &Tensors<'_>, name: &str| {
            let bytes = crate::recipe::Evaluator::new(tensors.weights).bytes(&tensors.get(name).unwrap()).unwrap();
            bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<f32>>()
        };
        assert_eq!(numbers(&plain, "plain"), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(numbers(&tensors, "one"), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(numbers(&tensors, "rows"), [2.0, 4.0, 9.0, 12.0]);
        assert_eq!(numbers(&blocks, "blocks"), [2.0, 4.0, 9.0, 12.0]);
        assert!(matches!(tensors.get("wrong"), Err(ArchError::TensorShape { .. })));
        assert!(matches!(blocks.get("wrong"), Err(ArchError::TensorShape { .. })));
        let error = tensors.all_used("x").unwrap_err().to_string();
        assert!(error.contains("blocks, blocks_scale_inv") && !error.contains("one_scale"), "{error}");
    }
}
