//! Input tensors from files, fitted to what a function takes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use super::{ReadOptions, RunError, RunOptions, ValueRange};
use crate::{
    eval::golden::{Case, FitOptions, fit_inputs},
    manifest::release::Interface,
    tensors::{self, PictureOptions},
};

/// The inputs of a function, in the form that it takes. A file's only tensor goes to the function's only input, whatever its name.
pub(super) fn read(
    directory: &Path,
    options: &RunOptions,
    bundle: &str,
    interface: &Interface,
) -> Result<BTreeMap<String, Tensor>, RunError> {
    let mut inputs = given(directory, &options.inputs, &options.names, options.range)?;
    if let ([feature], true) = (interface.inputs.as_slice(), inputs.len() == 1)
        && let Some((_, tensor)) = inputs.pop_first()
    {
        inputs.insert(feature.name.clone(), tensor);
    }
    let case = Case { name: String::new(), inputs, outputs: BTreeMap::new() };
    let fitted = fit_inputs(&case, interface, FitOptions::default());
    Ok(fitted.map_err(|source| RunError::Inputs { bundle: bundle.to_owned(), source })?.inputs)
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
