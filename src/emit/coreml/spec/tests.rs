//! Programs there and back: packages that coremltools wrote (`fixtures/packages`), and programs made here.

use std::{collections::BTreeMap, fs, path::Path, sync::OnceLock};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    base::{RelativePath, Target},
    emit::coreml::{
        CoreMlError, PackageManifest, Problem, describe_specification, resolve_weight_file, weight_reference,
    },
    mil::{
        Binding, Block, DataType, Dimension, Function, Literal, Operation, Program, Recipe, Scope, TensorType, Value,
        ValueId, ValueInfo, ValueType,
    },
    proto::{coreml::model::Type, mil as proto},
};

struct Package {
    name: String,
    specification: Bytes,
    weights: BTreeMap<String, Vec<u8>>,
}

fn read_package(folder: &Path) -> Package {
    let name = folder.file_stem().unwrap().to_string_lossy().into_owned();
    let read =
        |path: &RelativePath| fs::read(path.below(folder)).unwrap_or_else(|error| panic!("{name}: {path}: {error}"));
    let manifest = PackageManifest::parse(&read(&"Manifest.json".parse().unwrap()))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let model = manifest.specification().unwrap();
    let reference = weight_reference("weight.bin");
    let weights = resolve_weight_file(&model, &reference).unwrap();
    let weights =
        if weights.below(folder).exists() { BTreeMap::from([(reference, read(&weights))]) } else { BTreeMap::new() };
    Package { specification: read(&model).into(), weights, name }
}

fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packages");
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "mlpackage"));
        paths.sort();
        assert!(paths.len() >= 16, "the fixtures are there");
        paths.iter().map(|path| read_package(path)).collect()
    })
}

fn package(name: &str) -> &'static Package {
    packages().iter().find(|package| package.name == name).unwrap_or_else(|| panic!("there is no fixture `{name}`"))
}

fn decode_package(package: &Package) -> (Program, ModelMetadata) {
    decode(package.specification.clone(), &package.weights).unwrap_or_else(|error| panic!("{}: {error}", package.name))
}

/// The message with its program in readable form.
fn messages(bytes: &[u8]) -> (crate::proto::coreml::Model, proto::Program) {
    let mut model = crate::proto::coreml::Model::decode(bytes).unwrap();
    let Some(Type::MlProgram(body)) = model.r#type.take() else { panic!("expected an ML Program") };
    (model, proto::Program::decode(body).unwrap())
}

#[test]
fn nothing_of_a_foreign_package_is_lost() {
    for package in packages() {
        let (program, metadata) = decode_package(package);
        let bytes = encode(&program, &metadata, &Unchecked).unwrap_or_else(|error| panic!("{}: {error}", package.name));
        let ((model, body), (model_again, body_again)) = (messages(&package.specification), messages(&bytes));
        assert_eq!(model_again, model, "{}", package.name);
        assert_eq!(body_again, body, "{}", package.name);
        let again = decode(bytes.clone().into(), &package.weights).unwrap();
        assert_eq!(again, (program, metadata), "{}", package.name);
        assert_eq!(encode(&again.0, &again.1, &Unchecked).unwrap(), bytes, "{}", package.name);
    }
}

#[test]
fn foreign_packages_hold_what_they_were_made_for() {
    let kinds = |name: &str| -> Vec<String> {
        let (program, _) = decode_package(package(name));
        program.functions.values().flat_map(|f| f.operations().map(|op| op.kind.clone()).collect::<Vec<_>>()).collect()
    };
    let has = |name: &str, kind: &str| {
        assert!(kinds(name).iter().any(|k| k == kind), "{name} has no {kind}: {:?}", kinds(name))
    };
    has("conv_ios15", "conv");
    has("affine_ios16", "constexpr_affine_dequantize");
    has("affine_ios18", "constexpr_blockwise_shift_scale");
    has("blockwise_ios18", "constexpr_blockwise_shift_scale");
    has("palette_ios16", "constexpr_lut_to_dense");
    has("palette_ios18", "constexpr_lut_to_dense");
    has("sparse_ios16", "constexpr_sparse_to_dense");
    has("sparse_ios18", "constexpr_sparse_to_dense");
    has("state_ios18", "slice_update");
    has("state_ios18", "write_state");
    has("cond_ios15", "cond");
    has("classifier_ios15", "classify");
}

#[test]
fn foreign_packages_are_described() {
    let describe = |name: &str| describe_specification(package(name).specification.clone()).unwrap();
    let conv = describe("conv_ios15");
    assert_eq!((conv.target, conv.model_type.as_str()), (Some(Target::Ios15), "mlProgram"));
    assert_eq!(
        (conv.metadata.author.as_str(), conv.metadata.license.as_str(), conv.metadata.version.as_str()),
        ("someone", "MIT", "1.2.3")
    );
    assert_eq!(conv.metadata.user_defined["key"], "value");
    assert_eq!(
        (conv.interface.inputs[0].name.as_str(), conv.interface.inputs[0].shape.as_slice()),
        ("picture", [1, 3, 8, 8].as_slice())
    );
    assert_eq!(describe("conv_ios16").interface.inputs[0].dtype, "float16");
    assert_eq!(describe("image_ios16").interface.inputs[0].dtype, "image");
    assert_eq!(describe("range_ios17").interface.inputs[0].ranges, Some(vec![(1, Some(1)), (1, Some(64))]));
    assert_eq!(describe("enumerated_ios17").interface.inputs[0].enumerated, Some(vec![vec![1, 8], vec![1, 16]]));
    let state = describe("state_ios18").interface.states;
    assert_eq!((state[0].dtype.as_str(), state[0].shape.as_slice()), ("float16", [1, 8, 4].as_slice()));
    let functions = describe("multifunction_ios18").interface;
    assert_eq!(functions.functions.keys().collect::<Vec<_>>(), ["decode", "prefill"]);
    assert_eq!(functions.functions["prefill"].inputs[0].shape, [1, 8, 4]);
    assert_eq!(functions.default_function.as_deref(), Some("decode"));
}

#[test]
fn notes_are_what_does_not_follow_from_the_program() {
    let notes = |name: &str| decode_package(package(name)).1.functions;
    let texts = notes("conv_ios15");
    assert_eq!(texts["main"].features.keys().collect::<Vec<_>>(), ["picture"]);
    assert_eq!(texts["main"].features["picture"].description, "what goes in");
    assert!(notes("state_ios18").is_empty() && notes("multifunction_ios18").is_empty());
    assert_eq!(notes("classifier_ios15")["main"].predicted_feature, "classLabel");
    assert!(matches!(
        notes("image_ios16")["main"].features["picture"].ty,
        Some(FeatureType::Image { width: 6, height: 4, .. })
    ));
}

/// Inputs `x` (and a state `cache`), a weight of a checkpoint, an epsilon, an operation on them.
fn program(target: Target) -> Program {
    let tensor = |shape: &[u64]| ValueType::Tensor(TensorType::new(DataType::Float16, shape));
    let value = |name: &str, ty: ValueType| ValueInfo { name: name.to_owned(), ty };
    let weight = Value::Tensor(Recipe::source("net.weight", DataType::Float16, &[4, 4]));
    let bias =
        Value::Tensor(Recipe::literal(DataType::Float16, &[4], Literal::Halves(vec![half::f16::ONE; 4])).unwrap());
    let operation = |kind: &str, name: &str, inputs: &[(&str, u32)], output: u32, value: Option<Value>| Operation {
        kind: kind.to_owned(),
        name: name.to_owned(),
        inputs: inputs.iter().map(|(p, id)| ((*p).to_owned(), vec![Binding::Value(ValueId(*id))])).collect(),
        outputs: vec![ValueId(output)],
        blocks: Vec::new(),
        attributes: value.map(|value| ("val".to_owned(), value)).into_iter().collect(),
        scope: Scope::default(),
    };
    let function = Function {
        opset: target,
        values: vec![
            value("x", tensor(&[1, 4])),
            value("w", tensor(&[4, 4])),
            value("b", tensor(&[4])),
            value("y", tensor(&[1, 4])),
        ],
        inputs: vec![ValueId(0)],
        block: Block {
            operations: vec![
                operation("const", "w", &[], 1, Some(weight)),
                operation("const", "b_const", &[], 2, Some(bias)),
                operation("linear", "y", &[("x", 0), ("weight", 1), ("bias", 2)], 3, None),
            ],
            outputs: vec![ValueId(3)],
            ..Block::default()
        },
        attributes: BTreeMap::new(),
    };
    Program {
        target,
        functions: BTreeMap::from([("main".to_owned(), function)]),
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    }
}

struct OneFile;

impl WeightLookup for OneFile {
    fn location(&self, recipe: &Recipe) -> Option<WeightLocation> {
        belongs_in_weight_file(recipe).then(|| WeightLocation { file: weight_reference("weight.bin"), offset: 64 })
    }
}

fn problem(result: Result<impl Sized, CoreMlError>) -> (String, Problem) {
    match result.err().expect("an error") {
        CoreMlError::Program(error) => (error.place.to_string(), error.problem),
        other => panic!("expected a problem in the program, found: {other}"),
    }
}

fn encode_plain(program: &Program) -> Result<Vec<u8>, CoreMlError> {
    encode(program, &ModelMetadata::default(), &OneFile)
}

#[test]
fn a_built_program_is_read_back() {
    let mut built = program(Target::Ios16);
    let bytes = encode_plain(&built).unwrap();
    let (read, metadata) = decode(bytes.into(), &Unchecked).unwrap();
    assert_eq!(metadata, ModelMetadata::default());
    let weight = Value::Tensor(Recipe::blob("@model_path/weights/weight.bin", 64, DataType::Float16, &[4, 4]));
    let main = built.functions.get_mut("main").unwrap();
    main.block.operations[0].attributes.insert("val".to_owned(), weight);
    assert_eq!(read, built, "only the weight's recipe changes: it is a place now");
}

#[test]
fn functions_are_described_from_ios18_on() {
    let several = |target| {
        let mut program = program(target);
        let main = program.functions["main"].clone();
        program.functions.insert("other".to_owned(), main);
        program.default_function = Some("other".to_owned());
        program
    };
    let bytes = encode_plain(&several(Target::Ios18)).unwrap();
    let description = describe_specification(bytes.clone().into()).unwrap();
    assert_eq!(description.interface.functions.keys().collect::<Vec<_>>(), ["main", "other"]);
    assert_eq!(decode(bytes.into(), &Unchecked).unwrap().0.default_function.as_deref(), Some("other"));
    assert!(matches!(problem(encode_plain(&several(Target::Ios17))).1, Problem::Since { since: Target::Ios18, .. }));
    let mut unnamed = several(Target::Ios18);
    unnamed.default_function = None;
    assert!(matches!(problem(encode_plain(&unnamed)).1, Problem::DefaultFunction));
}

#[test]
fn what_a_target_does_not_have_is_refused() {
    assert!(matches!(problem(encode_plain(&program(Target::Ios15))).1, Problem::Since { since: Target::Ios16, .. }));
    assert!(matches!(encode_plain(&program(Target::Ios27)), Err(CoreMlError::NoOpset { target: Target::Ios27 })));
    let changed = |target, change: fn(&mut Function)| {
        let mut program = program(target);
        change(program.functions.get_mut("main").unwrap());
        problem(encode_plain(&program))
    };
    let state = |f: &mut Function| f.values[0].ty = ValueType::State(TensorType::new(DataType::Float16, &[1, 4]));
    assert!(matches!(changed(Target::Ios17, state).1, Problem::Since { .. }));
    let (place, found) =
        changed(Target::Ios16, |f| f.values[3].ty = TensorType::new(DataType::Float16, &[1; 6]).into());
    assert!(matches!(found, Problem::Dimensions { .. }), "{found}");
    assert_eq!(place, "function `main`");
    let open = |f: &mut Function| {
        f.values[0].ty =
            TensorType { dtype: DataType::Float16, shape: vec![Dimension::Unknown { variadic: false }] }.into()
    };
    assert!(matches!(changed(Target::Ios16, open).1, Problem::Unbounded(_)));
    let inline = |f: &mut Function| {
        drop(f.block.operations[2].inputs.insert("bias".to_owned(), vec![Binding::Literal(Value::int(1))]))
    };
    let (place, found) = changed(Target::Ios16, inline);
    assert!(matches!(found, Problem::Inline), "{found}");
    assert_eq!(place, "function `main`, operation #2 `y` (linear), `bias`");
    let constexpr = |f: &mut Function| f.block.operations[2].kind = "constexpr_lut_to_dense".to_owned();
    assert!(matches!(changed(Target::Ios16, constexpr).1, Problem::ConstexprInput));
    let later = |f: &mut Function| f.opset = Target::Ios18;
    assert!(matches!(changed(Target::Ios16, later).1, Problem::Since { since: Target::Ios18, .. }));
}

#[test]
fn a_note_on_nothing_is_refused() {
    let notes = |function: &str, feature: &str| {
        let features = BTreeMap::from([(feature.to_owned(), FeatureNote::default())]);
        let functions = BTreeMap::from([(function.to_owned(), FunctionNotes { features, ..Default::default() })]);
        encode(&program(Target::Ios16), &ModelMetadata { functions, ..Default::default() }, &OneFile)
    };
    assert!(notes("main", "x").is_ok());
    assert!(matches!(problem(notes("main", "z")).1, Problem::Undefined(name) if name == "z"));
    assert!(matches!(problem(notes("other", "x")).1, Problem::Undefined(name) if name == "other"));
}

/// The message of the built program with a change.
fn tampered(change: impl FnOnce(&mut proto::Block)) -> Result<(Program, ModelMetadata), CoreMlError> {
    let bytes = encode_plain(&program(Target::Ios16)).unwrap();
    let (mut model, mut body) = messages(&bytes);
    change(body.functions.get_mut("main").unwrap().block_specializations.get_mut("CoreML6").unwrap());
    model.r#type = Some(Type::MlProgram(body.encode_to_vec().into()));
    decode(model.encode_to_vec().into(), &Unchecked)
}

#[test]
fn contradictions_are_found_where_they_are() {
    let (place, found) = problem(tampered(|block| drop(block.operations.remove(0))));
    assert!(matches!(found, Problem::Undefined(name) if name == "w"));
    assert_eq!(place, "function `main`, operation #1 `y` (linear), `weight`");
    assert!(
        matches!(problem(tampered(|block| block.outputs[0] = "z".to_owned())).1, Problem::Undefined(name) if name == "z")
    );
    let twice = |block: &mut proto::Block| block.operations[1].outputs[0].name = "w".to_owned();
    assert!(matches!(problem(tampered(twice)).1, Problem::Repeated(name) if name == "w"));
    let unbound =
        |block: &mut proto::Block| block.operations[2].inputs.get_mut("x").unwrap().arguments[0].binding = None;
    assert!(matches!(problem(tampered(unbound)).1, Problem::Missing("a binding")));
    let mute = |block: &mut proto::Block| block.operations[2].outputs[0].r#type = None;
    assert!(matches!(problem(tampered(mute)).1, Problem::Missing("the type")));
    let nameless = tampered(|block| drop(block.operations[1].attributes.remove("name"))).unwrap().0;
    assert_eq!(nameless.functions["main"].block.operations[1].name, "b", "the result's name stands in");
}

#[test]
fn what_is_no_program_is_refused() {
    let bytes = encode_plain(&program(Target::Ios16)).unwrap();
    let (model, _) = messages(&bytes);
    let with = |version, ty| {
        let model = crate::proto::coreml::Model { specification_version: version, r#type: ty, ..model.clone() };
        decode(model.encode_to_vec().into(), &Unchecked)
    };
    let body = Some(Type::MlProgram(Bytes::new()));
    assert!(matches!(with(99, body.clone()), Err(CoreMlError::SpecificationVersion { version: 99 })));
    assert!(matches!(
        with(7, Some(Type::NeuralNetwork(Bytes::new()))),
        Err(CoreMlError::ModelType { found: "neuralNetwork" })
    ));
    assert!(matches!(with(7, None), Err(CoreMlError::ModelType { found: "unknown" })));
    assert!(with(7, body).is_err(), "an empty program has no version");
    let pointer = Bytes::from_static(b"version https://git-lfs.github.com/spec/v1");
    assert!(matches!(decode(pointer, &Unchecked), Err(CoreMlError::LfsPointer { .. })));
}

#[test]
fn nesting_is_bounded() {
    let mut block = proto::Block::default();
    for _ in 0..200 {
        let operation = proto::Operation { r#type: "cond".to_owned(), blocks: vec![block], ..Default::default() };
        block = proto::Block { operations: vec![operation], ..Default::default() };
    }
    let error = tampered(|main| main.operations.push(block.operations.remove(0))).unwrap_err();
    assert!(matches!(error, CoreMlError::Protobuf { .. }), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let package = which.get(packages());
        let mut bytes = package.specification.to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let _ = describe_specification(bytes.clone().into());
        if let Ok((program, metadata)) = decode(bytes.into(), &package.weights) {
            let _ = encode(&program, &metadata, &Unchecked);
        }
    }
}
