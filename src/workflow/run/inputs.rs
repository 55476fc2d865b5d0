//! Input tensors from files, fitted to what a function declares.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use super::{ReadOptions, RunError, RunOptions, ValueRange};
use crate::{
    mil::{Function, TensorType, ValueType},
    tensors::{self, PictureOptions},
};

/// The inputs of a function. A file's only tensor goes to the function's only input, whatever its name; pictures and other tensors of rank 4
/// whose channels stand elsewhere are permuted.
pub(super) fn read(directory: &Path, options: &RunOptions, function: &Function) -> Result<BTreeMap<String, Tensor>, RunError> {
    let mut given = given(directory, &options.inputs, &options.names, options.range)?;
    let declared = function.inputs.iter().map(|&id| function.value(id));
    let declared: Vec<(&str, &TensorType)> = declared
        .filter_map(|value| match &value.ty {
            ValueType::Tensor(ty) => Some((value.name.as_str(), ty)),
            _ => None,
        })
        .collect();
    if let ([(name, _)], true) = (declared.as_slice(), given.len() == 1)
        && let Some((_, tensor)) = given.pop_first()
    {
        given.insert((*name).to_owned(), tensor);
    }
    let mut inputs = BTreeMap::new();
    for (name, ty) in declared {
        let missing = || RunError::Missing { name: name.to_owned(), ty: ty.to_string(), given: given.keys().cloned().collect() };
        let tensor = given.get(name).cloned().ok_or_else(missing)?;
        let fitted = fitted(tensor, ty).map_err(|source| RunError::Result { name: name.to_owned(), source })?;
        inputs.insert(name.to_owned(), fitted);
    }
    Ok(inputs)
}

/// The tensors of files, under the names that are meant.
pub(in crate::workflow) fn given(
    directory: &Path,
    files: &[PathBuf],
    names: &BTreeMap<String, String>,
    range: ValueRange,
) -> Result<BTreeMap<String, Tensor>, RunError> {
    let mut given: BTreeMap<String, Tensor> = BTreeMap::new();
    let picture = PictureOptions { range, ..PictureOptions::default() };
    for path in files {
        let tensors = tensors::read(&directory.join(path), &ReadOptions { name: None, picture })?;
        for (name, tensor) in tensors {
            let name = names.get(&name).cloned().unwrap_or(name);
            if given.insert(name.clone(), tensor).is_some() {
                return Err(RunError::Repeated { name, path: path.clone() });
            }
        }
    }
    Ok(given)
}

/// The tensor with its channels where `ty` has them, if that makes it fit.
fn fitted(tensor: Tensor, ty: &TensorType) -> candle_core::Result<Tensor> {
    let Some(shape) = ty.fixed_shape() else { return Ok(tensor) };
    let fits = |dims: &[usize]| dims.iter().map(|&n| n as u64).eq(shape.iter().copied());
    if tensor.rank() != 4 || fits(tensor.dims()) {
        return Ok(tensor);
    }
    for order in [(0, 2, 3, 1), (0, 3, 1, 2)] {
        let permuted = tensor.permute(order)?;
        if fits(permuted.dims()) {
            return permuted.contiguous();
        }
    }
    Ok(tensor)
}
