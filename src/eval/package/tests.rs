//! Packages that coremltools made are opened, verified and run; the numbers are those of torch. `fixtures/models/make.py` made both.

use std::{collections::BTreeMap, error::Error, fs, path::Path, path::PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::*;
use crate::{
    base::Target,
    emit::coreml::{Unchecked, encode},
    eval::{Limits, Literals, Mode, States},
    mil::{Argument, Builder, DataType, Literal, TensorType, Value, verify},
    ops,
};

/// Relative to the largest expected number: what float32 sums in another order differ by at most.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    inputs: BTreeMap<String, Array>,
    outputs: BTreeMap<String, Array>,
}

#[derive(Deserialize)]
struct Array {
    dtype: String,
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    fn tensor(&self) -> Tensor {
        let tensor = Tensor::from_vec(self.data.clone(), self.shape.as_slice(), &Device::Cpu).unwrap();
        tensor.to_dtype(if self.dtype == "int32" { DType::I64 } else { DType::F32 }).unwrap()
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Packages of a folder of fixtures, sorted.
fn packages(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "mlpackage")).collect();
    paths.sort();
    paths
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// The largest difference relative to the largest expected number.
fn distance(actual: &Tensor, expected: &Array) -> f64 {
    let actual: Vec<f64> = actual.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(actual.len(), expected.data.len(), "number of elements");
    let largest = expected.data.iter().fold(1e-3f64, |most, v| most.max(v.abs()));
    // A NaN on either side stays one.
    actual
        .iter()
        .zip(&expected.data)
        .map(|(a, e)| (a - e).abs() / largest)
        .fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst })
}

/// Runs all runs of a model and gives the largest distance.
fn worst(path: &Path, mode: Mode) -> f64 {
    let name = path.file_stem().unwrap().to_string_lossy();
    let golden = fs::read_to_string(path.with_extension("json")).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let package = Package::open(path).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    verify(package.program(), ops::find).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    let mut states = States::default();
    let mut worst: f64 = 0.0;
    for (i, run) in golden.runs.iter().enumerate() {
        let inputs = run.inputs.iter().map(|(name, array)| (name.clone(), array.tensor())).collect();
        let outputs = package.interpreter(ops::OPERATORS).run_with_states(None, inputs, &mut states, mode);
        let outputs = outputs.unwrap_or_else(|error| panic!("{name}, run {i}: {}", chain(&error)));
        assert_eq!(outputs.keys().collect::<Vec<_>>(), run.outputs.keys().collect::<Vec<_>>(), "{name}");
        for (output, expected) in &run.outputs {
            let found = distance(&outputs[output], expected);
            assert!(mode == Mode::Declared || found <= TOLERANCE, "{name}, run {i}: `{output}` is {found} away, at most {TOLERANCE}");
            worst = if found > worst || found.is_nan() { found } else { worst };
        }
    }
    worst
}

#[test]
fn models_compute_what_torch_computes() {
    let paths = packages("models");
    assert!(paths.len() >= 30, "the fixtures are there");
    for path in &paths {
        worst(path, Mode::Float32);
    }
}

#[test]
fn half_precision_stays_near() {
    // Float16 has 11 bits; the small networks here lose a few of them.
    for path in packages("models").iter().filter(|path| !path.ends_with("control_ios16.mlpackage")) {
        let found = worst(path, Mode::Declared);
        assert!(found < 0.02, "{}: {found}", path.display());
    }
}

#[test]
fn packages_of_the_round_trips_are_valid() {
    for path in packages("packages") {
        let package = Package::open(&path).unwrap_or_else(|error| panic!("{}: {}", path.display(), chain(&error)));
        verify(package.program(), ops::find).unwrap_or_else(|error| panic!("{}: {}", path.display(), chain(&error)));
    }
}

/// A weight of 2 x 2 that is made of the arguments of `kind`, and what it is times (1, 1).
fn built(target: Target, kind: &str, arguments: &[(&str, Argument)]) -> (Program, Vec<f32>) {
    let mut builder = Builder::new(ops::find, target);
    let x = builder.input("x", TensorType::new(DataType::Float32, &[1, 2]));
    let weight = builder.op1(kind, "weight", arguments).unwrap();
    let y = builder.op1("linear", "y", &[("x", x.into()), ("weight", weight.into())]).unwrap();
    let functions = BTreeMap::from([("main".to_owned(), builder.finish(&[("y", y)]).unwrap())]);
    let program = Program { target, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
    let bytes = encode(&program, &ModelMetadata::default(), &Unchecked).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let (read, _) = decode(bytes.into(), &Unchecked).unwrap();
    assert_eq!(read, program);
    verify(&read, ops::find).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let x = BTreeMap::from([("x".to_owned(), Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap())]);
    let outputs = Interpreter::new(&read, ops::OPERATORS, &Literals).run(None, x, Mode::Float32).unwrap();
    (read, outputs["y"].flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn built_compression_is_written_in_the_form_of_its_target() {
    let int8 =
        |shape: &[u64], values: &[i64]| Value::Tensor(Recipe::literal(DataType::Int8, shape, Literal::Ints(values.to_vec())).unwrap());
    let floats =
        |shape: &[u64], values: &[f32]| Value::Tensor(Recipe::literal(DataType::Float32, shape, Literal::Floats(values.to_vec())).unwrap());
    let data = int8(&[2, 2], &[1, 2, 3, -4]);
    let arguments = [
        ("quantized_data", data.clone().into()),
        ("zero_point", int8(&[], &[1]).into()),
        ("scale", floats(&[2], &[0.5, 2.0]).into()),
        ("axis", 0.into()),
    ];
    for target in [Target::Ios16, Target::Ios18] {
        let (program, y) = built(target, "constexpr_affine_dequantize", &arguments);
        assert_eq!(y, [0.5, -6.0]);
        let operation = program.functions["main"].operations().find(|operation| operation.kind.starts_with("constexpr_")).unwrap();
        assert!(operation.inputs.is_empty() && operation.attributes.len() == 4, "attributes at {target}");
    }
    let arguments = [("data", data.into()), ("scale", floats(&[2, 1], &[0.5, 2.0]).into())];
    let (program, y) = built(Target::Ios18, "constexpr_blockwise_shift_scale", &arguments);
    assert_eq!(y, [1.5, -2.0]);
    let operation = program.functions["main"].operations().find(|operation| operation.kind.starts_with("constexpr_")).unwrap();
    assert!(operation.attributes.is_empty() && operation.inputs.len() == 2, "inputs at iOS18");
}

#[test]
fn a_run_stays_within_its_limits() {
    let package = Package::open(&folder("models/control_ios16.mlpackage")).unwrap();
    let run = |turns: i64, limits: Limits| {
        let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
        let inputs = BTreeMap::from([("x".to_owned(), x), ("n".to_owned(), Tensor::new(&[turns], &Device::Cpu).unwrap())]);
        chain(&package.interpreter(ops::OPERATORS).limited(limits).run(None, inputs, Mode::Float32).unwrap_err())
    };
    let error = run(1_000_000, Limits { operations: 500, ..Limits::default() });
    assert!(error.ends_with("more than 500 operations: a loop does not end"), "{error}");
    let error = run(1, Limits { elements: 5, ..Limits::default() });
    assert!(error.ends_with("list<tensor<fp32, [2, 3]>, 2> has more than 5 elements"), "{error}");
}

#[test]
fn random_numbers_are_refused_with_their_place() {
    let mut builder = Builder::new(ops::find, Target::Ios15);
    let x = builder.input("x", TensorType::new(DataType::Float32, &[2]));
    let noise = builder.op1("random_normal", "noise", &[("shape", [2].into())]).unwrap();
    let y = builder.add("y", x, noise).unwrap();
    let functions = BTreeMap::from([("main".to_owned(), builder.finish(&[("y", y)]).unwrap())]);
    let program = Program { target: Target::Ios15, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
    verify(&program, ops::find).unwrap();
    let x = BTreeMap::from([("x".to_owned(), Tensor::ones(2, DType::F32, &Device::Cpu).unwrap())]);
    let error = chain(&Interpreter::new(&program, ops::OPERATORS, &Literals).run(None, x, Mode::Float32).unwrap_err());
    assert!(error.starts_with("main: operation #") && error.contains("`noise` (random_normal)"), "{error}");
    assert!(error.ends_with("its numbers come from the random generator of the device"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let missing = Package::open(&folder("models/nothing.mlpackage")).unwrap_err();
    assert!(matches!(&missing, PackageError::Io { path, .. } if path.ends_with("nothing.mlpackage")), "{missing}");
    let empty = tempfile::tempdir().unwrap();
    let missing = Package::open(empty.path()).unwrap_err();
    assert!(matches!(&missing, PackageError::Io { path, .. } if path.ends_with("Manifest.json")), "{missing}");
    let copy = tempfile::tempdir().unwrap();
    let source = folder("models/int8_ios16.mlpackage");
    let model = "Data/com.apple.CoreML/model.mlmodel";
    fs::create_dir_all(copy.path().join(model).parent().unwrap()).unwrap();
    for file in ["Manifest.json", model] {
        fs::copy(source.join(file), copy.path().join(file)).unwrap();
    }
    let error = chain(&Package::open(copy.path()).unwrap_err());
    assert!(error.ends_with("there is no weight file `@model_path/weights/weight.bin`"), "{error}");
}
