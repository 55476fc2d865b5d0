//! Sentence encoders of the Hub: the weights of their modules lie in folders of their own.

use std::{fs, path::Path};

use mlreg::{
    fetch::Layout,
    workflow::{
        build::{BuildOptions, build},
        show::{ShowOptions, ShowReport, show},
    },
};

use crate::{Scene, User};

const MODEL: &str = "acme/labse";
const FILES: [&str; 6] = [
    "config.json",
    "model.safetensors",
    "modules.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
];

fn fixture() -> String {
    format!("{}/fixtures/bert/dense", env!("CARGO_MANIFEST_DIR"))
}

fn built(user: &User, checkpoint: &str) -> ShowReport {
    let text = format!(
        "[package]\nname = \"labse\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\n[[component]]\nname = \
         \"encoder\"\ncheckpoint = \"{checkpoint}\"\n\
         sequence = 16\nprecision = \"float32\"\ntarget = \"iOS16\"\n"
    );
    fs::create_dir_all(&user.home).unwrap();
    let path = user.home.join("labse.toml");
    fs::write(&path, text).unwrap();
    let options =
        BuildOptions { manifests: vec![path], variants: Vec::new(), out: None, layout: Layout::Linked, force: false };
    build(&user.context(), &options).unwrap_or_else(|error| panic!("{}", crate::message(&error)));
    show(&user.context(), &ShowOptions { request: "labse".parse().unwrap(), from: None }).unwrap()
}

#[test]
fn files_of_modules_come_and_count() {
    let scene = Scene::new();
    let files: Vec<(&str, Vec<u8>)> =
        FILES.iter().map(|name| (*name, fs::read(Path::new(&fixture()).join(name)).unwrap())).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    scene.server.with_files(MODEL, &files);
    let remote = built(&scene.user("builder", None), &format!("hf://{MODEL}"));
    let local = built(&scene.user("local", None), &fixture());
    assert_eq!(remote.sources["encoder"].files, local.sources["encoder"].files);
    assert!(remote.sources["encoder"].files.contains_key("2_Dense/model.safetensors"));
    let digests = |report: &ShowReport| {
        report.variants.iter().map(|variant| (variant.id.clone(), variant.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(digests(&remote), digests(&local));
}
