//! From a checkpoint to an app, with the project's own manifests: build, publish, fetch from a web server, verify.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Sandbox, http_server::HttpServer};

fn manifest(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name).display().to_string()
}

/// Every file below `folder`, relative, sorted; hidden ones, too.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn a_checkpoint_lands_in_an_app_folder() {
    let sandbox = Sandbox::new();
    let built = sandbox.run(&["build", &manifest("flux_1_tae.toml"), "--json"]).json("mlreg/cli/build/1");
    let package = &built["packages"][0];
    assert_eq!((package["status"].as_str(), package["variants"].as_array().unwrap().len()), (Some("built"), 12));
    let published = sandbox.run(&["publish", "flux-1-tae", "--to", "registry", "--json"]).json("mlreg/cli/publish/1");
    assert_eq!((published["uploaded_blobs"].as_u64(), &published["release"]), (Some(14), &package["digest"]));
    let server = HttpServer::start(&sandbox.path("registry"));
    let app = Sandbox::new();
    let arguments = [
        "fetch",
        "flux-1-tae",
        "--from",
        &server.url(),
        "--target",
        "iOS17",
        "--variant",
        "decoder-1024-*",
        "--out",
        "App/Models",
    ];
    let run = app.run(&arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
    let bundle = "flux-1-tae/decoder-1024-nhwc-float16.mlpackage";
    let expected = bundle_files(bundle).into_iter().chain(["flux-1-tae/.mlreg.json".into()]).collect();
    assert_eq!(files(&app.path("App/Models")), expected);
    // Only the bytes of that variant were sent: for iOS17 that is the one for iOS15.
    let size = |file: &Path| fs::metadata(app.path("App/Models").join(file)).unwrap().len();
    let placed: u64 = bundle_files(bundle).iter().map(|file| size(file)).sum();
    assert!(server.bytes("blobs/") <= placed, "{} bytes for {placed}", server.bytes("blobs/"));
    assert_eq!(app.run(&["verify", "App/Models"]).code, Some(0));
    let requests = server.requests("");
    let again = app.run(&arguments);
    assert_eq!((again.code, server.requests("")), (Some(0), requests), "{again:?}");
    assert!(again.stderr.contains("up to date"), "{again:?}");
}

fn bundle_files(bundle: &str) -> [PathBuf; 3] {
    ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"]
        .map(|file| Path::new(bundle).join(file))
}

#[test]
fn the_layout_of_the_hand_off_has_one_weight_file() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(&["build", &manifest("flux_1_tae.toml"), "--out", "Models", "--layout", "shared"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout.lines().count(), 12, "{run:?}");
    assert!(run.stderr.contains("built flux-1-tae@1.0.0: 12 variants"), "{run:?}");
    let found = files(&sandbox.path("Models/flux-1-tae"));
    let weights: Vec<_> =
        found.iter().filter(|path| path.extension().is_some_and(|extension| extension == "bin")).collect();
    assert_eq!(weights, [Path::new("weight.bin")]);
    assert!(found.contains(Path::new("layout.json")));
    assert_eq!(found.iter().filter(|path| path.ends_with("model.mlmodel")).count(), 12);
    let said = |stderr: &str| sandbox.run(&["link", "Models"]).stderr == stderr;
    assert!(said("12 bundles complete: 12 files linked, 0 there already\n"));
    assert!(said("12 bundles complete: 0 files linked, 12 there already\n"));
    let bundle = sandbox.path("Models/flux-1-tae/decoder-1024-nhwc-float16-ios18.mlpackage");
    assert_eq!(sandbox.run(&["inspect", bundle.to_str().unwrap()]).code, Some(0));
    // Whoever looks after the folder takes the links for what they are, and another file for damage.
    let place = ["build", &manifest("flux_1_tae.toml"), "--out", "Models", "--layout", "shared"];
    assert_eq!(sandbox.run(&["verify", "Models"]).code, Some(0));
    assert_eq!(sandbox.run(&place).code, Some(0));
    assert!(said("12 bundles complete: 0 files linked, 12 there already\n"));
    let linked = bundle.join("Data/com.apple.CoreML/weights/weight.bin");
    fs::remove_file(&linked).unwrap();
    fs::write(&linked, "other").unwrap();
    let run = sandbox.run(&["verify", "Models"]);
    assert!(run.code == Some(3) && run.stdout.contains("weights/weight.bin"), "{run:?}");
    assert_eq!(sandbox.run(&place).code, Some(0));
    assert!(said("12 bundles complete: 1 file linked, 11 there already\n"));
    fs::write(
        sandbox.path("Models/flux-1-tae/layout.json"),
        r#"{"schema":"mlreg/layout/1","package":"x","version":"1.0.0","bundles":{"../x":{}},"files":{}}"#,
    )
    .unwrap();
    let run = sandbox.run(&["link", "Models"]);
    assert!(run.code == Some(1) && run.stderr.contains("`../x` is not the name of a file"), "{run:?}");
}

#[test]
fn a_build_tells_once_what_its_reader_should_know() {
    let sandbox = Sandbox::new();
    let manifest = manifest("minilm.toml");
    let run = sandbox.succeed(&["build", &manifest]);
    let warnings: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    let told = |part: &str| warnings.iter().filter(|line| line.contains(part)).count();
    assert_eq!(
        (told("(precision = \"float16\" computes in float16)"), told("the same in 3 other variants (no key avoids it")),
        (1, 1),
        "{run:?}"
    );
    assert_eq!(
        (told("`encoder` has no trained weights, its results mean nothing: random weights"), warnings.len()),
        (1, 3),
        "{run:?}"
    );
    // What is up to date says again that its numbers mean nothing, and so does whoever runs it.
    let again = sandbox.succeed(&["build", &manifest, "--json"]).json("mlreg/cli/build/1");
    let rules: Vec<&str> =
        again["packages"][0]["warnings"].as_array().unwrap().iter().map(|it| it["rule"].as_str().unwrap()).collect();
    assert_eq!((again["packages"][0]["status"].as_str(), rules), (Some("unchanged"), vec!["stand-in"]));
    let run = sandbox.succeed(&["run", "minilm", "--text", "hello"]);
    assert!(run.stderr.contains("warning: `encoder` has no trained weights"), "{run:?}");
}

#[test]
fn lengths_beyond_training_are_told() {
    let sandbox = Sandbox::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/causal/llama_tied_f16");
    let manifest = format!(
        "[package]\nname = \"lm\"\nversion = \"1.0.0\"\n[[component]]\nname = \"lm\"\ncheckpoint = '{}'\nsequence = \
         [1, 8]\ncontext = [64, 513]\n\
         cache = \"inputs\"\ntarget = \"iOS16\"\n",
        fixture.display()
    );
    fs::write(sandbox.path("lm.toml"), manifest).unwrap();
    let built = sandbox.succeed(&["build", "lm.toml", "--json"]).json("mlreg/cli/build/1");
    let warnings = built["packages"][0]["warnings"].as_array().unwrap();
    let beyond = warnings.iter().find(|it| it["rule"] == "beyond-training").unwrap();
    assert_eq!(beyond["component"], "lm");
    let text = beyond["text"].as_str().unwrap();
    assert!(
        text.starts_with("context = 513 is longer than the 512 positions that the model was trained for"),
        "{text}"
    );
}

#[test]
fn mistakes_in_manifests_are_shown_with_their_place() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("m.toml"), "[package]\nname = \"p\"\nversion = \"1\"\n").unwrap();
    let run = sandbox.run(&["build", "m.toml"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("m.toml:3:11"), "{run:?}");
    let run = sandbox.run(&["build", "m.toml", "--json"]);
    let document = run.json("mlreg/cli/error/1");
    assert_eq!((run.code, document["kind"].as_str()), (Some(1), Some("input")), "{document}");
    assert_eq!(sandbox.run(&["build"]).code, Some(2));
    let missing = sandbox.run(&["build", "missing.toml"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("cannot read `missing.toml`"), "{missing:?}");
}
