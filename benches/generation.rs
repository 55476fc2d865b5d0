//! How fast text is generated on the CPU: a cached decoder of flan-t5-base's size (12 layers, width 768, 163 million
//! parameters with its head, made up here), a token a call, in float32 and with every result rounded to float16.
//!
//! `cargo bench --bench generation`. `RAYON_NUM_THREADS` says how many processors are used.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use mlreg::{
    contract::Feature,
    emit::coreml::Package,
    eval::{Interpreter, Mode, States},
    ops,
};

#[path = "made_up/mod.rs"]
mod made_up;

const MANIFEST: &str = r#"
[package]
name = "translator"
version = "1.0.0"

[[component]]
name = "decoder"
checkpoint = "checkpoint"
sequence = 1
encoder-sequence = 128
context = 256
cache = "state"
precision = ["float32", "float16"]
target = "iOS18"
"#;
const TOKENS: usize = 24;

#[expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]
fn main() {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path());
    for (precision, mode) in [("float32", Mode::Float32), ("float16", Mode::Declared)] {
        let bundle =
            folder.path().join(format!("out/translator/decoder-s1-e128-c256-state-{precision}-ios18.mlpackage"));
        let package = Package::open(&bundle).unwrap();
        let times = generate(&package, mode);
        let first: f64 = times[..2].iter().map(Duration::as_secs_f64).sum();
        let mut later = times[2..].to_vec();
        later.sort_unstable();
        println!("{precision}: first two tokens {:8.1} ms", first * 1e3);
        println!("{precision}: a later token    {:8.1} ms (median)", later[later.len() / 2].as_secs_f64() * 1e3);
    }
}

/// How long every token took.
fn generate(package: &Package, mode: Mode) -> Vec<Duration> {
    let interpreter = package.interpreter(ops::OPERATORS);
    let cross = package.interface(Some("cross")).unwrap();
    let mut inputs = interpreter.run(Some("cross"), ones(&cross.inputs, &[]), mode).unwrap();
    let main = package.interface(None).unwrap();
    inputs.extend(ones(&main.inputs, &inputs.keys().cloned().collect::<Vec<_>>()));
    let mut states = States::default();
    (0..TOKENS).map(|position| token(&interpreter, &mut inputs, &mut states, position, mode)).collect()
}

fn token(
    interpreter: &Interpreter<'_>,
    inputs: &mut BTreeMap<String, Tensor>,
    states: &mut States,
    position: usize,
    mode: Mode,
) -> Duration {
    inputs.insert("position".to_owned(), Tensor::from_vec(vec![position as i64], 1, &Device::Cpu).unwrap());
    let start = Instant::now();
    interpreter.run_with_states(None, inputs.clone(), states, mode).unwrap();
    start.elapsed()
}

/// Ones for what is not there yet.
fn ones(features: &[Feature], there: &[String]) -> BTreeMap<String, Tensor> {
    let missing = features.iter().filter(|feature| !there.contains(&feature.name));
    let one = |feature: &Feature| {
        let shape: Vec<usize> = feature.shape.iter().map(|&n| n as usize).collect();
        let dtype = if feature.dtype.starts_with("float") { DType::F32 } else { DType::I64 };
        (feature.name.clone(), Tensor::ones(shape, dtype, &Device::Cpu).unwrap())
    };
    missing.map(one).collect()
}

fn build(folder: &Path) {
    let (config, weights) = made_up::translator(1, 12);
    fs::create_dir(folder.join("checkpoint")).unwrap();
    fs::write(folder.join("checkpoint/config.json"), config).unwrap();
    fs::write(folder.join("checkpoint/model.safetensors"), weights).unwrap();
    fs::write(folder.join("translator.toml"), MANIFEST).unwrap();
    let arguments = ["--quiet", "build", "translator.toml", "--home", "home", "--out", "out"];
    let status = Command::new(env!("CARGO_BIN_EXE_mlreg")).args(arguments).current_dir(folder).status().unwrap();
    assert!(status.success());
}
