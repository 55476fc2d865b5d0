//! How fast programs run on the CPU: a convolution and a matrix-vector product by themselves, and a picture of 1024 x
//! 1024 pixels from a decoder of TAEF1's size (64 channels, 16 latent channels, made up here), in float32 and with
//! every result rounded to float16.
//!
//! `cargo bench --bench interpreter`. `RAYON_NUM_THREADS` says how many processors are used.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use candle_core::{DType, Device, Tensor};
use mlreg::{
    base::Target,
    emit::coreml::Package,
    eval::{Interpreter, Mode},
    mil::{Builder, Constant, DataType, Literal, Program, Recipe, TensorType, Var},
    ops::{self, ConvOptions},
    recipe::Literals,
};

#[path = "made_up/mod.rs"]
mod made_up;

const MANIFEST: &str = r#"
[package]
name = "decoder"
version = "1.0.0"

[[component]]
name = "decoder"
checkpoint = "checkpoint"
architecture = "autoencoder-tiny"
size = 1024
precision = ["float32", "float16"]
target = "iOS18"
"#;
const RUNS: usize = 5;

#[expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]
fn main() {
    let print = |what: &str, duration: Duration| println!("{what:<32} {:8.1} ms", duration.as_secs_f64() * 1e3);
    print(
        "conv 3x3, 64 of 64, 1024 x 1024",
        operator(&[1, 64, 1024, 1024], &[64, 64, 3, 3], |builder, x, weight| {
            builder.conv("y", x, weight, ConvOptions::padded(1)).unwrap()
        }),
    );
    print(
        "linear, one row, 4096 of 4096",
        operator(&[1, 1, 4096], &[4096, 4096], |builder, x, weight| builder.linear("y", x, weight, None).unwrap()),
    );
    let folder = tempfile::tempdir().unwrap();
    build(folder.path());
    for (precision, mode) in [("float32", Mode::Float32), ("float16", Mode::Declared)] {
        let bundle = folder.path().join(format!("out/decoder/decoder-1024-{precision}-ios18.mlpackage"));
        print(&format!("decoder, 1024 x 1024, {precision}"), decode(&bundle, mode));
    }
    if let Some(peak) = peak() {
        println!("{:<32} {:8.1} MB", "peak memory", peak / 1e3);
    }
}

/// The best run of a function of one operation on `x` with a constant weight; from the third run on, the weight is
/// kept.
fn operator(x: &[u64], weight: &[u64], operation: impl FnOnce(&mut Builder, Var, &Constant) -> Var) -> Duration {
    let values = (0..weight.iter().product()).map(|i: u64| (i % 7) as f32 * 0.125 - 0.375).collect();
    let weight = Recipe::literal(DataType::Float32, weight, Literal::Floats(values)).unwrap();
    let mut builder = Builder::new(ops::find, Target::Ios18);
    let input = builder.input("x", TensorType::new(DataType::Float32, x));
    let result = operation(&mut builder, input, &weight);
    let functions = BTreeMap::from([("main".to_owned(), builder.finish(&[("y", result)]).unwrap())]);
    let program = Program {
        target: Target::Ios18,
        functions,
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    };
    best(&Interpreter::new(&program, ops::OPERATORS, &Literals), "x", x, Mode::Float32)
}

fn decode(bundle: &Path, mode: Mode) -> Duration {
    let package = Package::open(bundle).unwrap();
    best(&package.interpreter(ops::OPERATORS), "latent", &[1, 16, 128, 128], mode)
}

fn best(interpreter: &Interpreter<'_>, input: &str, shape: &[u64], mode: Mode) -> Duration {
    let shape: Vec<usize> = shape.iter().map(|&n| n as usize).collect();
    let x = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let run = |_| {
        let start = Instant::now();
        interpreter.run(None, BTreeMap::from([(input.to_owned(), x.clone())]), mode).unwrap();
        start.elapsed()
    };
    (0..RUNS).map(run).min().unwrap()
}

fn build(folder: &Path) {
    fs::create_dir(folder.join("checkpoint")).unwrap();
    fs::write(folder.join("checkpoint/model.safetensors"), made_up::image_decoder(64, 16)).unwrap();
    fs::write(folder.join("decoder.toml"), MANIFEST).unwrap();
    let arguments = ["--quiet", "build", "decoder.toml", "--home", "home", "--out", "out"];
    let status = Command::new(env!("CARGO_BIN_EXE_mlreg")).args(arguments).current_dir(folder).status().unwrap();
    assert!(status.success());
}

/// Peak resident memory in kB, where the system says it.
fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?.trim().parse().ok()
}
