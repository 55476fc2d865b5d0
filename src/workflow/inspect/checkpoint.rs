//! Checkpoints: which tensors they hold, of which types, in which files. Tensors' data is not read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{InspectError, WeightTotal};
use crate::{
    arch::Quantization,
    checkpoint::{Checkpoint, CheckpointError, TensorInfo},
};

/// How the names of weight files and their indexes end.
const ENDINGS: [&str; 6] = [".safetensors", ".index.json", ".bin", ".pth", ".pt", ".ckpt"];

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointReport {
    /// Where it is.
    pub path: PathBuf,
    /// What its `config.json` calls the model, e.g. `t5` or `AutoencoderTiny`.
    pub model: Option<String>,
    /// How its weights are quantized, where its config says that they are: method and bits.
    pub quantization: Option<String>,
    /// The files that were read.
    pub files: Vec<CheckpointFile>,
    /// Number of elements of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Tensors by element type.
    pub dtypes: BTreeMap<String, WeightTotal>,
    /// Every tensor, by name.
    pub tensors: Vec<CheckpointTensor>,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointTensor {
    /// Its name.
    pub name: String,
    /// Element type, as safetensors writes it.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<u64>,
}

/// Inspects what is at `path`; `None` where that is no checkpoint.
pub(super) fn inspect(path: &Path) -> Result<Option<CheckpointReport>, InspectError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !path.is_dir() && !ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Ok(None);
    }
    match open(path) {
        Err(CheckpointError::NoWeights { .. }) => Ok(None),
        result => Ok(Some(result?)),
    }
}

fn open(path: &Path) -> Result<CheckpointReport, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let names = checkpoint.default_files()?;
    let weights = checkpoint.weights(&names)?;
    let file = |name: String| {
        let path = checkpoint.path(&name);
        let metadata = fs::metadata(&path).map_err(|source| CheckpointError::Io { path, source })?;
        Ok(CheckpointFile { name, bytes: metadata.len() })
    };
    let files = names.into_iter().map(file).collect::<Result<Vec<_>, CheckpointError>>()?;
    let infos = weights.names().filter_map(|name| Some((name, weights.info(name)?)));
    let (mut dtypes, mut tensors) = (BTreeMap::<String, WeightTotal>::new(), Vec::new());
    for (name, TensorInfo { dtype, shape }) in infos {
        let elements = shape.iter().fold(1, |product: u64, &n| product.saturating_mul(n));
        let total = dtypes.entry(dtype.to_string()).or_default();
        total.tensors += 1;
        total.elements = total.elements.saturating_add(elements);
        total.bytes = total.bytes.saturating_add(elements.saturating_mul(dtype.size()));
        tensors.push(CheckpointTensor { name: name.to_owned(), dtype: dtype.to_string(), shape: shape.clone() });
    }
    let sum = |value: fn(&WeightTotal) -> u64| dtypes.values().map(value).fold(0, u64::saturating_add);
    Ok(CheckpointReport {
        path: path.to_owned(),
        model: checkpoint.config().and_then(model),
        quantization: checkpoint.config().and_then(Quantization::of).map(|quantization| quantization.describe()),
        files,
        parameters: sum(|total| total.elements),
        bytes: sum(|total| total.bytes),
        dtypes,
        tensors,
    })
}

/// The model's name in a config of transformers or diffusers.
fn model(config: &serde_json::Value) -> Option<String> {
    let names = [&config["model_type"], &config["_class_name"], &config["architectures"][0]];
    names.into_iter().find_map(|name| name.as_str().map(str::to_owned))
}
