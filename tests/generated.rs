//! Generated files are fresh: what is checked in is what the generators make today. `BLESS=1` writes them instead.

use std::{collections::BTreeMap, env, fs, path::Path};

use mlreg::{
    arch::{ARCHITECTURES, COMMON_KEYS, ConfigKey, KeyRule},
    base::Target,
};

const HEADER: &str = "// Generated from proto/; `BLESS=1 cargo test --test generated` writes it again.\n";

#[expect(clippy::disallowed_methods, reason = "tests ask whether to rewrite what they compare with")]
fn check(path: &Path, fresh: &str) {
    if env::var_os("BLESS").is_some() {
        fs::write(path, fresh).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let present = fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n");
    let line = present.lines().zip(fresh.lines()).take_while(|(a, b)| a == b).count() + 1;
    assert!(
        present == fresh,
        "{} is not fresh from line {line} on: run `BLESS=1 cargo test --test generated`",
        path.display()
    );
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
    paths
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
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

/// Of coremltools' registry, what is no operator of a program here, and why.
const NOT_COVERED: [(&str, &str); 2] = [
    ("const", "a constant is part of the program, not an operator"),
    ("conv_quantized", "experimental; coremltools never writes it into an ML Program"),
];
/// Declared, but not evaluated.
const NOT_EVALUATED: &str = "random_";

#[test]
fn operator_coverage() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let registry = fs::read_to_string(root.join("fixtures/ops/contracts.json")).expect("the registry of coremltools");
    let registry: BTreeMap<String, BTreeMap<Target, serde_json::Value>> =
        serde_json::from_str(&registry).expect("a table of contracts");
    let mut ops: Vec<_> = mlreg::ops::all().map(|op| &op.def).collect();
    ops.sort_by_key(|op| op.name);
    let missing: Vec<_> = registry.keys().filter(|name| !ops.iter().any(|op| op.name == name.as_str())).collect();
    assert_eq!(missing, NOT_COVERED.map(|(name, _)| name), "every other operator is covered");
    check(&root.join("src/ops/COVERAGE.md"), &coverage(&registry, &ops));
}

fn coverage(registry: &BTreeMap<String, BTreeMap<Target, serde_json::Value>>, ops: &[&mlreg::mil::OpDef]) -> String {
    let targets = [Target::Ios15, Target::Ios16, Target::Ios17, Target::Ios18, Target::Ios26];
    let mut text = "# Operators\n\n<!-- Generated from the operators' declarations; `BLESS=1 cargo test --test \
         generated` writes it again. -->\n\n\
        What programs may use, of the operator registry of coremltools 9.0. A target has the operators of older ones too; contracts (names, element\n\
        types, what is constant) are compared with the registry by a test.\n\n| target | in the registry | covered |\n|---|---|---|\n"
        .to_owned();
    for target in targets {
        let there = registry.values().filter(|contracts| contracts.keys().any(|since| *since <= target)).count();
        let covered = ops.iter().filter(|op| op.since() <= target && registry.contains_key(op.name)).count();
        text += &format!("| {target} | {there} | {covered} |\n");
    }
    text += "\nNot covered:\n\n";
    for (name, why) in NOT_COVERED {
        text += &format!("- `{name}`: {why}.\n");
    }
    text += "- `random_*` are declared, but not evaluated: their numbers come from the device's generator.\n";
    text += "\n`write_state` is not in the registry: coremltools makes it of `coreml_update_state` when it writes a \
         program.\n\n";
    text += "| operator | first target | contract changes | evaluated |\n|---|---|---|---|\n";
    for op in ops {
        let changes: Vec<String> = op.versions[1..].iter().map(|version| version.since.to_string()).collect();
        let evaluated = if op.name.starts_with(NOT_EVALUATED) { "no" } else { "yes" };
        text += &format!("| `{}` | {} | {} | {evaluated} |\n", op.name, op.since(), changes.join(", "));
    }
    text
}

/// What families do with the keys of configs, as a table for people.
#[test]
fn config_keys() {
    let row = |key: &ConfigKey| {
        let rule = match key.rule {
            KeyRule::Read => "read".to_owned(),
            KeyRule::Only([]) => "refused unless null".to_owned(),
            KeyRule::Only(values) => {
                format!(
                    "refused unless {}",
                    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ")
                )
            }
            KeyRule::Irrelevant(why) => format!("no number depends on it: {why}"),
            KeyRule::Storage => "settled before tensors are read: how weights are quantized".to_owned(),
        };
        format!("| `{}` | {rule} |\n", key.name)
    };
    let mut text = "# Keys of config.json\n\n<!-- Generated from the families' tables; `BLESS=1 cargo test --test \
         generated` writes it again. -->\n\n\
        What each architecture does with the keys of its checkpoints' `config.json`. A key that is in neither table of an architecture is refused by\n\
        name, unless its value is null, false or empty, or the component names it in `ignore-config`.\n"
        .to_owned();
    let common = ("Every architecture, unless its own table says otherwise", COMMON_KEYS.to_vec());
    let own = ARCHITECTURES.iter().map(|it| (it.name(), it.config_keys().iter().copied().flatten().copied().collect()));
    for (title, keys) in own.chain([common]) {
        text += &format!("\n## {title}\n\n| key | what becomes of it |\n|---|---|\n");
        text.extend(keys.iter().map(row));
    }
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/arch/CONFIG_KEYS.md"), &text);
}
