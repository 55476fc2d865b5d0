//! Packages that coremltools made are opened, verified and run; the numbers are those of torch.
//! `fixtures/models/make.py` made both.

use std::{collections::BTreeMap, error::Error, fs, path::Path, path::PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::*;
use crate::{
    base::Target,
    emit::coreml::{Unchecked, decode, encode},
    eval::{Interpreter, Limits, Mode, States},
    mil::{Argument, Builder, DataType, Literal, TensorType, Value, verify},
    ops,
    recipe::Literals,
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
            assert!(
                mode == Mode::Declared || found <= TOLERANCE,
                "{name}, run {i}: `{output}` is {found} away, at most {TOLERANCE}"
            );
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
    let program =
        Program { target, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() };
    let bytes =
        encode(&program, &ModelMetadata::default(), &Unchecked).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let (read, _) = decode(bytes.into(), &Unchecked).unwrap();
    assert_eq!(read, program);
    verify(&read, ops::find).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let x = BTreeMap::from([("x".to_owned(), Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap())]);
    let outputs = Interpreter::new(&read, ops::OPERATORS, &Literals).run(None, x, Mode::Float32).unwrap();
    (read, outputs["y"].flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn built_compression_is_written_in_the_form_of_its_target() {
    let int8 = |shape: &[u64], values: &[i64]| {
        Value::Tensor(Recipe::literal(DataType::Int8, shape, Literal::Ints(values.to_vec())).unwrap())
    };
    let floats = |shape: &[u64], values: &[f32]| {
        Value::Tensor(Recipe::literal(DataType::Float32, shape, Literal::Floats(values.to_vec())).unwrap())
    };
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
        let operation =
            program.functions["main"].operations().find(|operation| operation.kind.starts_with("constexpr_")).unwrap();
        assert!(operation.inputs.is_empty() && operation.attributes.len() == 4, "attributes at {target}");
    }
    let arguments = [("data", data.into()), ("scale", floats(&[2, 1], &[0.5, 2.0]).into())];
    let (program, y) = built(Target::Ios18, "constexpr_blockwise_shift_scale", &arguments);
    assert_eq!(y, [1.5, -2.0]);
    let operation =
        program.functions["main"].operations().find(|operation| operation.kind.starts_with("constexpr_")).unwrap();
    assert!(operation.attributes.is_empty() && operation.inputs.len() == 2, "inputs at iOS18");
}

#[test]
fn a_run_stays_within_its_limits() {
    let package = Package::open(&folder("models/control_ios16.mlpackage")).unwrap();
    let run = |turns: i64, limits: Limits| {
        let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
        let inputs =
            BTreeMap::from([("x".to_owned(), x), ("n".to_owned(), Tensor::new(&[turns], &Device::Cpu).unwrap())]);
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
    let program = Program {
        target: Target::Ios15,
        functions,
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    };
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

/// Tensors of a file of `fixtures/foreign`.
fn foreign(file: &str) -> BTreeMap<String, Tensor> {
    crate::tensors::read(&folder("foreign").join(file), &crate::tensors::ReadOptions::default()).unwrap()
}

fn only(file: &str) -> Tensor {
    foreign(file).into_values().next().unwrap()
}

fn package(name: &str) -> Package {
    let path = folder("foreign").join(name).with_extension("mlpackage");
    let package = Package::open(&path).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    for (_, program) in package.model().programs() {
        verify(program, ops::find).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    }
    package
}

fn run_foreign(name: &str, inputs: &[(&str, Tensor)]) -> Result<BTreeMap<String, Tensor>, String> {
    let inputs = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    package(name).interpreter(ops::OPERATORS).run(None, inputs, Mode::Declared).map_err(|error| chain(&error))
}

#[track_caller]
fn assert_near(found: &Tensor, expected: &Tensor, most: f32) {
    assert_eq!(found.dims(), expected.dims());
    let values =
        |tensor: &Tensor| tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let worst = values(found).iter().zip(values(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= most, "{worst} is more than {most}");
}

#[test]
fn packages_with_garbage_in_their_weight_records_are_run() {
    let golden = foreign("old_records.safetensors");
    let outputs = run_foreign("old_records", &[("x", golden["case0.in.x"].clone())]).unwrap();
    assert_near(&outputs["y"], &golden["case0.out.y"], 1e-4);
}

#[test]
fn lists_are_settled_by_what_is_written_first() {
    let outputs = run_foreign("list", &[("x", only("list_x.npy"))]).unwrap();
    assert_near(&outputs["y"], &only("list_y.npy"), 0.0);
    let outputs = run_foreign("loop", &[("x", only("loop.npz"))]).unwrap();
    assert_near(&outputs["y"], &only("loop_y.npy"), 1e-6);
    let error =
        run_foreign("unwritten", &[("x", Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap())]).unwrap_err();
    assert!(error.starts_with("main: operation #") && error.contains("(list_read)"), "{error}");
    assert!(error.ends_with("element 2 of a list of 3 was never written"), "{error}");
}

#[test]
fn lists_hold_one_shape_and_bounded_many_elements() {
    let mut builder = Builder::new(ops::find, Target::Ios16);
    let x = builder.input("x", TensorType::new(DataType::Float32, &[2]));
    let z = builder.input("z", TensorType::new(DataType::Float32, &[3]));
    let index = builder.input("index", TensorType::new(DataType::Int32, &[]));
    let shape = builder.constant("shape", Value::string("b0"));
    let list =
        builder.op1("make_list", "list", &[("elem_shape", vec![shape].into()), ("init_length", 1.into())]).unwrap();
    let first =
        builder.op1("list_write", "first", &[("ls", list.into()), ("index", 0.into()), ("value", x.into())]).unwrap();
    let second = builder
        .op1("list_write", "second", &[("ls", first.into()), ("index", index.into()), ("value", x.into())])
        .unwrap();
    let third =
        builder.op1("list_write", "third", &[("ls", second.into()), ("index", 0.into()), ("value", z.into())]).unwrap();
    let length = builder.op1("list_length", "length", &[("ls", third.into())]).unwrap();
    let functions = BTreeMap::from([("main".to_owned(), builder.finish(&[("length", length)]).unwrap())]);
    let program = Program {
        target: Target::Ios16,
        functions,
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    };
    let run = |index: i64| {
        let zeros = |n: usize| Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap();
        let index = Tensor::new(index, &Device::Cpu).unwrap();
        let inputs =
            [("x", zeros(2)), ("z", zeros(3)), ("index", index)].map(|(name, tensor)| (name.to_owned(), tensor));
        chain(
            &Interpreter::new(&program, ops::OPERATORS, &Literals).run(None, inputs.into(), Mode::Float32).unwrap_err(),
        )
    };
    let error = run(1);
    assert!(
        error.contains("`third` (list_write)")
            && error.ends_with("expected tensor<fp32, [2]>, found tensor<fp32, [3]>"),
        "{error}"
    );
    let error = run(1 << 30);
    assert!(
        error.contains("`second` (list_write)") && error.ends_with("index 1073741824 is outside of 1 elements"),
        "{error}"
    );
}

#[test]
fn optional_inputs_that_are_left_out_hold_their_defaults() {
    let x = foreign("gain_x.npz").remove("x").unwrap();
    assert_near(&run_foreign("gain", &[("x", x.clone())]).unwrap()["y"], &only("gain_y.npy"), 1e-6);
    let twice = x.affine(2.0, 0.0).unwrap();
    let given = x.ones_like().unwrap().affine(2.0, 0.0).unwrap();
    assert_near(&run_foreign("gain", &[("x", x), ("gain", given)]).unwrap()["y"], &twice, 1e-6);
    let x = only("defaults_x.npy");
    assert_near(&run_foreign("defaults", &[("x", x.clone())]).unwrap()["y"], &only("defaults_y.npy"), 1e-5);
    let count = Tensor::new(&[1i64], &Device::Cpu).unwrap();
    let expected = x.affine(2.0, 2.5).unwrap();
    assert_near(&run_foreign("defaults", &[("x", x.clone()), ("count", count)]).unwrap()["y"], &expected, 1e-5);
    let error = run_foreign("no_default", &[("x", x)]).unwrap_err();
    assert_eq!(
        error,
        "main: input `half` is left out, it is optional but has no default: expected tensor<fp16, [2, 3]>"
    );
    let interface = package("defaults").interface(None).unwrap().clone();
    let shown: Vec<String> = interface.inputs.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["x float32[2,3]", "half? float16[2,3] = 0.25", "count? int32[1] = -3", "number? float32[1] = 2"]
    );
}

#[test]
fn parts_of_pipelines_hand_their_results_on() {
    let golden = foreign("two.safetensors");
    let outputs = run_foreign("two", &[("x", golden["case0.in.x"].clone())]).unwrap();
    assert_near(&outputs["y"], &golden["case0.out.y"], 1e-5);
    let outputs = run_foreign("nested", &[("x", only("nested_x.npy"))]).unwrap();
    assert_near(&outputs["y"], &only("nested_y.npy"), 1e-5);
    let places: Vec<String> = package("nested").model().programs().into_iter().map(|(place, _)| place).collect();
    assert_eq!(places.len(), 3);
    assert!(places[1].starts_with("part 1") && places[1].contains(", part 2"), "{places:?}");
    let error = run_foreign("two", &[("x", Tensor::zeros((1, 15), DType::F32, &Device::Cpu).unwrap())]).unwrap_err();
    assert!(error.starts_with("part 1") && error.contains("main: input `x` is F32 [1, 15]"), "{error}");
    let error = run_foreign("two", &[]).unwrap_err();
    assert_eq!(error, "main: input `x` is missing: expected x float32[1,16]");
}

/// The pipeline `two` with other parts, opened.
fn changed_pipeline(
    change: impl FnOnce(&mut crate::proto::coreml::Pipeline, &mut crate::proto::coreml::Model),
) -> Result<Package, String> {
    use prost::Message;

    use crate::proto::coreml::{Model, Pipeline, model::Type};
    let copy = tempfile::tempdir().unwrap();
    let data = "Data/com.apple.CoreML";
    fs::create_dir_all(copy.path().join(data).join("weights")).unwrap();
    for file in
        ["Manifest.json", "Data/com.apple.CoreML/weights/0-weight.bin", "Data/com.apple.CoreML/weights/1-weight.bin"]
    {
        fs::copy(folder("foreign/two.mlpackage").join(file), copy.path().join(file)).unwrap();
    }
    let bytes = fs::read(folder("foreign/two.mlpackage").join(data).join("model.mlmodel")).unwrap();
    let mut model = Model::decode(&bytes[..]).unwrap();
    let Some(Type::Pipeline(inner)) = model.r#type.clone() else { panic!("a pipeline") };
    let mut pipeline = Pipeline::decode(inner).unwrap();
    change(&mut pipeline, &mut model);
    model.r#type = Some(match model.r#type {
        Some(Type::PipelineClassifier(_)) => Type::PipelineClassifier(
            crate::proto::coreml::PipelineClassifier { pipeline: Some(pipeline) }.encode_to_vec().into(),
        ),
        _ => Type::Pipeline(pipeline.encode_to_vec().into()),
    });
    fs::write(copy.path().join(data).join("model.mlmodel"), model.encode_to_vec()).unwrap();
    Package::open(copy.path()).map_err(|error| chain(&error))
}

#[test]
fn parts_that_cannot_be_run_are_named() {
    use prost::Message;

    use crate::proto::coreml::{Model, model::Type};
    let error = changed_pipeline(|pipeline, _| {
        let nms = Model {
            specification_version: 7,
            r#type: Some(Type::NonMaximumSuppression(Bytes::new())),
            ..Default::default()
        };
        pipeline.models[1] = nms.encode_to_vec().into();
        pipeline.names = vec!["net".to_owned(), "nms".to_owned()];
    });
    let error = error.unwrap_err();
    assert!(
        error.ends_with("part 2, \"nms\", is of the type nonMaximumSuppression: expected an ML Program"),
        "{error}"
    );
    let error = changed_pipeline(|pipeline, _| {
        pipeline.models.swap(0, 1);
        pipeline.names.clear();
    });
    let error = error.unwrap_err();
    assert!(
        error.contains("part 1 takes `")
            && error.contains("no input of the pipeline and no output of a part before it"),
        "{error}"
    );
    let error =
        changed_pipeline(|_, model| model.description.as_mut().unwrap().output[0].name = "z".to_owned()).unwrap_err();
    assert!(error.ends_with("the pipeline gives `z`, which no part gives"), "{error}");
    let classifier = changed_pipeline(|_, model| model.r#type = Some(Type::PipelineClassifier(Bytes::new()))).unwrap();
    assert_eq!(classifier.model().programs().len(), 2, "as far as its parts are programs");
}

#[test]
fn images_have_the_shape_of_the_program_and_a_color_space() {
    let said = |name: &str| {
        let interface = package(name).interface(None).unwrap().clone();
        [&interface.inputs[0], &interface.outputs[0]].map(|feature| (feature.shape.clone(), feature.color.clone()))
    };
    let image = |shape: &[u64], color: &str| (shape.to_vec(), Some(color.to_owned()));
    assert_eq!(said("negative_bgr"), [image(&[1, 3, 12, 20], "BGR"), image(&[1, 3, 12, 20], "BGR")]);
    assert_eq!(said("grey"), [image(&[1, 1, 4, 6], "GRAYSCALE"), image(&[1, 1, 4, 6], "GRAYSCALE")]);
    assert_eq!(said("grey_half")[0], image(&[1, 1, 4, 6], "GRAYSCALE_FLOAT16"));
    let sizes = package("sizes").interface(None).unwrap().inputs[0].clone();
    assert_eq!(sizes.ranges.unwrap(), [(1, Some(1)), (3, Some(3)), (2, Some(16)), (4, Some(16))]);
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_not_walked_for_ever() {
    use std::os::unix::fs::symlink;
    let scratch = tempfile::tempdir().unwrap();
    let bundle = scratch.path().join("x.mlpackage");
    let model = "Data/com.apple.CoreML/model.mlmodel".parse::<RelativePath>().unwrap();
    let weights = "Data/com.apple.CoreML/weights/weight.bin".parse::<RelativePath>().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/foreign/old_records.mlpackage");
    for path in [&model, &weights, &MANIFEST.parse::<RelativePath>().unwrap()] {
        let place = path.below(&bundle);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(path.below(&source), place).unwrap();
    }
    for number in 0..12 {
        symlink(".", bundle.join(format!("l{number}"))).unwrap();
        symlink("..", bundle.join(format!("Data/u{number}"))).unwrap();
        symlink(scratch.path(), bundle.join(format!("Data/com.apple.CoreML/o{number}"))).unwrap();
    }
    let package = Package::open(&bundle).unwrap();
    assert_eq!(package.weights().files.len(), 1, "{:?}", package.weights().files.keys());
    let manifest = fs::File::options().write(true).open(bundle.join(MANIFEST)).unwrap();
    manifest.set_len(3 << 30).unwrap();
    let error = Package::open(&bundle).unwrap_err();
    assert!(
        std::error::Error::source(&error).unwrap().to_string().contains("it has 3221225472 bytes, expected at most"),
        "{error}"
    );
}
