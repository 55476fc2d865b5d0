//! Tensors by name, wherever they lie.

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Range};

use super::CheckpointError;
use crate::types::DataType;

/// Element types of stored tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CheckpointDtype {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F8E4M3,
    F8E5M2,
    F16,
    BF16,
    F32,
    F64,
}

/// Names as safetensors writes them.
const NAMES: [(CheckpointDtype, &str, u64); 15] = [
    (CheckpointDtype::Bool, "BOOL", 1),
    (CheckpointDtype::U8, "U8", 1),
    (CheckpointDtype::I8, "I8", 1),
    (CheckpointDtype::U16, "U16", 2),
    (CheckpointDtype::I16, "I16", 2),
    (CheckpointDtype::U32, "U32", 4),
    (CheckpointDtype::I32, "I32", 4),
    (CheckpointDtype::U64, "U64", 8),
    (CheckpointDtype::I64, "I64", 8),
    (CheckpointDtype::F8E4M3, "F8_E4M3", 1),
    (CheckpointDtype::F8E5M2, "F8_E5M2", 1),
    (CheckpointDtype::F16, "F16", 2),
    (CheckpointDtype::BF16, "BF16", 2),
    (CheckpointDtype::F32, "F32", 4),
    (CheckpointDtype::F64, "F64", 8),
];

impl CheckpointDtype {
    /// The dtype that safetensors writes so.
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, n, _)| *n == name).map(|(dtype, ..)| *dtype)
    }

    /// Its name in safetensors.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// Bytes of one element.
    pub fn size(self) -> u64 {
        NAMES[self as usize].2
    }
}

impl fmt::Display for CheckpointDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<CheckpointDtype> for DataType {
    fn from(dtype: CheckpointDtype) -> Self {
        match dtype {
            CheckpointDtype::Bool => Self::Bool,
            CheckpointDtype::U8 => Self::UInt8,
            CheckpointDtype::I8 => Self::Int8,
            CheckpointDtype::U16 => Self::UInt16,
            CheckpointDtype::I16 => Self::Int16,
            CheckpointDtype::U32 => Self::UInt32,
            CheckpointDtype::I32 => Self::Int32,
            CheckpointDtype::U64 => Self::UInt64,
            CheckpointDtype::I64 => Self::Int64,
            CheckpointDtype::F8E4M3 => Self::Float8E4M3FN,
            CheckpointDtype::F8E5M2 => Self::Float8E5M2,
            CheckpointDtype::F16 => Self::Float16,
            CheckpointDtype::BF16 => Self::BFloat16,
            CheckpointDtype::F32 => Self::Float32,
            CheckpointDtype::F64 => Self::Float64,
        }
    }
}

/// What is known of a tensor without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: CheckpointDtype,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
}

impl TensorInfo {
    /// Length of the data in bytes; `None` on overflow.
    pub fn bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(self.dtype.size(), |product, &n| product.checked_mul(n))
    }
}

/// Tensors by name.
pub trait Weights: fmt::Debug + Send + Sync {
    /// Every name, sorted.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// Dtype and shape of a tensor.
    fn info(&self, name: &str) -> Option<&TensorInfo>;

    /// A tensor's data: little-endian, row-major, exactly [`TensorInfo::bytes`] long. Borrowed from the mapped file
    /// where there is one.
    ///
    /// # Errors
    /// When there is no such tensor, or it cannot be read.
    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError>;

    /// Says that these bytes of a tensor's data are not needed soon. A hint: they can still be read.
    fn release(&self, _name: &str, _bytes: Range<u64>) {}
}

/// Tensors in memory, for tests.
#[derive(Debug, Clone, Default)]
pub struct MemoryWeights {
    tensors: BTreeMap<String, (TensorInfo, Vec<u8>)>,
}

impl MemoryWeights {
    /// Adds a tensor.
    ///
    /// # Panics
    /// When the data is not as long as dtype and shape need.
    pub fn insert(&mut self, name: &str, dtype: CheckpointDtype, shape: &[u64], data: Vec<u8>) {
        let info = TensorInfo { dtype, shape: shape.to_vec() };
        assert_eq!(info.bytes(), Some(data.len() as u64), "data of `{name}`");
        self.tensors.insert(name.to_owned(), (info, data));
    }

    /// Adds a float32 tensor.
    pub fn insert_f32(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        self.insert(name, CheckpointDtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect());
    }
}

impl Weights for MemoryWeights {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let (_, data) = self.tensors.get(name).ok_or_else(|| CheckpointError::NoTensor { name: name.to_owned() })?;
        Ok(Cow::Borrowed(data))
    }
}
