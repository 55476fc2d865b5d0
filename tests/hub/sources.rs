//! `checkpoint = "hf://..."` and `import = "hf://..."`: what a build takes from a repository.

use std::{collections::BTreeMap, fs, path::Path};

use mlreg::{
    fetch::Layout,
    workflow::{
        ErrorKind,
        build::{BuildOptions, BuildReport, BuildStatus, build},
        show::{ShowOptions, ShowReport, show},
    },
};

use crate::{REPOSITORY, Scene, User, http_server::Fault, hub_server::git_id, hub_url, noise};

const MODEL: &str = "acme/taef1";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A repository with the checkpoint of the fixtures, and much that no build needs.
fn scene(folder: &str) -> Scene {
    let scene = Scene::new();
    let read = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/taef1").join(name)).unwrap();
    let (config, weights, other) = (read("config.json"), read(WEIGHTS), noise(7, 500_000));
    let path = |name: &str| format!("{folder}{name}");
    let files = [("config.json", &config), (WEIGHTS, &weights), ("other/model.safetensors", &other), ("unused.zip", &other)];
    let files: Vec<(String, &Vec<u8>)> = files.iter().map(|(name, bytes)| (path(name), *bytes)).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    scene.server.with_files(MODEL, &files);
    scene
}

fn manifest(checkpoint: &str, part: &str, size: u32) -> String {
    format!(
        "[package]\nname = \"tae\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\n[[component]]\nname = \"{part}\"\ncheckpoint = \"{checkpoint}\"\n\
         part = \"{part}\"\nsize = {size}\nprecision = \"float16\"\ntarget = \"iOS18\"\n"
    )
}

fn try_build(user: &User, text: &str) -> Result<BuildReport, mlreg::workflow::Error> {
    fs::create_dir_all(&user.home).unwrap();
    let path = user.home.join("tae.toml");
    fs::write(&path, text).unwrap();
    build(&user.context(), &BuildOptions { manifests: vec![path], variants: Vec::new(), out: None, layout: Layout::Linked, force: false })
}

#[track_caller]
fn built(user: &User, text: &str) -> BuildReport {
    try_build(user, text).unwrap_or_else(|error| panic!("{}", crate::message(&error)))
}

fn shown(user: &User) -> ShowReport {
    show(&user.context(), &ShowOptions { request: "tae".parse().unwrap(), from: None }).unwrap()
}

/// The same component from the fixtures on this machine.
fn local(scene: &Scene, name: &str, part: &str) -> ShowReport {
    let user = scene.user(name, None);
    let folder = format!("{}/fixtures/taef1", env!("CARGO_MANIFEST_DIR"));
    built(&user, &manifest(&folder, part, 256));
    shown(&user)
}

#[test]
fn a_tensor_that_does_not_come_is_the_networks_fault() {
    let scene = scene("");
    let user = scene.user("builder", None);
    let text = manifest("hf://acme/taef1", "decoder", 256);
    // The first two requests bring the header.
    scene.server.cdn.fault("blob/", 5.., Fault::status(500));
    let error = try_build(&user, &text).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("500")), (ErrorKind::Remote, true), "{}", crate::message(&error));
    scene.server.cdn.clear_faults();
    scene.server.cdn.reset_counts();
    assert_eq!(built(&user, &text).packages[0].status, BuildStatus::Built);
    assert!(scene.server.cdn.bytes("") < 317_068, "what had come was kept");
}

#[test]
fn a_part_costs_its_own_tensors() {
    let scene = scene("");
    let user = scene.user("builder", None);
    let report = built(&user, &manifest("hf://acme/taef1", "decoder", 256));
    assert_eq!(report.packages[0].status, BuildStatus::Built);
    let moved = scene.server.cdn.bytes("");
    assert!((317_068..317_068 + 20_000).contains(&moved), "{moved} of 646948 bytes");
    let release = shown(&user);
    assert_eq!(release.variants[0].bytes, local(&scene, "local", "decoder").variants[0].bytes);
    let source = &release.sources["decoder"];
    assert_eq!(source.repository.as_deref(), Some(MODEL));
    assert_eq!(source.revision.as_ref(), scene.server.state().repositories[MODEL].branches.get("main"));
    let digests = &source.files;
    assert_eq!(*digests, local(&scene, "other", "decoder").sources["decoder"].files, "known without reading them");
    // Nothing changed: nothing moves; another size takes what is here.
    scene.server.cdn.reset_counts();
    assert_eq!(built(&user, &manifest("hf://acme/taef1", "decoder", 256)).packages[0].status, BuildStatus::Unchanged);
    built(&user, &manifest("hf://acme/taef1", "decoder", 512));
    assert_eq!(scene.server.cdn.bytes(""), 0);
    built(&user, &manifest("hf://acme/taef1@main", "encoder", 256));
    assert!(scene.server.cdn.bytes("") < 330_000, "the rest of the file");
    assert_eq!(shown(&user).variants[0].bytes, local(&scene, "third", "encoder").variants[0].bytes);
}

#[test]
fn folders_files_and_revisions_can_be_named() {
    let scene = scene("vae/");
    let commit = scene.server.state().repositories[MODEL].branches["main"].clone();
    for (number, address) in
        ["hf://acme/taef1/vae".to_owned(), format!("hf://acme/taef1@{commit}/vae/{WEIGHTS}"), "hf://acme/taef1@main/vae/".to_owned()]
            .iter()
            .enumerate()
    {
        let user = scene.user(&format!("builder{number}"), None);
        built(&user, &manifest(address, "decoder", 256));
        assert_eq!(shown(&user).sources["decoder"].revision.as_ref(), Some(&commit), "{address}");
    }
    let user = scene.user("lost", None);
    assert!(
        try_build(&user, &manifest("hf://acme/taef1@v9/vae", "decoder", 256)).unwrap_err().to_string().contains("has no revision `v9`")
    );
    assert!(try_build(&user, &manifest("hf://acme/none", "decoder", 256)).unwrap_err().to_string().contains("does not exist"));
    assert!(try_build(&user, &manifest("hf://acme/taef1/nowhere", "decoder", 256)).is_err());
}

#[test]
fn the_cache_of_other_clients_is_used_and_not_believed() {
    let scene = scene("");
    let weights = scene.server.files(MODEL, "main").remove(WEIGHTS).unwrap();
    let commit = scene.server.state().repositories[MODEL].branches["main"].clone();
    let cache = scene.folder.path().join("cache");
    let blobs = cache.join("models--acme--taef1/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let blob = blobs.join(crate::digest(&weights));
    fs::write(&blob, &weights).unwrap();
    let mut user = scene.user("builder", None);
    user.options.hub.cache = Some(cache.clone());
    built(&user, &manifest("hf://acme/taef1", "decoder", 256));
    assert_eq!(scene.server.cdn.bytes(""), 0);
    // The same address without the Hub, from what another client downloaded.
    let snapshot = cache.join("models--acme--taef1/snapshots").join(&commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(cache.join("models--acme--taef1/refs")).unwrap();
    fs::write(cache.join("models--acme--taef1/refs/main"), &commit).unwrap();
    fs::write(snapshot.join(WEIGHTS), &weights).unwrap();
    fs::write(snapshot.join("config.json"), &scene.server.files(MODEL, "main")["config.json"]).unwrap();
    let mut offline = scene.user("offline", None);
    offline.options.hub = mlreg::remote::HubOptions { offline: true, cache: Some(cache), ..offline.options.hub };
    built(&offline, &manifest("hf://acme/taef1", "decoder", 256));
    assert_eq!(shown(&offline).sources["decoder"].revision.as_ref(), Some(&commit));
    // Damaged bytes are not taken.
    let mut damaged = weights;
    damaged[600_000] ^= 1;
    fs::write(&blob, damaged).unwrap();
    let mut other = scene.user("other", None);
    other.options.hub.cache = user.options.hub.cache.clone();
    built(&other, &manifest("hf://acme/taef1", "decoder", 256));
    assert!(scene.server.cdn.bytes("") > 300_000);
}

#[test]
fn bundles_that_people_host_become_a_release_where_they_lie() {
    let scene = Scene::new();
    let bundle = |seed: u64| -> BTreeMap<String, Vec<u8>> {
        let folder = format!("models/Model{seed}.mlmodelc");
        [("weights/weight.bin", noise(seed, 200_000)), ("model.mil", noise(seed + 10, 900)), ("notes.txt", b"note".to_vec())]
            .map(|(path, bytes)| (format!("{folder}/{path}"), bytes))
            .into()
    };
    let files: BTreeMap<String, Vec<u8>> = bundle(1).into_iter().chain(bundle(2)).collect();
    let list: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    scene.server.with_files(REPOSITORY, &list);
    let user = scene.publisher();
    let text = "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \"vendor\"\nimport = \"hf://acme/tae/models/*.mlmodelc\"\ntarget = \"iOS17\"\n";
    built(&user, text);
    let ids: Vec<String> = shown(&user).variants.into_iter().map(|variant| variant.id).collect();
    assert_eq!(ids, ["model1-ios17-mlmodelc", "model2-ios17-mlmodelc"]);
    scene.server.cdn.reset_counts();
    let report = user.publish("1.0.0").unwrap();
    assert_eq!((report.uploaded_bytes, scene.server.uploaded()), (0, 0));
    let now = scene.server.files(REPOSITORY, "main");
    assert!(files.iter().all(|(path, bytes)| now[path] == *bytes), "nothing moved");
    assert!(!now.keys().any(|path| path.starts_with("tae/")), "nothing is there twice: {:?}", now.keys());
    assert!(now.contains_key("mlreg/tae/1.0.0.json") && now.contains_key("mlreg/tae/1.0.0.locations.json"));
    let reader = scene.user("reader", None);
    reader.fetch_with("tae", |options| options.variants = vec!["model2-*".to_owned()]).unwrap();
    let expected: BTreeMap<String, Vec<u8>> =
        bundle(2).into_iter().map(|(path, bytes)| (path.replace("models/Model2.mlmodelc", "model2-ios17.mlmodelc"), bytes)).collect();
    assert_eq!(
        reader.placed().values().map(|bytes| git_id(bytes)).collect::<Vec<_>>(),
        expected.values().map(|bytes| git_id(bytes)).collect::<Vec<_>>()
    );
    // A later release of something else leaves the files of others alone.
    user.release("2.0.0", &[crate::decoder(768, &crate::tensors(&[(1, 1000)]))]);
    let now = scene.server.files(REPOSITORY, "main");
    assert!(files.keys().all(|path| now.contains_key(path)));
    let old = scene.user("old", None);
    assert_eq!(old.fetch_with("tae@1", |options| options.from = Some(hub_url(REPOSITORY))).unwrap().variants.len(), 2);
}
