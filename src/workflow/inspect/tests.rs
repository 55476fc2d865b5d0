//! Memory, needs and warnings of small programs, with numbers computed by hand, and of the packages in
//! `fixtures/models`, which coremltools made.

use std::{collections::BTreeMap, fs, path::Path};

use half::f16;

use super::{
    bundle::{self, BundleReport, BundleWeights, Tree, WeightFile},
    memory::{Extent, FunctionMemory, memory},
    needs::{Needs, features, needs},
    rules::{Subject, Warning, warnings},
};
use crate::{
    base::Target,
    contract::{Feature, Interface},
    emit::coreml::{ArrayFeature, FeatureNote, FeatureType, Flexibility, FunctionNotes, ModelMetadata},
    mil::{
        Argument, BuildError, Builder, Constant, DataType, Dimension, Function, Literal, Program, Recipe, TensorType,
        Value, Var,
    },
    ops,
};

const FLOAT16: DataType = DataType::Float16;

fn tensor(shape: &[u64]) -> TensorType {
    TensorType::new(FLOAT16, shape)
}

fn packed(dtype: DataType, shape: &[u64], bytes: usize) -> Argument {
    Argument::Value(Value::Tensor(Recipe::literal(dtype, shape, Literal::Packed(vec![0; bytes])).unwrap()))
}

fn blob(offset: u64, dtype: DataType, shape: &[u64]) -> Constant {
    Recipe::blob("@model_path/weights/weight.bin", offset, dtype, shape)
}

fn function(target: Target, build: impl FnOnce(&mut Builder) -> Result<Var, BuildError>) -> Function {
    let mut builder = Builder::new(ops::find, target);
    let y = build(&mut builder).unwrap();
    builder.finish(&[("y", y)]).unwrap()
}

fn program(functions: impl IntoIterator<Item = (&'static str, Function)>) -> Program {
    let functions: BTreeMap<_, _> = functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
    let target = functions.values().map(|function| function.opset).max().unwrap();
    Program { target, functions, default_function: None, attributes: BTreeMap::new(), doc: String::new() }
}

/// A program of one function.
fn built(target: Target, build: impl FnOnce(&mut Builder) -> Result<Var, BuildError>) -> Program {
    program([("main", function(target, build))])
}

fn relu(builder: &mut Builder, ty: TensorType) -> Result<Var, BuildError> {
    let x = builder.input("x", ty);
    builder.op1("relu", "y", &[("x", x.into())])
}

fn needs_of(program: &Program) -> Needs {
    needs(program, features(program, &ModelMetadata::default()), ops::find)
}

/// Floor and reasons, as `what: target`.
fn reasons(needs: &Needs) -> (Option<Target>, Vec<String>) {
    let reason = |need: &super::Need| {
        format!("{}: {}", need.what, need.target.map_or_else(|| "none".to_owned(), |t| t.to_string()))
    };
    (needs.floor, needs.reasons.iter().map(reason).collect())
}

fn memory_of(program: &Program, interface: &Interface) -> FunctionMemory {
    memory(program, interface, ops::OPERATORS).remove(0)
}

fn warnings_of(program: &Program, interface: &Interface, weights: &[WeightFile], root: &Path) -> Vec<Warning> {
    let specification = "Data/com.apple.CoreML/model.mlmodel".parse().unwrap();
    let tree = Tree::walk(root).unwrap_or_default();
    let data = BundleWeights { tree: &tree, specification: &specification };
    warnings(&Subject { program, interface, needs: &needs_of(program), weights, data: Some(data), registry: ops::find })
}

/// The rules that speak of a program without description and files, and what about.
fn spoken(program: &Program) -> Vec<(&'static str, String)> {
    let warnings = warnings_of(program, &Interface::default(), &[], Path::new("absent"));
    warnings.into_iter().map(|warning| (warning.rule, warning.names.join(" "))).collect()
}

#[test]
fn records_count_once_and_expanded_weights_apart() {
    let program = built(Target::Ios18, |builder| {
        let x = builder.input("x", tensor(&[2, 32]));
        let state = builder.state("cache", tensor(&[4, 32]));
        let weight = [
            ("data", (&blob(64, DataType::Int4, &[64, 32])).into()),
            ("scale", (&blob(1152, FLOAT16, &[64, 1])).into()),
        ];
        let weight = builder.op1("constexpr_blockwise_shift_scale", "weight", &weight)?;
        let a = builder.op1(
            "linear",
            "a",
            &[("x", x.into()), ("weight", weight.into()), ("bias", (&blob(1344, FLOAT16, &[64])).into())],
        )?;
        let b = builder.op1(
            "linear",
            "b",
            &[("x", x.into()), ("weight", weight.into()), ("bias", (&blob(1344, FLOAT16, &[64])).into())],
        )?;
        let read = builder.op1("read_state", "read", &[("input", state.into())])?;
        let sum = builder.op1("add", "sum", &[("x", a.into()), ("y", b.into())])?;
        builder.op1(
            "matmul",
            "y",
            &[("x", read.into()), ("y", packed(FLOAT16, &[32, 2], 128)), ("transpose_x", false.into())],
        )?;
        Ok(sum)
    });
    let memory = memory_of(&program, &Interface::default());
    // int4 [64, 32] is 1024 bytes, the scales and the bias are 128 each; the weight is [64, 32] of float16.
    assert_eq!((memory.weights.records, memory.weights.bytes, memory.weights.expanded), (3, 1280, 4096));
    let known = |bytes| Extent { bytes, unknown: 0 };
    assert_eq!((memory.inputs, memory.outputs, memory.states), (known(128), known(256), known(256)));
    // `a`, `b` and what was read of the state, 256 each, and their sum.
    let peak = memory.activations.peak.unwrap();
    assert_eq!((memory.activations.extent, peak.name.as_str(), peak.operator.as_str()), (known(1024), "y", "add"));
}

#[test]
fn open_lengths_are_those_of_the_description() {
    let open = TensorType { dtype: FLOAT16, shape: vec![Dimension::Known(1), Dimension::Unknown { variadic: false }] };
    let program = built(Target::Ios17, |builder| relu(builder, open));
    let input = |shape: &[u64], ranges: Option<Vec<(u64, Option<u64>)>>| {
        let dtype = "float16".to_owned();
        let input = Feature { name: "x".to_owned(), dtype, shape: shape.to_vec(), ranges, ..Feature::default() };
        Interface { inputs: vec![input], ..Interface::default() }
    };
    let sizes = |interface: &Interface| {
        let memory = memory_of(&program, interface);
        (memory.inputs, memory.outputs, memory.activations.extent)
    };
    let known = |bytes| Extent { bytes, unknown: 0 };
    assert_eq!(sizes(&input(&[1, 7], Some(vec![(1, Some(1)), (1, Some(9))]))), (known(14), known(14), known(14)));
    assert_eq!(sizes(&input(&[], Some(vec![(1, Some(1)), (3, None)]))), (known(6), known(6), known(6)));
    let open = Extent { bytes: 0, unknown: 1 };
    assert_eq!(sizes(&Interface::default()), (open, open, open));
}

#[test]
fn the_floor_is_the_lowest_target_that_takes_everything() {
    let float32 = |target| built(target, |builder| relu(builder, TensorType::new(DataType::Float32, &[2])));
    assert_eq!(reasons(&needs_of(&float32(Target::Ios18))), (Some(Target::Ios15), vec![]));
    let float16 = built(Target::Ios18, |builder| relu(builder, tensor(&[2])));
    assert_eq!(
        reasons(&needs_of(&float16)),
        (Some(Target::Ios16), vec!["float16 inputs: iOS16".into(), "float16 outputs: iOS16".into()])
    );
    let several = program(["first", "second"].map(|name| (name, float32(Target::Ios15).functions["main"].clone())));
    assert_eq!(reasons(&needs_of(&several)), (Some(Target::Ios18), vec!["several functions: iOS18".into()]));
    let bytes = built(Target::Ios26, |builder| {
        let x = builder.input("x", TensorType::new(DataType::Int8, &[2]));
        builder.op1("cast", "y", &[("x", x.into()), ("dtype", "fp32".into())])
    });
    assert_eq!(
        reasons(&needs_of(&bytes)),
        (Some(Target::Ios26), vec!["int8 inputs: iOS26".into(), "cast with int8 x: iOS17".into()])
    );
}

#[test]
fn operations_say_what_they_need() {
    let program = built(Target::Ios18, |builder| {
        let x = builder.input("x", TensorType::new(DataType::Float32, &[1, 2, 4, 8]));
        let y = builder.op1(
            "scaled_dot_product_attention",
            "attended",
            &[("query", x.into()), ("key", x.into()), ("value", x.into())],
        )?;
        let indices = builder.constant("indices", Value::ints(&[0, 1]));
        builder.op1("gather", "y", &[("x", y.into()), ("indices", indices.into()), ("axis", 3.into())])
    });
    let needs = needs_of(&program);
    let expected = ["scaled_dot_product_attention: iOS18", "gather with validate_indices: iOS17"];
    assert_eq!(reasons(&needs), (Some(Target::Ios18), expected.map(str::to_owned).to_vec()));
    assert_eq!(needs.of_floor().map(|need| need.operations[0].name.as_str()).collect::<Vec<_>>(), ["attended"]);
}

#[test]
fn constants_and_descriptions_have_needs_too() {
    let table = built(Target::Ios18, |builder| {
        let x = builder.input("x", TensorType::new(DataType::Int32, &[16]));
        builder.op1("add", "y", &[("x", x.into()), ("y", (&blob(64, DataType::Int32, &[16])).into())])
    });
    assert_eq!(
        reasons(&needs_of(&table)),
        (Some(Target::Ios18), vec!["int32 constants in a weight file: iOS18".into()])
    );
    let pair = built(Target::Ios18, |builder| {
        let [a, b] = ["a", "b"].map(|name| builder.input(name, TensorType::new(DataType::Float32, &[2])));
        builder.op1("add", "y", &[("x", a.into()), ("y", b.into())])
    });
    let flexibility = Some(Flexibility::Enumerated(vec![vec![2], vec![2]]));
    let array = ArrayFeature { dtype: DataType::Float32, shape: vec![2], flexibility, default: None };
    let note = FeatureNote { ty: Some(FeatureType::Array(array)), ..FeatureNote::default() };
    let notes = FunctionNotes {
        features: ["a", "b"].map(|name| (name.to_owned(), note.clone())).into(),
        ..FunctionNotes::default()
    };
    let metadata = ModelMetadata { functions: [("main".to_owned(), notes)].into(), ..ModelMetadata::default() };
    let expected = vec!["several inputs of enumerated shapes: iOS18".to_owned()];
    assert_eq!(reasons(&needs(&pair, features(&pair, &metadata), ops::find)), (Some(Target::Ios18), expected));
}

#[test]
fn a_program_of_a_later_target_than_it_says_is_found_out() {
    let mut program = built(Target::Ios18, |builder| {
        let x = builder.input("x", TensorType::new(DataType::Float32, &[2, 2, 4]));
        builder.op1("scaled_dot_product_attention", "y", &[("query", x.into()), ("key", x.into()), ("value", x.into())])
    });
    program.target = Target::Ios16;
    assert_eq!(spoken(&program)[0], ("undeclared-target", "scaled_dot_product_attention".to_owned()));
    let main = program.functions.get_mut("main").unwrap();
    main.block.operations.last_mut().unwrap().inputs.remove("key");
    assert_eq!(needs_of(&program).floor, None);
    assert_eq!(spoken(&program)[0], ("undeclared-target", "scaled_dot_product_attention without key".to_owned()));
    program.functions.get_mut("main").unwrap().block.operations.last_mut().unwrap().kind = "swish".to_owned();
    assert_eq!(needs_of(&program).unknown_operators.into_iter().collect::<Vec<_>>(), ["swish"]);
}

#[test]
fn a_tidy_program_has_no_warnings() {
    assert_eq!(spoken(&built(Target::Ios16, |builder| relu(builder, tensor(&[1, 64])))), []);
}

#[test]
fn rules_name_what_they_are_about() {
    let float32 = built(Target::Ios16, |builder| relu(builder, TensorType::new(DataType::Float32, &[2])));
    assert_eq!(spoken(&float32), [("float32-compute", "y".to_owned())]);
    let state = |length| {
        built(Target::Ios18, |builder| {
            let state = builder.state("cache", tensor(&[2, length]));
            builder.op1("read_state", "y", &[("input", state.into())])
        })
    };
    assert_eq!(spoken(&state(64)), []);
    assert_eq!(spoken(&state(48)), [("state-alignment", "cache".to_owned())]);
    let shorts = built(Target::Ios17, |builder| {
        let x = builder.input("x", TensorType::new(DataType::Int16, &[2]));
        builder.op1("cast", "y", &[("x", x.into()), ("dtype", "fp16".into())])
    });
    assert_eq!(spoken(&shorts), [("integer-inputs", "x".to_owned())]);
    let mut high = built(Target::Ios16, |builder| relu(builder, tensor(&[2])));
    for value in &mut high.functions.get_mut("main").unwrap().values {
        value.ty = tensor(&[1, 1, 1, 1, 1, 2]).into();
    }
    assert_eq!(spoken(&high), [("rank", "x y".to_owned())]);
    let mut bare = built(Target::Ios16, |builder| {
        let x = builder.input("x", tensor(&[2, 2]));
        builder.op1("softmax", "y", &[("x", x.into()), ("axis", 1.into())])
    });
    assert_eq!(spoken(&bare), []);
    bare.functions.get_mut("main").unwrap().block.operations.last_mut().unwrap().inputs.remove("axis");
    assert_eq!(spoken(&bare), [("missing-parameters", "y.axis".to_owned())]);
}

#[test]
fn numbers_out_of_range_are_found_in_programs_and_files() {
    let added = |recipe: &Constant| {
        built(Target::Ios16, |builder| {
            let x = builder.input("x", tensor(&[2]));
            builder.op1("add", "y", &[("x", x.into()), ("y", recipe.into())])
        })
    };
    let literal =
        |value: f32| Recipe::literal(FLOAT16, &[2], Literal::Halves([1.0, value].map(f16::from_f32).to_vec())).unwrap();
    assert_eq!(spoken(&added(&literal(65504.0))), []);
    assert_eq!(spoken(&added(&literal(f32::NEG_INFINITY))), [("float16-range", "y_y".to_owned())]);
    assert_eq!(spoken(&added(&literal(f32::NAN))).len(), 1);
    // A file of one record that ends in minus infinity.
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("Data/com.apple.CoreML/weights");
    let mut layout = crate::emit::coreml::BlobLayout::new();
    layout.add(FLOAT16, 2).unwrap();
    let bytes = layout.pieces().flat_map(|piece| match piece {
        crate::emit::coreml::BlobPiece::Bytes(bytes) => bytes,
        crate::emit::coreml::BlobPiece::Data(_) => vec![0, 0x3c, 0, 0xfc],
    });
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("weight.bin"), bytes.collect::<Vec<u8>>()).unwrap();
    let program = added(&blob(64, FLOAT16, &[2]));
    let warnings = warnings_of(&program, &Interface::default(), &[], root.path());
    assert_eq!(warnings.iter().map(|warning| warning.rule).collect::<Vec<_>>(), ["float16-range"]);
    assert_eq!(spoken(&program), [], "a file that is not there is another's concern");
}

#[test]
fn files_and_descriptions_are_looked_at() {
    let program = built(Target::Ios16, |builder| relu(builder, tensor(&[2])));
    let file = |bytes| WeightFile { path: "weights/weight.bin".parse().unwrap(), bytes, dtypes: None };
    let interface = |ranges| {
        let dtype = "float16".to_owned();
        let inputs =
            vec![Feature { name: "x".to_owned(), dtype, shape: vec![2], ranges: Some(ranges), ..Feature::default() }];
        Interface { inputs, ..Interface::default() }
    };
    let texts = |interface: &Interface, bytes| {
        let warnings = warnings_of(&program, interface, &[file(bytes)], Path::new("absent"));
        warnings.into_iter().map(|warning| (warning.rule, warning.text)).collect::<Vec<_>>()
    };
    assert_eq!(texts(&interface(vec![(2, Some(2))]), (1 << 31) - 1), []);
    let found = texts(&interface(vec![(1, None)]), 1 << 31);
    assert_eq!(found.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), ["large-weights", "flexible-shapes"]);
    assert!(found[0].1.starts_with("`weights/weight.bin`: above 2 GB "), "{found:?}");
}

fn fixture(name: &str) -> BundleReport {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(format!("{name}.mlpackage"));
    bundle::inspect(&path, false).unwrap().unwrap()
}

/// What keeps a package of coremltools from lower targets than its floor.
fn floor_of(name: &str) -> (String, String) {
    let needs = fixture(name).needs.unwrap();
    let reasons: Vec<_> = needs.of_floor().map(|need| need.what.clone()).collect();
    (needs.floor.unwrap().to_string(), reasons.join(", "))
}

#[test]
fn packages_of_coremltools_need_no_more_than_they_declare() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models");
    let names = fs::read_dir(folder).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let names: Vec<String> = names.filter_map(|name| name.strip_suffix(".mlpackage").map(str::to_owned)).collect();
    assert!(names.len() >= 32, "{names:?}");
    for name in names {
        let report = fixture(&name);
        let needs = report.needs.unwrap();
        let declared: Target = name.rsplit_once('_').unwrap().1.parse().unwrap();
        assert_eq!(needs.declared, declared, "{name}");
        assert!(needs.floor.is_some_and(|floor| floor <= declared), "{name}: {:?}", needs.floor);
        assert!(needs.unknown_operators.is_empty(), "{name}");
        // The model behind `volumes` fills with infinities itself.
        let rules = ["undeclared-target", "rank", "float16-range"];
        let rules = &rules[..if name.starts_with("volumes_") { 2 } else { 3 }];
        assert!(!report.warnings.iter().any(|warning| rules.contains(&warning.rule)), "{name}");
        let memory = &report.memory[0];
        assert!(
            memory.activations.extent.bytes >= memory.outputs.bytes && memory.weights.bytes < report.bytes,
            "{name}"
        );
        // `volumes` looks for what is not zero: how much there is depends on its input.
        let open = name.starts_with("volumes_");
        assert!(
            (open || memory.activations.extent.unknown == 0) && memory.outputs.unknown == 0,
            "{name}: every length is known"
        );
    }
}

#[test]
fn packages_of_coremltools_say_what_makes_their_floor() {
    for (name, floor, reasons) in [
        ("attention_ios18", "iOS18", "scaled_dot_product_attention"),
        ("int4_blocks_ios18", "iOS18", "int4 weights (constexpr_blockwise_shift_scale)"),
        ("uint4_blocks_ios18", "iOS18", "uint4 weights (constexpr_blockwise_shift_scale)"),
        ("language_ios18", "iOS18", "states, read_state, scaled_dot_product_attention, slice_update, write_state"),
        (
            "sparse_int8_ios18",
            "iOS18",
            "sparse int8 weights (constexpr_sparse_blockwise_shift_scale), sparse weights (constexpr_sparse_to_dense)",
        ),
        ("palette4_ios16", "iOS16", "float16 outputs, palettized weights (constexpr_lut_to_dense)"),
        ("int8_full_ios16", "iOS16", "int8 weights (constexpr_affine_dequantize)"),
        ("uint8_ios17", "iOS16", "float16 outputs, uint8 weights (constexpr_affine_dequantize)"),
        ("attention_ios17", "iOS17", "cast with dtype int16, cast with int16 x, gather with validate_indices"),
        ("control_ios16", "iOS15", ""),
    ] {
        assert_eq!(floor_of(name), (floor.to_owned(), reasons.to_owned()), "{name}");
    }
}
