//! The real binary: help, exit codes, what goes to which stream, documents of `--json`. A few cases per command prove
//! the wiring; what verbs do is tested in their rooms. Every test has its own home and an empty environment.

mod app;
mod budget;
mod chat;
mod codegen;
mod eval;
mod eval_texts;
mod fetch;
mod foreign;
#[path = "../support/http_server.rs"]
mod http_server;
mod inspect;
mod journey;
mod language;
mod list;
mod mistakes;
mod names;
mod placed;
mod publish;
mod reference;
mod rm;
mod run;
mod run_text;
mod strangers;
mod streams;
mod verify;
mod xcode;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use mlreg::{
    base::{Blake3, Digest},
    store::{Origin, Segmentation, Store},
};
use serde_json::{Value, json};

/// A home, a working directory, and the binary.
struct Sandbox {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

/// What a run came to.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Sandbox {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((variable, value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlreg"));
        command
            .env_clear()
            .env("MLREG_HOME", self.home())
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| self.filtered(&String::from_utf8(bytes).unwrap());
        Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The sandbox's folder shows as `[DIR]`.
    fn filtered(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "[DIR]")
    }

    /// Puts releases of `tae` into the home, as if they were built here.
    fn with_releases(self, versions: &[&str]) -> Self {
        let store = Store::open(&self.home()).unwrap();
        for version in versions {
            store.put_release(&manifest(version), Origin::Built { published_to: BTreeSet::new() }).unwrap();
        }
        self
    }

    /// Puts a release of `tae` with all its bytes into the home: decoders for iOS15 and iOS18 that share 2000 bytes of
    /// weights.
    fn with_bytes(self, version: &str) -> Self {
        let store = Store::open(&self.home()).unwrap();
        let mut blobs = serde_json::Map::new();
        let mut file = |path: &str, bytes: Vec<u8>| {
            let stored = store.put(&bytes, Segmentation::Whole).unwrap();
            blobs.insert(stored.digest.to_string(), serde_json::to_value(&stored.blob).unwrap());
            json!({ "path": path, "sha256": stored.digest, "size": stored.blob.size })
        };
        let mut variants = Vec::new();
        for target in ["iOS15", "iOS18"] {
            let id = format!("decoder-768-float16-{}", target.to_lowercase());
            let files = [
                file("model.mlmodel", format!("{id} {version}").into_bytes()),
                file("weights/weight.bin", vec![7; 2000]),
            ];
            variants.push(json!({
                "id": id, "name": "decoder-768-float16", "component": "decoder", "target": target, "kind": "mlpackage",
                "delivery": "initial", "files": files,
            }));
        }
        let release = json!({ "schema": "mlreg/release/1", "package": "tae", "version": version, "variants": variants, "blobs": blobs });
        store
            .put_release(&serde_json::to_vec(&release).unwrap(), Origin::Built { published_to: BTreeSet::new() })
            .unwrap();
        self
    }

    /// Puts a release of `tae` with all its bytes into the home: a variant of 2000 bytes with the tag `small`, one of
    /// 5000 with `large`.
    fn with_tags(self, version: &str) -> Self {
        let store = Store::open(&self.home()).unwrap();
        let mut blobs = serde_json::Map::new();
        let variants: Vec<Value> = [("small", 2000), ("large", 5000)]
            .map(|(tag, size)| {
                let stored = store.put(&vec![size as u8; size], Segmentation::Whole).unwrap();
                blobs.insert(stored.digest.to_string(), serde_json::to_value(&stored.blob).unwrap());
                json!({
                    "id": format!("decoder-{tag}-ios18"), "name": format!("decoder-{tag}"), "component": "decoder", "target": "iOS18",
                    "kind": "mlpackage", "delivery": "initial", "tags": [tag],
                    "files": [{ "path": "weights/weight.bin", "sha256": stored.digest, "size": size }],
                })
            })
            .into();
        let mut variants = variants;
        variants.sort_by_key(|variant| variant["id"].as_str().unwrap().to_owned());
        let release = json!({ "schema": "mlreg/release/1", "package": "tae", "version": version, "variants": variants, "blobs": blobs });
        store
            .put_release(&serde_json::to_vec(&release).unwrap(), Origin::Built { published_to: BTreeSet::new() })
            .unwrap();
        self
    }

    /// Changes a byte of the shared weights in the home, as a disk would.
    fn damage_weights(&self) {
        let path = Store::open(&self.home()).unwrap().blob_path(&Digest::of(&[7; 2000]));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[77] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }

    /// Runs a command that should succeed.
    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{run:?}");
        run
    }

    /// Makes a registry of a release of `tae`, as a publication leaves it.
    fn with_registry(self, name: &str, version: &str) -> Self {
        let bytes = manifest(version);
        let packages = self.path(name).join("packages/tae");
        std::fs::create_dir_all(&packages).unwrap();
        std::fs::write(packages.join(format!("{version}.json")), &bytes).unwrap();
        let entry = json!({ "release": Digest::of(&bytes), "size": bytes.len() });
        let index = json!({ "package": "tae", "schema": "mlreg/index/1", "versions": { version: entry } });
        write_json(&packages.join("index.json"), &index);
        let catalogue =
            json!({ "packages": { "tae": { "latest": version, "versions": 1 } }, "schema": "mlreg/catalogue/1" });
        write_json(&self.path(name).join("mlreg.json"), &catalogue);
        self
    }
}

impl Run {
    #[track_caller]
    fn json(&self, schema: &str) -> Value {
        let document: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(document["schema"], schema, "{self:?}");
        document
    }
}

fn write_json(path: &Path, value: &Value) {
    std::fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

/// A release manifest of two variants that share a weight file.
fn manifest(version: &str) -> Vec<u8> {
    let digest = |name: &str| Digest::of(name.as_bytes());
    let file = |path: &str, blob: &str, size: u64| json!({ "path": path, "sha256": digest(blob), "size": size });
    let variant = |size: u64, delivery: &str| {
        let id = format!("decoder-{size}-float16-ios18");
        let feature = |name: &str, shape: [u64; 4]| json!({ "name": name, "dtype": "float16", "shape": shape });
        let interface = json!({
            "inputs": [feature("latent", [1, 16, size / 8, size / 8])],
            "outputs": [feature("image", [1, 3, size, size])],
        });
        json!({
            "id": id, "name": format!("decoder-{size}-float16"), "component": "decoder", "target": "iOS18", "kind": "mlpackage",
            "axes": { "size": size.to_string(), "precision": "float16" }, "delivery": delivery, "tags": ["preview"],
            "interface": interface, "files": [file("model", &id, size), file("weights", "weights", 2_400_000)],
        })
    };
    let blob = |name: &str, size: u64| {
        (digest(name).to_string(), json!({ "size": size, "blake3": Blake3::of(name.as_bytes()) }))
    };
    let blobs =
        [blob("decoder-768-float16-ios18", 768), blob("decoder-1024-float16-ios18", 1024), blob("weights", 2_400_000)];
    let release = json!({
        "schema": "mlreg/release/1", "package": "tae", "version": version, "license": "MIT",
        "variants": [variant(1024, "initial"), variant(768, "on-demand")],
        "blobs": serde_json::Map::from_iter(blobs),
    });
    serde_json::to_vec(&release).unwrap()
}
