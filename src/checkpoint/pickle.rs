//! torch's zip + pickle files (`.pth`, `.pt`, `.bin`, `.ckpt`), through candle's restricted reader: it interprets the few opcodes and classes
//! that tensors need and runs no code. Tensors are read when they are asked for.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use candle_core::{DType, Tensor, pickle::PthTensors};

use super::{CheckpointDtype, CheckpointError, TensorInfo, Weights};

/// Where training scripts put the state dict, if not at the top.
const KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "params"];

/// A torch file.
pub(super) struct Pickle {
    path: PathBuf,
    file: PthTensors,
    tensors: BTreeMap<String, TensorInfo>,
}

impl fmt::Debug for Pickle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pickle").field("path", &self.path).field("tensors", &self.tensors.len()).finish()
    }
}

impl Pickle {
    /// Reads the names and types of the file's tensors.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let length = std::fs::metadata(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?.len();
        for key in std::iter::once(None).chain(KEYS.map(Some)) {
            let opened = guarded(path, || PthTensors::new(path, key));
            let file = match (opened, key) {
                (Ok(file), _) => file,
                (Err(error), None) => return Err(error),
                (Err(_), Some(_)) => continue,
            };
            let tensors = tensors(path, &file, length)?;
            if !tensors.is_empty() {
                return Ok(Self { path: path.to_owned(), file, tensors });
            }
        }
        Err(CheckpointError::NoStateDict { path: path.to_owned(), keys: KEYS.to_vec() })
    }
}

/// Runs a part of candle's reader. It indexes into hostile argument lists without looking, so its panics become errors here.
fn guarded<T>(path: &Path, read: impl FnOnce() -> candle_core::Result<T>) -> Result<T, CheckpointError> {
    let result = catch_unwind(AssertUnwindSafe(read));
    let result = result.unwrap_or_else(|_| Err(candle_core::Error::Msg("the pickle is damaged".to_owned())));
    result.map_err(|source| CheckpointError::Pickle { path: path.to_owned(), source })
}

/// Types of the tensors whose bytes can be in a file of `length` bytes: torch stores them uncompressed.
fn tensors(path: &Path, file: &PthTensors, length: u64) -> Result<BTreeMap<String, TensorInfo>, CheckpointError> {
    let refuse = |name: &str, why: &str| CheckpointError::Pickle {
        path: path.to_owned(),
        source: candle_core::Error::Msg(format!("tensor `{name}` {why}")),
    };
    let mut found = BTreeMap::new();
    for (name, tensor) in file.tensor_infos() {
        let dtype = dtype(tensor.dtype).ok_or_else(|| refuse(name, &format!("has the dtype {:?}", tensor.dtype)))?;
        let info = TensorInfo { dtype, shape: tensor.layout.dims().iter().map(|&n| n as u64).collect() };
        if info.bytes().is_none_or(|bytes| bytes > length) {
            return Err(refuse(name, "claims more bytes than the file has"));
        }
        found.insert(name.clone(), info);
    }
    Ok(found)
}

fn dtype(dtype: DType) -> Option<CheckpointDtype> {
    Some(match dtype {
        DType::U8 => CheckpointDtype::U8,
        DType::U32 => CheckpointDtype::U32,
        DType::I16 => CheckpointDtype::I16,
        DType::I32 => CheckpointDtype::I32,
        DType::I64 => CheckpointDtype::I64,
        DType::BF16 => CheckpointDtype::BF16,
        DType::F16 => CheckpointDtype::F16,
        DType::F32 => CheckpointDtype::F32,
        DType::F64 => CheckpointDtype::F64,
        _ => return None,
    })
}

impl Weights for Pickle {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let missing = || CheckpointError::NoTensor { name: name.to_owned() };
        let tensor = guarded(&self.path, || self.file.get(name))?.ok_or_else(missing)?;
        let bytes = guarded(&self.path, || bytes(&tensor))?;
        Ok(Cow::Owned(bytes))
    }
}

fn bytes(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    macro_rules! collect {
        ($type:ty) => {
            flat.to_vec1::<$type>()?.into_iter().flat_map(<$type>::to_le_bytes).collect()
        };
    }
    Ok(match tensor.dtype() {
        DType::U8 => flat.to_vec1::<u8>()?,
        DType::U32 => collect!(u32),
        DType::I16 => collect!(i16),
        DType::I32 => collect!(i32),
        DType::I64 => collect!(i64),
        DType::BF16 => collect!(half::bf16),
        DType::F16 => collect!(half::f16),
        DType::F32 => collect!(f32),
        DType::F64 => collect!(f64),
        other => return Err(candle_core::Error::Msg(format!("dtype {other:?}"))),
    })
}
