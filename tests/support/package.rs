//! Runs packages from disk in the interpreter.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use mlreg::{checkpoint::Checkpoint, emit::coreml::Package, eval::Mode, ops};

/// What the package gives for these inputs; its types are inferred again first.
pub fn run(path: &Path, inputs: BTreeMap<String, Tensor>, mode: Mode) -> BTreeMap<String, Tensor> {
    let package = Package::open(path).unwrap();
    mlreg::mil::verify(package.program(), ops::find).unwrap();
    package.interpreter(ops::OPERATORS).run(None, inputs, mode).unwrap()
}

/// A file of float32 tensors.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let weights = checkpoint.weights(checkpoint.weight_files()).unwrap();
    let tensor = |name: &str| {
        let shape: Vec<usize> = weights.info(name).unwrap().shape.iter().map(|&n| n as usize).collect();
        let data = weights.data(name).unwrap();
        let values: Vec<f32> = data.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    weights.names().map(|name| (name.to_owned(), tensor(name))).collect()
}

/// The project's fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
