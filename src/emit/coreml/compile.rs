//! Compiles programs to `.mlmodelc`, the form that apps contain, on any OS and without Apple's tools.
//!
//! The crate `mlmodelc-export` writes the files. It supports less than Core ML does and silently drops some unsupported
//! parts, so this module checks a program first and refuses it where a part would be lost. It corrects two things in
//! the result: the crate writes the text format of iOS18, which has separate scalar types that older systems cannot
//! read; and it lists availability for iOS17 and iOS18 only.
//!
//! ```text
//! model.mil  coremldata.bin  metadata.json  analytics/coremldata.bin  weights/<weight files of the package>
//! ```
//!
//! No such bundle was run on a device. Pipelines, enumerated input shapes and Swift classes are not supported.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde_json::{Map, Value as Json};

use super::{
    CoreMlError, Place, Problem, describe_specification,
    package::{fixed, weight_path},
};
use crate::{
    base::{OsFloor, Platform, Target},
    contract::{Feature, Interface},
    emit::{BundleFile, FileSource},
    mil::{Binding, Block, DataType, Literal, Operation, Program, Value, ValueType},
};

/// Name of this compiler in releases.
pub const COMPILER: &str = "mlmodelc-export";

/// Element types that `mlmodelc-export` writes.
const WRITTEN: [DataType; 9] = [
    DataType::Bool,
    DataType::String,
    DataType::Float16,
    DataType::Float32,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt8,
    DataType::UInt16,
];
/// Beginnings of the text format: of iOS18, and of older systems.
const HEADS: [(&str, &str); 2] = [
    (
        "program(1.3)\n[buildInfo = dict<string, string>(",
        "program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>(",
    ),
    ("program(1.3)\n", "program(1.0)\n"),
];
/// Names of scalar types in the text format.
const SCALARS: [&str; 10] = ["bool", "string", "fp16", "fp32", "int8", "int16", "int32", "uint8", "uint16", "uint64"];

/// Compiles `specification`, which decodes to `program`, and returns the files of the compiled model, sorted by path.
/// `weight_files` are names of the package's weight files, e.g. `weight.bin`. Equal specifications give equal bytes on
/// every OS.
///
/// # Errors
/// For a part of the program that only Apple's compiler can compile; the error locates it.
pub fn compiled_files(
    specification: &[u8],
    program: &Program,
    weight_files: &[&str],
) -> Result<Vec<BundleFile>, CoreMlError> {
    check(program)?;
    check_images(&describe_specification(Bytes::copy_from_slice(specification))?.interface)?;
    let refused = |error| CoreMlError::Compiler(Box::new(error));
    let decoded = mlmodelc_export::decode(specification).map_err(refused)?;
    let text = mlmodelc_export::emit_to_string(&decoded);
    let text = if program.target < Target::Ios18 { older_text(&text).into_bytes() } else { text.into_bytes() };
    let bundle = mlmodelc_export::build_bundle(&decoded, text, None);
    let mut files: Vec<BundleFile> = [
        ("model.mil", bundle.model_mil),
        ("coremldata.bin", bundle.coremldata_bin),
        ("metadata.json", with_availability(&bundle.metadata_json, program.target)?),
        ("analytics/coremldata.bin", bundle.analytics_coremldata_bin),
    ]
    .into_iter()
    .map(|(path, bytes)| (fixed(path), FileSource::Bytes(bytes)))
    .collect();
    for &name in weight_files {
        files.push((weight_path(name)?, FileSource::WeightFile(name.to_owned())));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// Refuses images of flexible sizes: `mlmodelc-export` writes flexible shapes of arrays only.
fn check_images(interface: &Interface) -> Result<(), CoreMlError> {
    let is_flexible =
        |feature: &&Feature| feature.dtype == "image" && (feature.ranges.is_some() || feature.enumerated.is_some());
    match interface
        .inputs
        .iter()
        .chain(interface.functions.values().flat_map(|function| &function.inputs))
        .find(is_flexible)
    {
        Some(feature) => Err(apple_only(&Place::program().item(&feature.name), "an image of several sizes".to_owned())),
        None => Ok(()),
    }
}

/// Refuses every part that `mlmodelc-export` would drop or change.
fn check(program: &Program) -> Result<(), CoreMlError> {
    if program.target > Target::Ios18 {
        return Err(apple_only(&Place::program(), format!("a program for {}", program.target)));
    }
    for (name, function) in &program.functions {
        let place = Place::function(name);
        if let Some(attribute) = function.attributes.keys().next() {
            return Err(apple_only(&place, format!("the attribute `{attribute}`")));
        }
        for value in &function.values {
            check_type(&place.item(&value.name), &value.ty)?;
        }
        check_block(&place, &function.block)?;
    }
    Ok(())
}

fn check_block(place: &Place, block: &Block) -> Result<(), CoreMlError> {
    for (index, operation) in block.operations.iter().enumerate() {
        let place = place.operation(index, &operation.kind, &operation.name);
        for (parameter, value) in literals(operation) {
            check_value(&place.item(parameter), value)?;
        }
        for nested in &operation.blocks {
            check_block(&place, nested)?;
        }
    }
    Ok(())
}

/// Literal values of an operation, with their parameters or attributes.
fn literals(operation: &Operation) -> impl Iterator<Item = (&str, &Value)> {
    let bindings = operation
        .inputs
        .iter()
        .flat_map(|(name, bindings)| bindings.iter().map(move |binding| (name.as_str(), binding)));
    let inputs = bindings.filter_map(|(name, binding)| match binding {
        Binding::Literal(value) => Some((name, value)),
        Binding::Value(_) => None,
    });
    inputs.chain(operation.attributes.iter().map(|(name, value)| (name.as_str(), value)))
}

fn check_type(place: &Place, ty: &ValueType) -> Result<(), CoreMlError> {
    match ty {
        ValueType::Tensor(tensor) => check_element(place, tensor.dtype),
        ValueType::State(_) => Err(apple_only(place, "a state".to_owned())),
        other => Err(apple_only(place, format!("a value of the type {other}"))),
    }
}

fn check_value(place: &Place, value: &Value) -> Result<(), CoreMlError> {
    let Value::Tensor(constant) = value else {
        return Err(apple_only(place, "a constant that is no tensor".to_owned()));
    };
    check_element(place, constant.dtype())?;
    match constant.as_literal() {
        Some(Literal::Strings(texts)) if texts.iter().any(|text| text.contains(['"', '\\', '\n'])) => {
            Err(apple_only(place, "a text with quotation marks, backslashes or line breaks".to_owned()))
        }
        _ => Ok(()),
    }
}

fn check_element(place: &Place, dtype: DataType) -> Result<(), CoreMlError> {
    if WRITTEN.contains(&dtype) { Ok(()) } else { Err(apple_only(place, format!("a tensor of {}", dtype.name()))) }
}

fn apple_only(place: &Place, what: String) -> CoreMlError {
    place.error(Problem::AppleOnly(what))
}

/// Rewrites the text format of iOS18 for older systems, which write `fp16` as `tensor<fp16, []>`.
fn older_text(text: &str) -> String {
    let head = HEADS.iter().find_map(|(newer, older)| Some((older, text.strip_prefix(newer)?)));
    let (head, mut rest) = head.map_or(("", text), |(older, rest)| (*older, rest));
    let mut out = head.to_owned();
    while let Some(token) = token(rest) {
        rest = &rest[token.len()..];
        let older = if SCALARS.contains(&token) && is_type(rest) {
            format!("tensor<{token}, []>").into()
        } else {
            Cow::Borrowed(token)
        };
        out.push_str(&older);
    }
    out
}

/// The first token: a quoted text, a word or a character.
fn token(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    let length = match first {
        '"' => text[1..].find('"').map_or(text.len(), |end| end + 2),
        first if is_word(first) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        first => first.len_utf8(),
    };
    Some(&text[..length])
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether what comes next makes the name of a type one: a value, or the name that is declared. Values may be called as
/// types are.
fn is_type(next: &str) -> bool {
    next.starts_with('(') || next.strip_prefix(' ').is_some_and(|next| next.starts_with(is_word))
}

/// `metadata.json` with the availability of `target`.
fn with_availability(metadata: &[u8], target: Target) -> Result<Vec<u8>, CoreMlError> {
    let mut documents: [BTreeMap<String, Json>; 1] =
        serde_json::from_slice(metadata).map_err(CoreMlError::CompiledMetadata)?;
    let version = |floor: OsFloor| Json::from(format!("{}.{}", floor.major, floor.minor));
    let available =
        Platform::all().filter_map(|platform| Some((platform.name().to_owned(), version(target.floor_on(platform)?))));
    let available: Map<String, Json> = available.collect();
    documents[0].insert("availability".to_owned(), available.into());
    let mut bytes = serde_json::to_vec_pretty(&documents).map_err(CoreMlError::CompiledMetadata)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::{
        emit::coreml::{Unchecked, decode, describe_compiled},
        mil::Recipe,
    };

    fn fixtures() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/models")
    }

    fn specification(name: &str) -> Bytes {
        fs::read(fixtures().join(format!("{name}.mlpackage/Data/com.apple.CoreML/model.mlmodel"))).unwrap().into()
    }

    /// Compiles a package that coremltools made.
    fn compile(name: &str) -> Result<BTreeMap<String, Vec<u8>>, CoreMlError> {
        let specification = specification(name);
        let (program, _) = decode(specification.clone(), &Unchecked).unwrap();
        let files = compiled_files(&specification, &program, &["weight.bin"])?;
        let bytes = |source| if let FileSource::Bytes(bytes) = source { bytes } else { b"weights".to_vec() };
        Ok(files.into_iter().map(|(path, source)| (path.into(), bytes(source))).collect())
    }

    fn text(name: &str) -> String {
        String::from_utf8(compile(name).unwrap().remove("model.mil").unwrap()).unwrap()
    }

    const COMPILED: [&str; 14] = [
        "attention_ios15",
        "attention_ios17",
        "attention_ios18",
        "attention_range_ios17",
        "int8_full_ios16",
        "int8_ios16",
        "int8_ios18",
        "pictures_ios15",
        "pictures_ios18",
        "recurrent_ios15",
        "recurrent_ios17",
        "uint8_ios17",
        "volumes_ios15",
        "volumes_ios18",
    ];

    #[test]
    fn compiled_models_say_of_themselves_what_their_packages_say() {
        for name in COMPILED {
            let files = compile(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let paths: Vec<&str> = files.keys().map(String::as_str).collect();
            assert_eq!(
                paths,
                ["analytics/coremldata.bin", "coremldata.bin", "metadata.json", "model.mil", "weights/weight.bin"]
            );
            let expected = describe_specification(specification(name)).unwrap();
            let found = describe_compiled(Some(&files["metadata.json"]), Some(&files["coremldata.bin"])).unwrap();
            assert_eq!(found.interface, expected.interface, "{name}");
            assert_eq!((found.target, found.model_type), (expected.target, expected.model_type), "{name}");
            assert_eq!(found.metadata.user_defined, expected.metadata.user_defined, "{name}");
            assert_eq!(compile(name).unwrap(), files, "{name}");
        }
    }

    #[test]
    fn every_other_package_says_what_cannot_be_compiled() {
        let mut refused = BTreeMap::new();
        for entry in fs::read_dir(fixtures()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.extension().is_some_and(|extension| extension == "mlpackage") && !COMPILED.contains(&name.as_str())
            {
                refused.insert(name.clone(), compile(&name).map(|_| ()).unwrap_err().to_string());
            }
        }
        assert!(refused.len() >= 18, "the fixtures are there");
        for (name, expected) in [
            ("classifier_ios15", "function `main`, `classLabel_probs`: a value of the type dict<string, fp64>"),
            ("control_ios16", "function `main`, `make_list_0`: a value of the type list<tensor<fp32, [2, 3]>, 2>"),
            (
                "int4_blocks_ios18",
                "function `main`, operation #6 `conv_weight_to_fp16_quantized` (constexpr_blockwise_shift_scale), \
                 `data`: a tensor of int4",
            ),
            ("language_ios18", "function `main`, `keys`: a state"),
            (
                "sparse_ios18",
                "function `main`, operation #6 `conv_weight_to_fp16_sparsified` (constexpr_sparse_to_dense), `mask`: a \
                 tensor of uint1",
            ),
            (
                "palette4_ios16",
                "function `main`, operation #6 `conv_weight_to_fp16_palettized` (constexpr_lut_to_dense), `shape`: a \
                 tensor of uint32",
            ),
        ] {
            assert_eq!(refused[name], format!("{expected} cannot be compiled without Apple's tools"));
        }
    }

    #[test]
    fn defaults_and_color_spaces_are_compiled_and_flexible_images_are_not() {
        let compile = |name: &str| {
            let path = format!(
                "{}/fixtures/foreign/{name}.mlpackage/Data/com.apple.CoreML/model.mlmodel",
                env!("CARGO_MANIFEST_DIR")
            );
            let specification = Bytes::from(fs::read(path).unwrap());
            let (program, _) = decode(specification.clone(), &Unchecked).unwrap();
            let files = compiled_files(&specification, &program, &[])?;
            let expected = describe_specification(specification).unwrap().interface;
            let data = files.into_iter().find_map(|(path, source)| match source {
                FileSource::Bytes(bytes) if path.as_str() == "coremldata.bin" => Some(bytes),
                _ => None,
            });
            assert_eq!(describe_compiled(None, data.as_deref()).unwrap().interface, expected, "{name}");
            Ok::<_, CoreMlError>(expected)
        };
        assert_eq!(compile("gain").unwrap().inputs[1].default.as_deref(), Some("0.5"));
        assert_eq!(compile("bgr").unwrap().inputs[0].color.as_deref(), Some("BGR"));
        let error = compile("sizes").unwrap_err().to_string();
        assert_eq!(error, "program, `picture`: an image of several sizes cannot be compiled without Apple's tools");
    }

    #[test]
    fn what_the_compiler_would_garble_is_refused() {
        let garbled = |change: &dyn Fn(&mut Program)| {
            let (mut program, _) = decode(specification("attention_ios18"), &Unchecked).unwrap();
            change(&mut program);
            check(&program).unwrap_err().to_string()
        };
        let with_text = |text: &str| {
            Value::Tensor(Recipe::literal(DataType::String, &[], Literal::Strings(vec![text.to_owned()])).unwrap())
        };
        for text in ["a \"b\"", "C:\\", "two\nlines"] {
            let error = garbled(&|program| {
                let operation = &mut program.functions.get_mut("main").unwrap().block.operations[0];
                operation.attributes.insert("note".to_owned(), with_text(text));
            });
            assert!(
                error.contains("`note`: a text with quotation marks, backslashes or line breaks cannot be compiled"),
                "{error}"
            );
        }
        assert_eq!(
            garbled(&|program| program.target = Target::Ios26),
            "program: a program for iOS26 cannot be compiled without Apple's tools"
        );
    }

    #[test]
    fn older_systems_get_the_text_that_they_read() {
        let newer = text("attention_ios18");
        assert!(newer.starts_with("program(1.3)\n[buildInfo = dict<string, string>({{\""), "{}", &newer[..200]);
        assert!(newer.contains("    func main<ios18>(") && newer.contains(" string("));
        for (name, opset) in [("attention_ios15", "ios15"), ("int8_ios16", "ios16"), ("recurrent_ios17", "ios17")] {
            let older = text(name);
            let head = "program(1.0)\n[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{\"";
            assert!(older.starts_with(head), "{name}: {}", &older[..200]);
            assert!(older.contains(&format!("    func main<{opset}>(tensor<")), "{name}");
            for scalar in [" string(", " bool(", " int32(", " fp16(", "uint64("] {
                assert!(!older.contains(scalar), "{name} has `{scalar}`");
            }
            assert!(
                older.contains(
                    "BLOBFILE(path = tensor<string, []>(\"@model_path/weights/weight.bin\"), offset = \
                     tensor<uint64, []>("
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn only_names_of_types_become_tensors() {
        for (newer, older) in [
            ("int32 x = const()[val = int32(3)];", "tensor<int32, []> x = const()[val = tensor<int32, []>(3)];"),
            ("string string = const();", "tensor<string, []> string = const();"),
            (
                "tensor<fp16, [1, ?]> y = mul(x = fp16, y = int32);",
                "tensor<fp16, [1, ?]> y = mul(x = fp16, y = int32);",
            ),
            (
                "tensor<fp32, [2]>([0x1p-4, -inf])[name = string(\"bool x int32(\")]",
                "tensor<fp32, [2]>([0x1p-4, -inf])[name = tensor<string, []>(\"bool x int32(\")]",
            ),
            (
                "func bool<ios15>(fp32 a, fp16 b) {} -> (fp16, a);",
                "func bool<ios15>(tensor<fp32, []> a, tensor<fp16, []> b) {} -> (fp16, a);",
            ),
            ("my_bool x, int32_1 y, \"é\"", "my_bool x, int32_1 y, \"é\""),
        ] {
            assert_eq!(older_text(newer), older);
        }
    }

    #[test]
    fn the_systems_are_those_of_the_target() {
        let available = |name: &str| {
            let json: Json = serde_json::from_slice(&compile(name).unwrap()["metadata.json"]).unwrap();
            json[0]["availability"].to_string()
        };
        let expected =
            r#"{"iOS":"15.0","macCatalyst":"15.0","macOS":"12.0","tvOS":"15.0","visionOS":"1.0","watchOS":"8.0"}"#;
        assert_eq!(available("attention_ios15"), expected);
        let expected =
            r#"{"iOS":"18.0","macCatalyst":"18.0","macOS":"15.0","tvOS":"18.0","visionOS":"2.0","watchOS":"11.0"}"#;
        assert_eq!(available("attention_ios18"), expected);
    }
}
