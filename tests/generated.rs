//! Generated files are fresh: what is checked in is what the generators make today. `BLESS=1` writes them instead.

use std::{collections::BTreeMap, env, fs, path::Path};

const HEADER: &str = "// Generated from proto/; `BLESS=1 cargo test --test generated` writes it again.\n";

fn check(path: &Path, fresh: &str) {
    if env::var_os("BLESS").is_some() {
        fs::write(path, fresh).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let present = fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n");
    let line = present.lines().zip(fresh.lines()).take_while(|(a, b)| a == b).count() + 1;
    assert!(present == fresh, "{} is not fresh from line {line} on: run `BLESS=1 cargo test --test generated`", path.display());
}

/// Generated Rust by protobuf package.
fn generate(sources: &[&str]) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(sources, [root.join("proto")]).expect("the sources are valid protobuf");
    let out = tempfile::tempdir().expect("a folder for the generated code");
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(files)
        .expect("prost understands every construct that the sources use");
    let entries = fs::read_dir(out.path()).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn core_ml_messages() {
    let generated = generate(&["coreml/model.proto", "coreml/mil.proto"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto");
    let files = [("core_ml.specification", "coreml.rs"), ("core_ml.specification.mil_spec", "mil.rs")];
    assert_eq!(generated.len(), files.len(), "packages: {:?}", generated.keys());
    for (package, file) in files {
        check(&folder.join(file), &format!("{HEADER}{}", generated[package]));
    }
}
