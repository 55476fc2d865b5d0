//! What a fetch costs that finds everything in place, as in every build of an app: 12 bundles that share a weight file,
//! and an app with 20 packages of 50 files each.
//!
//! `cargo bench --bench noop_fetch`. The call of the library, whole processes, and what one costs that does nothing.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use mlreg::{
    fetch::Layout,
    remote::RemoteUrl,
    workflow::{
        Context,
        fetch::{FetchOptions, FetchStatus, fetch},
    },
};

const RUNS: u32 = 50;

#[expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]
fn main() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/flux_1_tae.toml");
    mlreg(folder.path(), &["build", manifest.to_str().unwrap()]);
    mlreg(folder.path(), &["publish", "flux-1-tae", "--to", "registry"]);
    let fetch = ["fetch", "flux-1-tae", "--from", "registry", "--out", "Models"];
    let first = mlreg(folder.path(), &fetch);
    let called: Vec<Duration> = (0..RUNS).map(|_| call(folder.path())).collect();
    let again: Vec<Duration> = (0..RUNS).map(|_| mlreg(folder.path(), &fetch)).collect();
    let nothing: Vec<Duration> = (0..RUNS).map(|_| mlreg(folder.path(), &["--version"])).collect();
    println!("first fetch, from a folder         {:8.2} ms", milliseconds(first));
    println!("fetch of what is there, a call     {:8.2} ms", milliseconds(median(called)));
    println!("fetch of what is there, a process  {:8.2} ms", milliseconds(median(again)));
    println!("  of that, a process that starts   {:8.2} ms", milliseconds(median(nothing)));
    let app = app(folder.path());
    let whole: Vec<Duration> = (0..RUNS).map(|_| mlreg(&app, &["fetch"])).collect();
    println!("an app of 20 packages, 1000 files  {:8.2} ms", milliseconds(median(whole)));
}

/// An app with 20 packages of ten bundles of five files, fetched.
fn app(folder: &Path) -> PathBuf {
    let app = folder.join("app");
    fs::create_dir(&app).unwrap();
    let mut manifest = "[defaults]\ntarget = \"iOS17\"\nout = \"Models\"\nfrom = \"registry\"\n[packages]\n".to_owned();
    for package in 0..20 {
        let name = format!("package-{package}");
        let mut text = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n");
        for component in 0..10 {
            let files: Vec<String> = (0..5).map(|file| format!("{package}-{component}-{file}.bin")).collect();
            files.iter().for_each(|file| fs::write(app.join(file), file).unwrap());
            write!(text, "[[component]]\nname = \"part-{component}\"\nfiles = {files:?}\n").unwrap();
        }
        fs::write(app.join(format!("{name}.toml")), text).unwrap();
        mlreg(&app, &["publish", &format!("{name}.toml"), "--to", "registry"]);
        writeln!(manifest, "{name} = \"1\"").unwrap();
    }
    fs::write(app.join("mlreg.toml"), manifest).unwrap();
    mlreg(&app, &["fetch"]);
    app
}

/// The same fetch as a call, with nothing opened before.
fn call(folder: &Path) -> Duration {
    let context = Context::new(&folder.join("home"), folder.to_owned()).unwrap();
    let options = FetchOptions {
        requests: vec!["flux-1-tae".parse().unwrap()],
        from: Some(RemoteUrl::folder(folder.join("registry"))),
        floor: None,
        variants: Vec::new(),
        components: Vec::new(),
        tags: Vec::new(),
        deliveries: Vec::new(),
        out: "Models".into(),
        layout: Layout::default(),
        offline: false,
        upgrade: false,
        verify: false,
        staging: Default::default(),
        dry_run: false,
    };
    let start = Instant::now();
    let report = fetch(&context, &options).unwrap();
    assert_eq!(report.packages[0].status, FetchStatus::UpToDate);
    start.elapsed()
}

fn mlreg(folder: &Path, arguments: &[&str]) -> Duration {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_mlreg"))
        .args(["--quiet", "--home", "home"])
        .args(arguments)
        .current_dir(folder)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
