//! Repositories that mlreg did not publish: folders of bundles as people upload them.

use std::collections::BTreeMap;

use mlreg::workflow::{
    list::{ListOptions, list},
    show::{ShowOptions, show},
    verify::{VerifyOptions, VerifySubject, verify},
};

use crate::{Scene, User, http_server::Fault, hub_url, message, noise};

const STRANGER: &str = "acme/Whisper_CoreML";

fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files =
        BTreeMap::from([("config.json".to_owned(), b"{}".to_vec()), ("README.md".to_owned(), b"# Whisper\n".to_vec())]);
    for (number, bundle) in
        ["tiny/AudioEncoder.mlmodelc", "base/AudioEncoder.mlmodelc", "Decoder.mlpackage"].iter().enumerate()
    {
        let seed = number as u64;
        files.insert(format!("{bundle}/weights/weight.bin"), noise(seed, 100_000));
        files.insert(format!("{bundle}/model.mil"), format!("program({number})").into_bytes());
        files.insert(format!("{bundle}/metadata.json"), b"[]".to_vec());
    }
    files
}

fn scene() -> Scene {
    let scene = Scene::new();
    let files = files();
    let list: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    scene.server.with_files(STRANGER, &list);
    scene
}

fn fetch(user: &User, variant: &str) -> Result<mlreg::workflow::fetch::FetchedPackage, mlreg::workflow::Error> {
    user.fetch_with("whisper_coreml", |options| {
        options.from = Some(hub_url(STRANGER));
        options.variants = vec![variant.to_owned()];
        options.upgrade = false;
    })
}

fn placed(user: &User) -> BTreeMap<String, Vec<u8>> {
    let mut files = crate::read_folder(&user.out().join("whisper_coreml"));
    files.remove(".mlreg.json");
    files
}

fn bundle(path: &str, name: &str) -> BTreeMap<String, Vec<u8>> {
    let inside =
        |(file, bytes): (String, Vec<u8>)| Some((format!("{name}/{}", file.strip_prefix(&format!("{path}/"))?), bytes));
    files().into_iter().filter_map(inside).collect()
}

#[test]
fn bundles_are_listed_as_variants() {
    let scene = scene();
    let context = scene.user("reader", None).context();
    let report = list(&context, &ListOptions { from: Some(hub_url(STRANGER)), ..ListOptions::default() }).unwrap();
    assert_eq!((report.packages.len(), report.packages[0].package.as_str()), (1, "whisper_coreml"));
    assert!(report.packages[0].versions[0].version.to_string().starts_with("0.0.0+"));
    let shown =
        show(&context, &ShowOptions { request: "whisper_coreml".parse().unwrap(), from: Some(hub_url(STRANGER)) })
            .unwrap();
    let ids: Vec<_> = shown.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["Decoder", "base-AudioEncoder", "tiny-AudioEncoder"]);
    assert!(shown.variants.iter().all(|variant| variant.bytes > 100_000));
}

#[test]
fn one_is_fetched_by_name_and_others_join_it() {
    let scene = scene();
    let reader = scene.user("reader", None);
    fetch(&reader, "Decoder").unwrap();
    let mut expected = bundle("Decoder.mlpackage", "Decoder.mlpackage");
    assert_eq!(placed(&reader), expected);
    assert_eq!(scene.server.cdn.bytes(""), 100_000, "nothing of the others");
    fetch(&reader, "tiny/AudioEncoder").unwrap();
    expected.extend(bundle("tiny/AudioEncoder.mlmodelc", "tiny-AudioEncoder.mlmodelc"));
    assert_eq!(placed(&reader), expected);
    assert_eq!(scene.server.cdn.bytes(""), 200_000);
    fetch(&reader, "tiny/AudioEncoder").unwrap();
    let error = fetch(&reader, "TextDecoder").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`textdecoder` matches no bundle of `whisper_coreml`: there is Decoder, base-AudioEncoder, tiny-AudioEncoder"
    );
}

#[test]
fn wrong_bytes_are_refused() {
    let scene = scene();
    scene.server.cdn.fault("blob/", .., Fault::Corrupt);
    let reader = scene.user("reader", None);
    let error = fetch(&reader, "decoder.mlpackage").unwrap_err();
    assert!(message(&error).contains("digest mismatch"), "{error}");
    scene.server.cdn.clear_faults();
    scene.server.hub.fault("resolve-cache", .., Fault::Corrupt);
    assert!(fetch(&reader, "decoder").is_err());
    assert!(placed(&reader).is_empty());
    scene.server.hub.clear_faults();
    fetch(&reader, "decoder").unwrap();
    let report =
        verify(&reader.context(), &VerifyOptions { subject: VerifySubject::Remote(hub_url(STRANGER)) }).unwrap();
    assert_eq!((report.findings.len(), report.files), (0, 7));
}

#[test]
fn empty_files_are_made_and_not_asked_for() {
    let scene = Scene::new();
    let weights = noise(1, 100_000);
    scene.server.with_files(
        STRANGER,
        &[("A.mlmodelc/weights/weight.bin", &weights), ("A.mlmodelc/notes.txt", b""), ("A.mlmodelc/model.mil", b"mil")],
    );
    scene.server.fault("notes.txt", 0..1000, Fault::status(500));
    let user = scene.user("reader", None);
    fetch(&user, "A").unwrap();
    assert_eq!(placed(&user)["A.mlmodelc/notes.txt"], b"");
    assert_eq!(placed(&user).len(), 3);
    assert_eq!(scene.server.hub.requests("notes.txt"), 0);
}

#[test]
fn the_next_page_of_a_mirror_is_asked_of_the_mirror() {
    let scene = scene();
    {
        let mut state = scene.server.state();
        // As mirrors do: pages name the Hub itself, which is not reachable, or should not see the token.
        (state.page, state.hub) = (Some(3), format!("http://localhost:{}", scene.server.storage.address().port()));
    }
    let user = scene.user("reader", Some(crate::TOKEN));
    fetch(&user, "Decoder").unwrap();
    assert_eq!(placed(&user), bundle("Decoder.mlpackage", "Decoder.mlpackage"));
    assert!(scene.server.storage.log().is_empty() && scene.server.leaks().is_empty());
}
