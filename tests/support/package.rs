//! Runs packages from disk in the interpreter.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{Device, Tensor};
use mlreg::{
    checkpoint::Checkpoint,
    emit::coreml::{blob::record_at, decode},
    eval::{ConstantSource, Interpreter, Mode, SourceError},
    mil::{Program, Recipe, RecipeKind},
    ops,
};

/// A package read from disk, verified.
#[derive(Debug)]
pub struct Package {
    pub program: Program,
    weights: BTreeMap<String, Vec<u8>>,
}

impl ConstantSource for Package {
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError> {
        let RecipeKind::Blob { file, offset } = recipe.kind() else { return Err("neither a literal nor in a weight file".into()) };
        let bytes = self.weights.get(file).ok_or("no such weight file")?;
        let record = record_at(std::io::Cursor::new(bytes), *offset)?;
        let (begin, end) = (record.data.offset() as usize, record.data.end() as usize);
        Ok(Cow::Borrowed(&bytes[begin..end]))
    }
}

impl Package {
    pub fn open(path: &Path) -> Self {
        let data = path.join("Data/com.apple.CoreML");
        let weights = fs::read(data.join("weights/weight.bin")).unwrap();
        let weights = BTreeMap::from([("@model_path/weights/weight.bin".to_owned(), weights)]);
        let (program, _) = decode(fs::read(data.join("model.mlmodel")).unwrap().into(), &weights).unwrap();
        mlreg::mil::verify(&program, ops::find).unwrap();
        Self { program, weights }
    }

    pub fn run(&self, inputs: BTreeMap<String, Tensor>, mode: Mode) -> BTreeMap<String, Tensor> {
        Interpreter::new(&self.program, ops::OPERATORS, self).run(None, inputs, mode).unwrap()
    }
}

/// A file of float32 tensors.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let weights: Arc<_> = checkpoint.weights(checkpoint.weight_files()).unwrap();
    let tensor = |name: &str| {
        let shape: Vec<usize> = weights.info(name).unwrap().shape.iter().map(|&n| n as usize).collect();
        let values: Vec<f32> = weights.data(name).unwrap().as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    weights.names().map(|name| (name.to_owned(), tensor(name))).collect()
}

/// The project's fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
