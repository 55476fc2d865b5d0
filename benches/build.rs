//! How long a build takes and how much memory it needs: a decoder of TAEF1's size (64 channels, 16 latent channels, 1.2 million
//! parameters in float32, made up here) for six picture sizes and two deployment targets, into an empty store and again.
//!
//! `cargo bench --bench build`. Every run is a process of its own, so that its peak memory is its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const MANIFEST: &str = r#"
[package]
name = "decoder"
version = "1.0.0"

[[component]]
name = "decoder"
checkpoint = "checkpoint"
architecture = "autoencoder-tiny"
size = [768, 1024, 1280, 1536, 1792, 2048]
layout = "nhwc"
precision = "float16"
target = ["iOS15", "iOS18"]
"#;
const RUNS: usize = 5;

#[expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]
fn main() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    fs::write(folder.path().join("checkpoint/model.safetensors"), checkpoint(64, 16)).unwrap();
    fs::write(folder.path().join("decoder.toml"), MANIFEST).unwrap();
    let empty = best(|run| mlreg(folder.path(), &format!("home-{run}")));
    let again = best(|_| mlreg(folder.path(), "home-0"));
    let weights = files(&folder.path().join("home-0/blobs"));
    println!("build, 12 variants, empty store  {:8.1} ms", milliseconds(empty));
    println!("build, nothing changed           {:8.1} ms", milliseconds(again));
    println!(
        "largest blob                     {:8.1} kB of {:.1} kB stored",
        weights.iter().copied().fold(0.0, f64::max) / 1e3,
        weights.iter().sum::<f64>() / 1e3
    );
    if let Some(peak) = peak(folder.path()) {
        println!("peak memory                      {:8.1} MB", peak / 1e3);
    }
}

fn best(mut run: impl FnMut(usize) -> Duration) -> Duration {
    (0..RUNS).map(&mut run).min().unwrap()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn command(folder: &Path, home: &str) -> Vec<PathBuf> {
    let arguments = [env!("CARGO_BIN_EXE_mlreg"), "--quiet", "build", "decoder.toml", "--home"].map(PathBuf::from);
    arguments.into_iter().chain([folder.join(home)]).collect()
}

fn mlreg(folder: &Path, home: &str) -> Duration {
    let command = command(folder, home);
    let start = Instant::now();
    let status = Command::new(&command[0]).args(&command[1..]).current_dir(folder).status().unwrap();
    assert!(status.success());
    start.elapsed()
}

/// Peak resident memory in kB, where GNU time can say it.
fn peak(folder: &Path) -> Option<f64> {
    let output = Command::new("/usr/bin/time").args(["-f", "%M"]).args(command(folder, "home-peak")).current_dir(folder).output().ok()?;
    String::from_utf8(output.stderr).ok()?.trim().lines().last()?.parse().ok()
}

/// Lengths of all files below a folder.
fn files(folder: &Path) -> Vec<f64> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.metadata().unwrap().len() as f64] })
        .collect()
}

/// A safetensors file of a decoder in the layout of diffusers: three blocks, upsampling and a convolution per resolution, one last block.
fn checkpoint(width: u64, latent: u64) -> Vec<u8> {
    let mut shapes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut conv = |name: String, shape: [u64; 2], bias: bool| {
        shapes.insert(format!("decoder.layers.{name}.weight"), vec![shape[1], shape[0], 3, 3]);
        shapes.extend(bias.then(|| (format!("decoder.layers.{name}.bias"), vec![shape[1]])));
    };
    conv("0".to_owned(), [latent, width], true);
    let mut index = 2;
    for blocks in [3, 3, 3, 1] {
        for _ in 0..blocks {
            [0, 2, 4].into_iter().for_each(|part| conv(format!("{index}.conv.{part}"), [width, width], true));
            index += 1;
        }
        if blocks == 3 {
            conv((index + 1).to_string(), [width, width], false);
            index += 2;
        }
    }
    conv(index.to_string(), [width, 3], true);
    write(&shapes)
}

fn write(shapes: &BTreeMap<String, Vec<u64>>) -> Vec<u8> {
    let mut end = 0;
    let entries = shapes.iter().map(|(name, shape)| {
        let begin = end;
        end += 4 * shape.iter().product::<u64>();
        (name.clone(), serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] }))
    });
    let header = serde_json::Value::Object(entries.collect()).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let mut state = 1_u64;
    for _ in 0..end / 4 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.extend((((state >> 40) as f32 / 16_777_216.0 - 0.5) / 8.0).to_le_bytes());
    }
    file
}
