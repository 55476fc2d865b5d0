//! `checkpoint = "hf://..."` and `import = "hf://..."`: what a build takes from a repository.

use std::{collections::BTreeMap, fs, path::Path};

use mlreg::{
    base::Digest,
    fetch::Layout,
    manifest::release::Blob,
    store::Download,
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
    let files =
        [("config.json", &config), (WEIGHTS, &weights), ("other/model.safetensors", &other), ("unused.zip", &other)];
    let files: Vec<(String, &Vec<u8>)> = files.iter().map(|(name, bytes)| (path(name), *bytes)).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    scene.server.with_files(MODEL, &files);
    scene
}

fn manifest(checkpoint: &str, part: &str, size: u32) -> String {
    format!(
        "[package]\nname = \"tae\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\n[[component]]\nname = \
         \"{part}\"\ncheckpoint = \"{checkpoint}\"\n\
         part = \"{part}\"\nsize = {size}\nprecision = \"float16\"\ntarget = \"iOS18\"\n"
    )
}

fn try_build(user: &User, text: &str) -> Result<BuildReport, mlreg::workflow::Error> {
    fs::create_dir_all(&user.home).unwrap();
    let path = user.home.join("tae.toml");
    fs::write(&path, text).unwrap();
    build(
        &user.context(),
        &BuildOptions { manifests: vec![path], variants: Vec::new(), out: None, layout: Layout::Linked, force: false },
    )
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

/// How long the checkpoint of the fixtures is.
const LENGTH: u64 = 646_948;

/// The weights of a build.
fn weights(user: &User) -> Vec<u8> {
    let store = user.context();
    let (_, bytes) = store.store().release(&"tae".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap().unwrap();
    let release = mlreg::manifest::release::Release::parse(&bytes).unwrap();
    let file = release.variants[0].files.iter().find(|file| file.path.file_name() == "weight.bin").unwrap();
    store.store().read_blob(&file.sha256, u64::MAX).unwrap()
}

#[test]
fn a_file_that_does_not_come_is_the_networks_fault() {
    let scene = scene("");
    let user = scene.user("builder", None);
    let text = manifest("hf://acme/taef1", "decoder", 256);
    scene.server.cdn.fault("blob/", 2.., Fault::status(500));
    let error = try_build(&user, &text).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().contains("500")),
        (ErrorKind::Remote, true),
        "{}",
        crate::message(&error)
    );
    scene.server.cdn.clear_faults();
    scene.server.cdn.reset_counts();
    assert_eq!(built(&user, &text).packages[0].status, BuildStatus::Built);
    assert!(scene.server.cdn.bytes("") < LENGTH, "what had come was kept");
}

#[test]
fn a_part_brings_its_whole_file_once() {
    let scene = scene("");
    let user = scene.user("builder", None);
    let report = built(&user, &manifest("hf://acme/taef1", "decoder", 256));
    assert_eq!(report.packages[0].status, BuildStatus::Built);
    assert_eq!(scene.server.cdn.bytes(""), LENGTH);
    let release = shown(&user);
    assert_eq!(release.variants[0].bytes, local(&scene, "local", "decoder").variants[0].bytes);
    let source = &release.sources["decoder"];
    assert_eq!(source.repository.as_deref(), Some(MODEL));
    assert_eq!(source.revision.as_ref(), scene.server.state().repositories[MODEL].branches.get("main"));
    assert_eq!(source.files, local(&scene, "other", "decoder").sources["decoder"].files);
    // Nothing changed: nothing moves; another size and the other part take what is here.
    scene.server.cdn.reset_counts();
    assert_eq!(built(&user, &manifest("hf://acme/taef1", "decoder", 256)).packages[0].status, BuildStatus::Unchanged);
    built(&user, &manifest("hf://acme/taef1", "decoder", 512));
    built(&user, &manifest("hf://acme/taef1@main", "encoder", 256));
    assert_eq!(shown(&user).variants[0].bytes, local(&scene, "third", "encoder").variants[0].bytes);
    assert_eq!(scene.server.cdn.bytes(""), 0);
}

#[test]
fn a_wrong_byte_of_a_checkpoint_is_asked_for_again_and_never_kept() {
    let scene = scene("");
    let text = manifest("hf://acme/taef1", "decoder", 256);
    let right = scene.user("right", None);
    built(&right, &text);
    // The beginning of each answer: of the header, of tensors that are wanted, of tensors that are not.
    for request in 0..3 {
        let user = scene.user(&format!("builder{request}"), None);
        scene.server.cdn.fault("blob/", request..=request, Fault::Corrupt);
        built(&user, &text);
        assert!(weights(&user) == weights(&right), "request {request}");
        scene.server.cdn.clear_faults();
    }
    let user = scene.user("unlucky", None);
    scene.server.cdn.fault("blob/", .., Fault::Corrupt);
    scene.server.cdn.reset_counts();
    let error = try_build(&user, &text).unwrap_err();
    let said = crate::message(&error);
    let expected = crate::digest(&scene.server.files(MODEL, "main")[WEIGHTS]);
    assert_eq!(error.kind(), ErrorKind::Verification, "{said}");
    assert!(
        said.starts_with("digest mismatch for `hf://acme/taef1@")
            && said.contains(&format!("/{WEIGHTS}`: expected sha256:{expected}, received sha256:")),
        "{said}"
    );
    assert_eq!(scene.server.cdn.bytes(""), 3 * LENGTH, "three attempts");
    scene.server.cdn.clear_faults();
    built(&user, &text);
    assert!(weights(&user) == weights(&right));
}

#[test]
fn a_wrong_byte_of_a_small_document_is_asked_for_again_and_never_kept() {
    let scene = scene("");
    let text = manifest("hf://acme/taef1", "decoder", 256);
    let user = scene.user("builder", None);
    let id = git_id(&scene.server.files(MODEL, "main")["config.json"]);
    scene.server.hub.fault("resolve-cache", .., Fault::Corrupt);
    let error = try_build(&user, &text).unwrap_err();
    let said = crate::message(&error);
    assert_eq!(error.kind(), ErrorKind::Verification, "{said}");
    assert!(said.contains("config.json` has the git id ") && said.ends_with(&format!("expected {id}")), "{said}");
    scene.server.hub.clear_faults();
    scene.server.hub.fault("resolve-cache", ..1, Fault::Corrupt);
    built(&user, &text);
    assert_eq!(shown(&user).sources["decoder"].files, local(&scene, "local", "decoder").sources["decoder"].files);
}

#[test]
fn bytes_of_an_earlier_download_that_are_wrong_are_not_used() {
    let scene = scene("");
    let text = manifest("hf://acme/taef1", "decoder", 256);
    let weights_file = scene.server.files(MODEL, "main").remove(WEIGHTS).unwrap();
    let (user, right) = (scene.user("builder", None), scene.user("right", None));
    let digest = Digest::of(&weights_file);
    let Download::Partial(partial) = user.context().store().partial(&digest, &Blob::of_size(LENGTH)).unwrap() else {
        panic!("it is here")
    };
    let mut wrong = weights_file.clone();
    wrong[300_000] ^= 0x10;
    partial.write_at(0, &wrong[..400_000]).unwrap();
    drop(partial);
    built(&user, &text);
    built(&right, &text);
    assert!(weights(&user) == weights(&right));
    // A blob whose file was changed since it was checked is none either.
    let user = scene.user("other", None);
    built(&user, &text);
    let blob = user.context().store().blob_path(&digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, &wrong).unwrap();
    built(&user, &manifest("hf://acme/taef1", "encoder", 256));
    assert!(fs::read(&blob).unwrap() == weights_file);
}

#[test]
fn a_server_without_ranges_sends_a_checkpoint_once() {
    let scene = scene("");
    let user = scene.user("builder", None);
    scene.server.cdn.fault("blob/", .., Fault::IgnoreRange);
    built(&user, &manifest("hf://acme/taef1", "decoder", 256));
    assert_eq!(scene.server.cdn.requests("blob/"), 1);
}

#[test]
fn files_of_a_checkpoint_are_chosen_by_their_headers_and_read_whole() {
    let scene = Scene::new();
    let read = |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/taef1").join(name)).unwrap();
    let (config, weights) = (read("config.json"), read(WEIGHTS));
    let other: Vec<u8> = {
        let header = format!("{{\"x\":{{\"dtype\":\"U8\",\"shape\":[{0}],\"data_offsets\":[0,{0}]}}}}", 3_000_000);
        [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &noise(9, 3_000_000)].concat()
    };
    scene
        .server
        .with_files(MODEL, &[("config.json", &config), ("one.safetensors", &weights), ("two.safetensors", &other)]);
    let user = scene.user("builder", None);
    built(&user, &manifest("hf://acme/taef1", "decoder", 256));
    let moved = scene.server.cdn.bytes("");
    assert!((LENGTH..LENGTH + 100_000).contains(&moved), "{moved}: the headers, and the file that was chosen");
    assert_eq!(shown(&user).sources["decoder"].files.keys().collect::<Vec<_>>(), ["config.json", "one.safetensors"]);
    assert_eq!(shown(&user).variants[0].bytes, local(&scene, "local", "decoder").variants[0].bytes);
    // A damaged header is not kept.
    let unlucky = scene.user("unlucky", None);
    scene.server.cdn.fault("blob/", ..4, Fault::Corrupt);
    assert!(try_build(&unlucky, &manifest("hf://acme/taef1", "decoder", 256)).is_err());
    scene.server.cdn.clear_faults();
    built(&unlucky, &manifest("hf://acme/taef1", "decoder", 256));
}

#[test]
fn folders_files_and_revisions_can_be_named() {
    let scene = scene("vae/");
    let commit = scene.server.state().repositories[MODEL].branches["main"].clone();
    for (number, address) in [
        "hf://acme/taef1/vae".to_owned(),
        format!("hf://acme/taef1@{commit}/vae/{WEIGHTS}"),
        "hf://acme/taef1@main/vae/".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let user = scene.user(&format!("builder{number}"), None);
        built(&user, &manifest(address, "decoder", 256));
        assert_eq!(shown(&user).sources["decoder"].revision.as_ref(), Some(&commit), "{address}");
    }
    let user = scene.user("lost", None);
    assert!(
        try_build(&user, &manifest("hf://acme/taef1@v9/vae", "decoder", 256))
            .unwrap_err()
            .to_string()
            .contains("has no revision `v9`")
    );
    assert!(
        try_build(&user, &manifest("hf://acme/none", "decoder", 256))
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
    let error = try_build(&user, &manifest("hf://acme/taef1/nowhere", "decoder", 256)).unwrap_err();
    assert!(error.to_string().ends_with("has no `nowhere`"), "{error}");
    let error = try_build(&user, &manifest("hf://acme/taef1", "decoder", 256)).unwrap_err();
    assert!(error.to_string().starts_with(&format!("`hf://acme/taef1@{commit}` has no weights")), "{error}");
    assert_eq!(error.hints(), ["the repository has weights in `vae`, `vae/other`: add the folder to the address"]);
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
    assert_eq!(scene.server.cdn.bytes(""), LENGTH);
}

#[cfg(unix)]
#[test]
fn links_of_the_cache_of_other_clients_say_what_their_bytes_are() {
    let scene = scene("vae/");
    let files = scene.server.files(MODEL, "main");
    let commit = scene.server.state().repositories[MODEL].branches["main"].clone();
    let cache = scene.folder.path().join("cache");
    let root = cache.join("models--acme--taef1");
    for folder in ["blobs".to_owned(), "refs".to_owned(), format!("snapshots/{commit}/vae")] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("refs/main"), &commit).unwrap();
    for (name, id) in [
        ("config.json", git_id(&files["vae/config.json"])),
        (WEIGHTS, crate::digest(&files[&format!("vae/{WEIGHTS}")])),
    ] {
        fs::write(root.join("blobs").join(&id), &files[&format!("vae/{name}")]).unwrap();
        std::os::unix::fs::symlink(
            format!("../../../blobs/{id}"),
            root.join("snapshots").join(&commit).join("vae").join(name),
        )
        .unwrap();
    }
    let offline = |name: &str| {
        let mut user = scene.user(name, None);
        user.options.hub = mlreg::remote::HubOptions { offline: true, cache: Some(cache.clone()), ..user.options.hub };
        user
    };
    let text = manifest("hf://acme/taef1/vae", "decoder", 256);
    let user = offline("right");
    built(&user, &text);
    assert_eq!(shown(&user).sources["decoder"].files, local(&scene, "local", "decoder").sources["decoder"].files);
    built(
        &offline("plain"),
        &plain_files("[\"hf://acme/taef1/vae/config.json\", \"hf://acme/taef1/vae/*.safetensors\"]"),
    );
    for (number, name) in ["config.json", WEIGHTS].into_iter().enumerate() {
        let place = fs::canonicalize(root.join("snapshots").join(&commit).join("vae").join(name)).unwrap();
        let right = fs::read(&place).unwrap();
        let mut wrong = right.clone();
        wrong[20] ^= 1;
        fs::write(&place, wrong).unwrap();
        let error = try_build(&offline(&format!("wrong{number}")), &text).unwrap_err();
        let said = crate::message(&error);
        assert_eq!(error.kind(), ErrorKind::Verification, "{said}");
        assert!(
            said.contains("in the cache of the Hub's client has the digest")
                && said.contains(place.file_name().unwrap().to_str().unwrap()),
            "{said}"
        );
        fs::write(&place, right).unwrap();
    }
    let error = try_build(&offline("lost"), &manifest("hf://acme/taef1/unet", "decoder", 256)).unwrap_err();
    assert!(
        crate::message(&error).contains("has no `unet` in the cache of the Hub's client"),
        "{}",
        crate::message(&error)
    );
}

#[test]
fn imports_are_checked_and_empty_files_are_not_asked_for() {
    let scene = Scene::new();
    let (weights, program) = (noise(1, 200_000), noise(2, 900));
    let files: [(&str, &[u8]); 3] = [
        ("a.mlmodelc/weights/weight.bin", &weights),
        ("a.mlmodelc/model.mil", &program),
        ("a.mlmodelc/notes.txt", b""),
    ];
    scene.server.with_files(REPOSITORY, &files);
    let text = "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \"vendor\"\nimport = \
         \"hf://acme/tae/*.mlmodelc\"\ntarget = \"iOS17\"\n";
    for (number, part) in ["blob/", "resolve-cache"].into_iter().enumerate() {
        let user = scene.user(&format!("builder{number}"), None);
        scene.server.fault(part, 0..1000, Fault::Corrupt);
        let error = try_build(&user, text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification, "{part}: {}", crate::message(&error));
        scene.server.hub.clear_faults();
        scene.server.cdn.clear_faults();
        scene.server.fault(part, 0..1, Fault::Corrupt);
        scene.server.hub.fault("notes.txt", .., Fault::status(500));
        built(&user, text);
        assert_eq!(shown(&user).variants[0].bytes, 200_900);
        scene.server.hub.clear_faults();
        scene.server.cdn.clear_faults();
    }
    assert_eq!(scene.server.hub.requests("notes.txt"), 0);
}

/// Tokenizers of two repositories, one of them a large object.
fn tokenizers() -> Scene {
    let scene = Scene::new();
    let large = noise(3, 300_000);
    scene.server.with_files(
        "acme/one",
        &[
            ("tokenizer.json", b"{\"one\":1}"),
            ("text/vocab.txt", b"a\nb\n"),
            ("text/empty.txt", b""),
            ("spiece.model.zip", &large),
        ],
    );
    scene.server.with_files("acme/two", &[("config.json", b"{\"two\":2}"), ("Tokenizer.json", b"{}")]);
    scene
}

fn plain_files(files: &str) -> String {
    format!("[package]\nname = \"tae\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \"tokenizer\"\nfiles = {files}\n")
}

#[test]
fn plain_files_come_from_repositories_too() {
    let scene = tokenizers();
    let user = scene.user("builder", None);
    fs::create_dir_all(&user.home).unwrap();
    fs::write(user.home.join("LICENSE"), "free").unwrap();
    let text = plain_files(
        "[\"LICENSE\", \"hf://acme/one/tokenizer.json\", \"hf://acme/one/text/*.txt\", \
         \"hf://acme/one/spiece.model.zip\", \"hf://acme/two@main/config.json\"]",
    );
    scene.server.hub.fault("empty.txt", .., Fault::status(500));
    built(&user, &text);
    let shown_now = shown(&user);
    assert_eq!(shown_now.variants[0].files, 6);
    assert_eq!(shown_now.variants[0].bytes, 4 + 9 + 4 + 300_000 + 9);
    let source = &shown_now.sources["tokenizer"];
    let branch = |repository: &str| scene.server.state().repositories[repository].branches.get("main").cloned();
    assert_eq!((source.repository.as_deref(), source.revision.clone()), (Some("acme/one"), branch("acme/one")));
    assert_eq!(
        source.files.keys().collect::<Vec<_>>(),
        ["spiece.model.zip", "text/empty.txt", "text/vocab.txt", "tokenizer.json"]
    );
    assert_eq!(source.files["tokenizer.json"], Digest::of(b"{\"one\":1}"));
    assert_eq!(
        (source.more.len(), source.more[0].repository.as_deref(), source.more[0].revision.clone()),
        (1, Some("acme/two"), branch("acme/two"))
    );
    scene.server.cdn.reset_counts();
    assert_eq!(built(&user, &text).packages[0].status, BuildStatus::Unchanged);
    assert_eq!(scene.server.cdn.bytes(""), 0);
    // Another commit is another source, though the bytes are the same.
    scene.server.with_files("acme/two", &[("config.json", b"{\"two\":2}"), ("new.txt", b"new")]);
    let mut changed = text.replace("1.0.0", "1.1.0");
    assert_eq!(built(&user, &changed).packages[0].status, BuildStatus::Built);
    assert_eq!(shown(&user).sources["tokenizer"].more[0].revision, branch("acme/two"));
    changed = changed.replace("hf://acme/two@main/config.json", "hf://acme/two@v7/config.json");
    assert!(try_build(&user, &changed).unwrap_err().to_string().contains("has no revision `v7`"));
}

#[test]
fn plain_files_of_repositories_are_checked() {
    let scene = tokenizers();
    for (number, (part, file)) in
        [("blob/", "spiece.model.zip"), ("resolve-cache", "tokenizer.json")].into_iter().enumerate()
    {
        let user = scene.user(&format!("builder{number}"), None);
        let text = plain_files(&format!("\"hf://acme/one/{file}\""));
        scene.server.fault(part, 0..1000, Fault::Corrupt);
        let error = try_build(&user, &text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Verification, "{}", crate::message(&error));
        assert!(crate::message(&error).contains(file), "{}", crate::message(&error));
        scene.server.hub.clear_faults();
        scene.server.cdn.clear_faults();
        built(&user, &text);
    }
}

#[test]
fn plain_files_that_cannot_be_had_say_so() {
    let scene = tokenizers();
    let user = scene.user("builder", None);
    fs::create_dir_all(&user.home).unwrap();
    fs::write(user.home.join("config.json"), "{}").unwrap();
    for (files, expected, hint) in [
        ("\"hf://acme/one/tokeniser.json\"", "has no `tokeniser.json`", "did you mean `tokenizer.json`?"),
        ("\"hf://acme/one/vocab.txt\"", "has no `vocab.txt`", "did you mean `text/vocab.txt`?"),
        ("\"hf://acme/one/text\"", "has no `text`", "did you mean `text/empty.txt` or `text/vocab.txt`?"),
        ("\"hf://acme/one/*.bin\"", "has no `*.bin`", ""),
        ("\"hf://acme/one\"", "expected a path on this machine, or `hf://ORG/REPO[@REVISION]/PATH`", ""),
        ("\"hf://acme/one/a[.txt\"", "expected a path on this machine, or `hf://ORG/REPO[@REVISION]/PATH`", ""),
        ("\"hf://nobody\"", "expected a path on this machine, or `hf://ORG/REPO[@REVISION]/PATH`", ""),
        ("[\"config.json\", \"hf://acme/two/config.json\"]", "`files` has the file name `config.json`", ""),
        (
            "[\"hf://acme/one/*.json\", \"hf://acme/two/T*.json\"]",
            "`hf://acme/one/*.json` and `hf://acme/two/T*.json` both have the name `Tokenizer.json`",
            "",
        ),
    ] {
        let error = try_build(&user, &plain_files(files)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{files}: {}", crate::message(&error));
        assert!(crate::message(&error).contains(expected), "{files}: {}", crate::message(&error));
        assert!(hint.is_empty() || error.hints().contains(&hint.to_owned()), "{files}: {:?}", error.hints());
    }
}

#[test]
fn bundles_that_people_host_become_a_release_where_they_lie() {
    let scene = Scene::new();
    let bundle = |seed: u64| -> BTreeMap<String, Vec<u8>> {
        let folder = format!("models/Model{seed}.mlmodelc");
        [
            ("weights/weight.bin", noise(seed, 200_000)),
            ("model.mil", noise(seed + 10, 900)),
            ("notes.txt", b"note".to_vec()),
        ]
        .map(|(path, bytes)| (format!("{folder}/{path}"), bytes))
        .into()
    };
    let files: BTreeMap<String, Vec<u8>> = bundle(1).into_iter().chain(bundle(2)).collect();
    let list: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    scene.server.with_files(REPOSITORY, &list);
    let user = scene.publisher();
    let text = "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \"vendor\"\nimport = \
         \"hf://acme/tae/models/*.mlmodelc\"\ntarget = \"iOS17\"\n";
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
    let expected: BTreeMap<String, Vec<u8>> = bundle(2)
        .into_iter()
        .map(|(path, bytes)| (path.replace("models/Model2.mlmodelc", "model2-ios17.mlmodelc"), bytes))
        .collect();
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
