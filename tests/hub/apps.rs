//! Apps whose packages come from the Hub: the lock pins the commit, whatever becomes of `main`.

use std::fs;

use mlreg::{
    app::Changes,
    workflow::{
        Error,
        app::{AddOptions, AppFetchOptions, AppFetchReport, add, fetch_app},
    },
};

use crate::{REPOSITORY, Scene, User, decoder, noise, tensors};

fn add_package(user: &User, package: &str, repository: &str, variants: &[&str]) {
    fs::create_dir_all(&user.home).unwrap();
    let changes = Changes {
        from: vec![format!("hf://{repository}")],
        variants: variants.iter().map(|glob| (*glob).to_owned()).collect(),
        out: Some("Models".to_owned()),
        ..Changes::default()
    };
    let options = AddOptions { package: package.parse().unwrap(), requirement: None, changes, offline: false };
    add(&user.context(), &options).unwrap_or_else(|error| panic!("{}", crate::message(&error)));
}

fn fetch(user: &User) -> Result<AppFetchReport, Error> {
    fetch_app(&user.context(), &AppFetchOptions { locked: true, ..AppFetchOptions::default() })
}

fn forget(user: &User) {
    ["store", "Models"].iter().for_each(|name| drop(fs::remove_dir_all(user.home.join(name))));
}

#[test]
fn the_lock_has_the_commit_and_fetches_from_it() {
    let scene = Scene::new();
    let weights = tensors(&[(1, 20_000)]);
    scene.publisher().release("1.0.0", &[decoder(768, &weights)]);
    let app = scene.publisher();
    let app = User { home: app.home.with_file_name("app"), ..app };
    add_package(&app, "tae", REPOSITORY, &[]);
    let lock = fs::read_to_string(app.home.join("mlreg.lock")).unwrap();
    let revision = lock
        .lines()
        .find_map(|line| line.strip_prefix("revision = \"")?.strip_suffix('"'))
        .unwrap_or_else(|| panic!("{lock}"));
    assert!(revision.len() == 40 && lock.contains(&format!("source = \"hf://{REPOSITORY}\"")), "{lock}");
    scene.publisher().release("1.1.0", &[decoder(768, &tensors(&[(2, 20_000)]))]);
    forget(&app);
    scene.server.hub.reset_counts();
    let report = fetch(&app).unwrap();
    assert_eq!(
        (report.packages[0].version.to_string(), app.placed()),
        ("1.0.0".to_owned(), decoder(768, &weights).tree("decoder-768-float16-ios18.mlpackage"))
    );
    assert!(
        scene.server.hub.requests(&format!("/revision/{revision}")) > 0
            && scene.server.hub.requests("/revision/main") == 0
    );
    scene.server.hub.reset_counts();
    fetch(&app).unwrap();
    assert_eq!(scene.server.hub.requests(""), 0);
}

#[test]
fn bundles_of_strangers_are_locked_by_their_commit_and_digests() {
    const STRANGER: &str = "acme/Whisper_CoreML";
    let scene = Scene::new();
    let (old, new) = (noise(1, 30_000), noise(2, 30_000));
    let files = |weights: &[u8]| {
        let names = ["tiny/Encoder.mlmodelc/weights/weight.bin", "base/Encoder.mlmodelc/weights/weight.bin"];
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, weights)).collect();
        scene.server.with_files(STRANGER, &files);
    };
    files(&old);
    let app = scene.user("app", None);
    add_package(&app, "whisper_coreml", STRANGER, &["tiny/Encoder"]);
    fetch(&app).unwrap_or_else(|error| panic!("{}", crate::message(&error)));
    files(&new);
    forget(&app);
    let report = fetch(&app).unwrap_or_else(|error| panic!("{}", crate::message(&error)));
    assert_eq!(report.packages[0].variants.len(), 1);
    let placed = crate::read_folder(&app.home.join("Models/whisper_coreml"));
    let weights: Vec<_> =
        placed.iter().filter(|(path, _)| path.ends_with("weight.bin")).map(|(_, bytes)| bytes == &old).collect();
    assert_eq!(weights, [true]);
}
