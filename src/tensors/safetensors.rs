//! `.safetensors`: read as checkpoints are, written with tensors in the order of the reference library: widest elements
//! first, then by name, so that every tensor is aligned to its elements. Format:
//! <https://huggingface.co/docs/safetensors>.

use std::{collections::BTreeMap, io::Write, path::Path};

use candle_core::Tensor;
use serde_json::json;

use super::{ElementProblem, TensorFileError, elements};
use crate::{
    checkpoint::{Checkpoint, CheckpointDtype, CheckpointError},
    mil::DataType,
};

/// The entry of the header that is no tensor.
pub(super) const METADATA: &str = "__metadata__";

const DTYPES: [CheckpointDtype; 15] = [
    CheckpointDtype::Bool,
    CheckpointDtype::U8,
    CheckpointDtype::I8,
    CheckpointDtype::U16,
    CheckpointDtype::I16,
    CheckpointDtype::U32,
    CheckpointDtype::I32,
    CheckpointDtype::U64,
    CheckpointDtype::I64,
    CheckpointDtype::F8E4M3,
    CheckpointDtype::F8E5M2,
    CheckpointDtype::F16,
    CheckpointDtype::BF16,
    CheckpointDtype::F32,
    CheckpointDtype::F64,
];

pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, TensorFileError> {
    let checkpoint = Checkpoint::open(path)?;
    let weights = checkpoint.weights(checkpoint.weight_files())?;
    let mut tensors = BTreeMap::new();
    for name in weights.names() {
        let info = weights.info(name).ok_or_else(|| CheckpointError::NoTensor { name: name.to_owned() })?;
        let tensor = elements::tensor(info.dtype.into(), &info.shape, &weights.data(name)?);
        let tensor = tensor.map_err(|problem| TensorFileError::Tensor {
            path: path.to_owned(),
            name: name.to_owned(),
            problem,
        })?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

pub(super) fn write(
    path: &Path,
    file: &mut dyn Write,
    tensors: &[(&str, &Tensor, DataType)],
) -> Result<(), TensorFileError> {
    let mut typed = Vec::with_capacity(tensors.len());
    for &(name, tensor, dtype) in tensors {
        let stored = stored(dtype).ok_or(ElementProblem::DataType { dtype });
        let stored = stored.map_err(|problem| TensorFileError::Tensor {
            path: path.to_owned(),
            name: name.to_owned(),
            problem,
        })?;
        typed.push((name, tensor, stored));
    }
    typed.sort_by_key(|&(name, _, dtype)| (std::cmp::Reverse(dtype.size()), name));
    let header = header(&typed);
    let io = |source| TensorFileError::Io { path: path.to_owned(), source };
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(&header).map_err(io)?;
    for (name, tensor, dtype) in typed {
        elements::write(tensor, dtype.into(), file).map_err(|failure| failure.at(path, name))?;
    }
    Ok(())
}

/// The stored type of an element type.
fn stored(dtype: DataType) -> Option<CheckpointDtype> {
    let dtype = elements::whole_bytes(dtype)?;
    DTYPES.into_iter().find(|&stored| DataType::from(stored) == dtype)
}

/// The header of tensors in their order, padded so that the data behind it is aligned to eight bytes.
fn header(tensors: &[(&str, &Tensor, CheckpointDtype)]) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    let mut begin = 0u64;
    for &(name, tensor, dtype) in tensors {
        let end = begin + tensor.elem_count() as u64 * dtype.size();
        entries.insert(
            name.to_owned(),
            json!({ "dtype": dtype.name(), "shape": tensor.dims(), "data_offsets": [begin, end] }),
        );
        begin = end;
    }
    let mut header = serde_json::Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}
