//! `inspect` of packages that are written here, and of what is none.

use std::{collections::BTreeMap, fs, path::Path};

use mlreg::{
    base::Target,
    emit::{
        FileSource,
        coreml::{BlobLayout, BlobPiece, ModelMetadata, Unchecked, encode, package_files, weight_reference},
    },
    mil::{
        Binding, Block, DataType, Function, Operation, Program, Recipe, Scope, TensorType, Value, ValueId, ValueInfo,
        ValueType,
    },
};

use super::Sandbox;

const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

/// `y = x + w`, with `w` in a weight file.
fn program() -> Program {
    let ty = ValueType::Tensor(TensorType::new(DataType::Float16, &[1, 64]));
    let value = |name: &str| ValueInfo { name: name.to_owned(), ty: ty.clone() };
    let recipe = Recipe::blob(&weight_reference("weight.bin"), 64, DataType::Float16, &[1, 64]);
    let operation = |kind: &str, inputs: &[(&str, u32)], output: u32, attributes: BTreeMap<String, Value>| Operation {
        kind: kind.to_owned(),
        name: format!("{kind}_{output}"),
        inputs: inputs.iter().map(|(name, id)| ((*name).to_owned(), vec![Binding::Value(ValueId(*id))])).collect(),
        outputs: vec![ValueId(output)],
        blocks: Vec::new(),
        attributes,
        scope: Scope::default(),
    };
    let constant = operation("const", &[], 1, BTreeMap::from([("val".to_owned(), Value::Tensor(recipe))]));
    let add = operation("add", &[("x", 0), ("y", 1)], 2, BTreeMap::new());
    let block = Block { operations: vec![constant, add], outputs: vec![ValueId(2)], ..Block::default() };
    let function = Function {
        opset: Target::Ios18,
        values: vec![value("x"), value("w"), value("y")],
        inputs: vec![ValueId(0)],
        block,
        attributes: BTreeMap::new(),
    };
    Program {
        target: Target::Ios18,
        functions: BTreeMap::from([("main".to_owned(), function)]),
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    }
}

fn write_package(folder: &Path) {
    let metadata = ModelMetadata { author: "someone".to_owned(), ..ModelMetadata::default() };
    let specification = encode(&program(), &metadata, &Unchecked).unwrap();
    let mut layout = BlobLayout::new();
    layout.add(DataType::Float16, 64).unwrap();
    let piece = |piece| match piece {
        BlobPiece::Bytes(bytes) => bytes,
        BlobPiece::Data(_) => vec![0; 128],
    };
    let weights: Vec<u8> = layout.pieces().flat_map(piece).collect();
    for (path, source) in package_files(specification, &["weight.bin"]).unwrap() {
        let bytes = match source {
            FileSource::Bytes(bytes) => bytes,
            FileSource::WeightFile(_) => weights.clone(),
        };
        let file = path.below(folder);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    write_package(&sandbox.path("tae.mlpackage"));
    sandbox
}

#[test]
fn a_package_shows_features_operators_and_weights() {
    let run = sandbox().run(&["inspect", "tae.mlpackage"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    for line in [
        "bundle  [DIR]/tae.mlpackage\n",
        "target  iOS18 (specification 9)\n",
        "author  someone\n",
        "memory  weights 128 B, inputs 128 B, outputs 128 B, activations 128 B at add_2 (add); estimated without \
         fusing\n",
        "needs   iOS16 (declared for iOS18): float16 inputs, float16 outputs\n",
        "\nmain\tinput\tx float16[1,64]\n",
        "\nmain\toutput\ty float16[1,64]\n",
        "\nmain\tadd\t1\n",
        &format!("\n{WEIGHTS}\tfloat16\t1\t64\t128 B\n"),
    ] {
        assert!(run.stdout.contains(line), "{line:?} is not in\n{}", run.stdout);
    }
}

#[test]
fn the_document_has_the_same() {
    let document = sandbox().run(&["inspect", "tae.mlpackage", "--json"]).json("mlreg/cli/inspect/1");
    assert_eq!((document["subject"].as_str(), document["model_type"].as_str()), (Some("bundle"), Some("mlProgram")));
    assert_eq!(document["weights"][0]["dtypes"]["float16"]["elements"], 64);
    assert_eq!(document["operations"][0]["operators"], serde_json::json!({ "add": 1 }));
    assert_eq!(document["files"], 3);
    let memory = &document["memory"][0];
    assert_eq!(memory["weights"], serde_json::json!({ "records": 1, "bytes": 128, "expanded": 0 }));
    let peak = serde_json::json!({ "function": "main", "name": "add_2", "operator": "add" });
    assert_eq!(memory["activations"], serde_json::json!({ "bytes": 128, "unknown": 0, "peak": peak }));
    assert_eq!(
        (document["needs"]["floor"].as_str(), document["needs"]["declared"].as_str()),
        (Some("iOS16"), Some("iOS18"))
    );
    assert_eq!(
        document["needs"]["reasons"][0],
        serde_json::json!({ "what": "float16 inputs", "target": "iOS16", "operations": [] })
    );
    assert_eq!(document["warnings"], serde_json::json!([]));
    assert!(document.get("program").is_none());
}

/// A package that coremltools made.
fn made_elsewhere(name: &str) -> String {
    format!("{}/fixtures/models/{name}.mlpackage", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_a_package_needs_is_said_with_its_reasons() {
    let (sandbox, path) = (Sandbox::new(), made_elsewhere("language_int4_ios18"));
    let run = sandbox.run(&["inspect", &path]);
    let reasons = "states, int4 weights (constexpr_blockwise_shift_scale), read_state, scaled_dot_product_attention, \
         slice_update, write_state";
    assert!(run.stdout.contains(&format!("\nneeds   iOS18: {reasons}\n")), "{run:?}");
    let attention = "\tiOS18\tscaled_dot_product_attention\n";
    assert!(!run.stdout.contains(attention), "{run:?}");
    assert!(sandbox.run(&["inspect", &path, "-v"]).stdout.contains(attention));
    let document = sandbox.run(&["inspect", &path, "--json"]).json("mlreg/cli/inspect/1");
    let reasons = document["needs"]["reasons"].as_array().unwrap();
    let attention = reasons.iter().find(|need| need["what"] == "scaled_dot_product_attention").unwrap();
    assert_eq!((attention["target"].as_str(), attention["operations"].as_array().unwrap().len()), (Some("iOS18"), 2));
}

#[test]
fn warnings_come_last_and_have_names() {
    let (sandbox, path) = (Sandbox::new(), made_elsewhere("language_int4_ios18"));
    let run = sandbox.run(&["inspect", &path]);
    let states = "warning: the last dimension of states is no multiple of 32, to which the Neural Engine pads: `keys`, \
         `values`\n";
    assert!(run.code == Some(0) && run.stderr.ends_with(states), "{run:?}");
    assert_eq!(sandbox.run(&["inspect", &path, "-q"]).stderr, "");
    let document = sandbox.run(&["inspect", &path, "--json"]).json("mlreg/cli/inspect/1");
    let rules: Vec<_> =
        document["warnings"].as_array().unwrap().iter().map(|warning| (&warning["rule"], &warning["names"])).collect();
    let [flexible, states] = [serde_json::json!(["ids", "mask"]), serde_json::json!(["keys", "values"])];
    assert_eq!(rules, [(&"flexible-shapes".into(), &flexible), (&"state-alignment".into(), &states)]);
}

#[test]
fn functions_have_a_line_of_memory_each() {
    let path = format!("{}/fixtures/packages/multifunction_ios18.mlpackage", env!("CARGO_MANIFEST_DIR"));
    let run = Sandbox::new().run(&["inspect", &path]);
    let line = |function: &str, input, output, name: &str| {
        format!(
            "memory  {function}: weights 160 B, inputs {input} B, outputs {output} B, activations {output} B at {name} \
             (linear); estimated "
        )
    };
    for line in [
        line("decode", 8, 32, "result"),
        line("prefill", 64, 256, "result"),
        "\nneeds   iOS18: several functions\n".to_owned(),
    ] {
        assert!(run.stdout.contains(&line), "{line:?} is not in\n{}", run.stdout);
    }
}

#[test]
fn the_program_is_printed_as_text() {
    let run = sandbox().run(&["inspect", "tae.mlpackage", "--program"]);
    assert!(run.stdout.starts_with("program(iOS18)\nfunc main<ios18>("), "{run:?}");
    assert!(run.stdout.contains(" = add(x = x, y = w);\n"), "{run:?}");
}

#[test]
fn a_missing_weight_file_is_a_problem_and_not_the_end() {
    let sandbox = sandbox();
    fs::remove_file(sandbox.path("tae.mlpackage").join(WEIGHTS)).unwrap();
    let run = sandbox.run(&["inspect", "tae.mlpackage"]);
    assert_eq!(run.code, Some(0));
    assert!(run.stdout.contains("\nmain\tinput\tx float16[1,64]\n"), "{run:?}");
    assert!(
        run.stderr.starts_with("warning: the program cannot be read: ") && run.stderr.contains("weight.bin"),
        "{run:?}"
    );
    assert_eq!(sandbox.run(&["inspect", "tae.mlpackage", "--program"]).code, Some(1));
}

#[test]
fn a_compiled_model_tells_its_features() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("tae.mlmodelc");
    fs::create_dir(&folder).unwrap();
    let json = r#"[{ "specificationVersion": 9, "modelType": { "name": "MLModelType_mlProgram" }, "inputSchema": [
        { "name": "latent", "type": "MultiArray", "dataType": "Float16", "shape": "[1, 16]" }], "outputSchema": [] }]"#;
    fs::write(folder.join("metadata.json"), json).unwrap();
    let run = sandbox.run(&["inspect", "tae.mlmodelc"]);
    assert!(run.stdout.contains("\nmain\tinput\tlatent float16[1,16]\n"), "{run:?}");
    assert!(!run.stdout.contains("\nmemory") && !run.stdout.contains("\nneeds"), "{run:?}");
    let program = sandbox.run(&["inspect", "tae.mlmodelc", "--program"]);
    assert_eq!(program.code, Some(1));
    assert!(program.stderr.ends_with("\n\nhint: inspect the .mlpackage that it was compiled from\n"), "{program:?}");
}

/// A safetensors file of float32 tensors.
fn safetensors(tensors: &[(&str, u64)]) -> Vec<u8> {
    let (mut header, mut begin) = (serde_json::Map::new(), 0);
    for (name, length) in tensors {
        let end = begin + 4 * length;
        header.insert(
            (*name).to_owned(),
            serde_json::json!({ "dtype": "F32", "shape": [length], "data_offsets": [begin, end] }),
        );
        begin = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; begin as usize]].concat()
}

#[test]
fn a_checkpoint_shows_its_tensors() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("tiny");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.json"), r#"{ "architectures": ["T5Model"], "model_type": "t5" }"#).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors(&[("a", 3), ("b", 4)])).unwrap();
    let run = sandbox.run(&["inspect", "tiny"]);
    assert!(run.stdout.contains("\nmodel       t5\nparameters  7\nsize        28 B in 2 tensors\n"), "{run:?}");
    assert!(run.stdout.ends_with("\nF32\t2\t7\t28 B\n"), "{run:?}");
    assert!(sandbox.run(&["inspect", "tiny", "-v"]).stdout.ends_with("\na\tF32\t[3]\nb\tF32\t[4]\n"));
    let document = sandbox.run(&["inspect", "tiny/model.safetensors", "--json"]).json("mlreg/cli/inspect/1");
    assert_eq!((document["subject"].as_str(), document["parameters"].as_u64()), (Some("checkpoint"), Some(7)));
    fs::write(
        folder.join("config.json"),
        r#"{ "model_type": "llama", "quantization_config": { "quant_method": "gptq", "bits": 4 } }"#,
    )
    .unwrap();
    let run = sandbox.run(&["inspect", "tiny"]);
    assert!(run.stdout.contains("\nmodel       llama\nquantized   gptq, 4 bits\n"), "{run:?}");
    let program = sandbox.run(&["inspect", "tiny", "--program"]);
    assert!(program.stderr.ends_with(" has no program that can be printed: it is a checkpoint\n"), "{program:?}");
    fs::write(folder.join("model.safetensors"), b"short").unwrap();
    assert_eq!(sandbox.run(&["inspect", "tiny"]).code, Some(1));
}

#[test]
fn what_is_no_bundle_says_what_one_is() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("notes.txt"), "x").unwrap();
    let run = sandbox.run(&["inspect", "notes.txt"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("error: `[DIR]/notes.txt` is neither a bundle "), "{run:?}");
    let run = sandbox.run(&["inspect", "absent.mlpackage"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("error: cannot read `[DIR]/absent.mlpackage`\n  caused by: "), "{run:?}");
    fs::create_dir(sandbox.path("x.mlpackage")).unwrap();
    fs::write(sandbox.path("x.mlpackage/Manifest.json"), "{}").unwrap();
    let run = sandbox.run(&["inspect", "x.mlpackage"]);
    assert!(
        run.stderr.starts_with("error: cannot read the model `[DIR]/x.mlpackage/Manifest.json`\n  caused by: "),
        "{run:?}"
    );
}
