//! How long a build takes and how much memory it needs: a decoder of TAEF1's size (64 channels, 16 latent channels, 1.2
//! million parameters in float32, made up here) for six picture sizes and two deployment targets, into an empty store
//! and again.
//!
//! `cargo bench --bench build`. Every run is a process of its own, so that its peak memory is its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
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
    fs::write(folder.path().join("checkpoint/model.safetensors"), made_up::image_decoder(64, 16)).unwrap();
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
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%M"])
        .args(command(folder, "home-peak"))
        .current_dir(folder)
        .output()
        .ok()?;
    String::from_utf8(output.stderr).ok()?.trim().lines().last()?.parse().ok()
}

/// Lengths of all files below a folder.
fn files(folder: &Path) -> Vec<f64> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| {
            if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.metadata().unwrap().len() as f64] }
        })
        .collect()
}
