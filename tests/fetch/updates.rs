//! A folder over time: variants join, floors are kept, releases change.

use mlreg::{
    base::Target::*,
    manifest::release::BundleKind,
    workflow::{ErrorKind, fetch::FetchOptions},
};

use crate::{Bundle, METADATA, Scene, noise, tree, trees, weights};

const ONE: &str = "decoder-768-float16.mlpackage";
const TWO: &str = "decoder-1024-float16.mlpackage";

fn floor(text: &str) -> impl Fn(&mut FetchOptions) {
    let floor = text.parse().unwrap();
    move |options| options.floor = Some(floor)
}

/// What a glob matches, for iOS18.
fn selected(glob: &str) -> impl Fn(&mut FetchOptions) {
    let variants = vec![glob.to_owned()];
    move |options| (options.floor, options.variants) = (Some("iOS18".parse().unwrap()), variants.clone())
}

#[test]
fn what_joins_leaves_the_rest_alone() {
    let shared = weights(&[(1, 1000)]);
    let (one, two) = (Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared));
    let scene = Scene::with(&[one.clone(), two.clone()]);
    let client = scene.client("one");
    client.fetch(selected("decoder-768-*"));
    let modified = || std::fs::metadata(client.file(&format!("{ONE}/Manifest.json"))).unwrap().modified().unwrap();
    let before = modified();
    let report = client.fetch(selected("decoder-1024-*"));
    assert_eq!(
        (report.changes.placed, report.changes.kept, report.changes.removed),
        (vec![TWO.to_owned()], vec![ONE.to_owned()], Vec::new())
    );
    assert_eq!(report.variants.len(), 2);
    assert_eq!(client.tree(), trees(&[(ONE, &one), (TWO, &two)]));
    assert_eq!(modified(), before);
}

#[test]
fn a_variant_that_was_asked_for_by_id_stays_when_others_join() {
    let shared = weights(&[(1, 1000)]);
    let old = Bundle::decoder(768, Ios15, &shared);
    let scene =
        Scene::with(&[old.clone(), Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared)]);
    let client = scene.client("one");
    client.fetch(selected("decoder-768-float16-ios15"));
    client.fetch(selected("decoder-1024-*"));
    let mut found = client.tree();
    found.retain(|path, _| path.starts_with(ONE));
    assert_eq!(found, old.tree(ONE));
}

#[test]
fn a_second_floor_names_out() {
    let scene = Scene::with(&[Bundle::decoder(768, Ios15, &weights(&[(1, 1000)]))]);
    let client = scene.client("one");
    client.fetch(floor("iOS17"));
    let before = tree(&client.folder());
    let error = client.try_fetch(floor("iOS18")).unwrap_err();
    let folder = client.folder().display().to_string();
    assert_eq!(
        error.to_string(),
        format!(
            "`{folder}` was placed for `iOS17`, and is now asked for `iOS18`: a destination has one deployment target"
        )
    );
    assert_eq!(
        (error.kind(), error.hints()),
        (ErrorKind::Input, vec!["ask for `--target iOS17`, choose another `out`, or remove the folder".to_owned()])
    );
    let error = client.try_fetch(|_| ()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is now asked for every deployment target: a destination has one deployment target"),
        "{error}"
    );
    assert_eq!(tree(&client.folder()), before);
    client.fetch(|options| (options.floor, options.out) = (Some("iOS18".parse().unwrap()), "Other".into()));
    client.fetch(floor("macOS14"));
}

#[test]
fn an_upgrade_removes_what_the_old_release_placed_and_nothing_else() {
    let (before, after) = (weights(&[(1, 1000)]), weights(&[(2, 1000)]));
    let scene = Scene::with(&[
        Bundle::decoder(768, Ios18, &before),
        Bundle::decoder(512, Ios18, &before),
        Bundle::new("old", Ios18).file("x", noise(1, 9)),
    ]);
    let client = scene.client("one");
    client.fetch(floor("iOS18"));
    std::fs::write(client.file("notes.txt"), b"mine").unwrap();
    let (one, two) = (Bundle::decoder(768, Ios17, &after), Bundle::decoder(1024, Ios18, &after));
    scene.release("2.0.0", &[one.clone(), Bundle::decoder(512, Ios26, &after), two.clone()]);
    let report = client.fetch(floor("iOS18"));
    assert_eq!(report.version.to_string(), "1.0.0", "nothing changes by itself");
    let glob = |options: &mut FetchOptions| {
        options.floor = Some("iOS18".parse().unwrap());
        options.variants = vec!["decoder-1024-*".to_owned()];
        options.upgrade = true;
    };
    let report = client.fetch(glob);
    assert_eq!(report.version.to_string(), "2.0.0");
    let mut found = client.tree();
    assert!(found.remove("notes.txt").is_some());
    // The decoder of 768 came along with its best target; the one of 512 now needs a later system, and `old` is no
    // more.
    assert_eq!(found, trees(&[(ONE, &one), (TWO, &two)]));
    assert_eq!(report.changes.removed, ["decoder-512-float16.mlpackage", "old.mlpackage"]);
    assert_eq!(client.problems(), [""; 0]);
}

#[test]
fn another_requirement_changes_the_version() {
    let bundle = |seed| Bundle::decoder(768, Ios18, &weights(&[(seed, 1000)]));
    let scene = Scene::with(&[bundle(1)]);
    scene.release("1.2.0", &[bundle(2)]);
    scene.release("2.0.0-beta.1", &[bundle(3)]);
    let client = scene.client("one");
    let version =
        |request: &str| client.fetch(|options| options.requests = vec![request.parse().unwrap()]).version.to_string();
    assert_eq!(version("tae@~1.0"), "1.0.0");
    assert_eq!(version("tae@1"), "1.0.0", "what is in place will do");
    assert_eq!(version("tae@>=1.1"), "1.2.0");
    assert_eq!(version("tae@2.0.0-beta.1"), "2.0.0-beta.1");
    assert_eq!(version("tae@1.0.0"), "1.0.0", "and back");
    let error = client.try_fetch(|options| options.requests = vec!["tae@3".parse().unwrap()]).unwrap_err();
    let expected =
        format!("no version of `tae` in `{}` matches `^3`: there is 1.0.0, 1.2.0, 2.0.0-beta.1", scene.server.url());
    assert_eq!(error.to_string(), expected);
    assert_eq!(client.tree(), bundle(1).tree("decoder-768-float16-ios18.mlpackage"));
}

#[test]
fn bundles_of_two_kinds_and_one_name_move_along_each_as_its_own() {
    let make = |seed: u64| {
        let package = Bundle::new("decoder", Ios18).file("a", noise(seed, 100));
        let mut compiled = Bundle::new("decoder", Ios18).kind(BundleKind::MlModelC).file("b", noise(seed + 1, 100));
        compiled.variant.id += "-mlmodelc";
        [package, compiled]
    };
    let scene = Scene::with(&make(1));
    let client = scene.client("one");
    client.fetch(floor("iOS18"));
    let new = make(10);
    scene.release("1.1.0", &new);
    client.fetch(|options| (options.upgrade, options.floor) = (true, Some("iOS18".parse().unwrap())));
    assert_eq!(client.tree(), trees(&[("decoder.mlpackage", &new[0]), ("decoder.mlmodelc", &new[1])]));
}

#[test]
fn a_folder_that_was_emptied_starts_anew() {
    let shared = weights(&[(1, 1000)]);
    let (one, two) = (Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared));
    let scene = Scene::with(&[one, two.clone()]);
    let client = scene.client("one");
    client.fetch_variants(&["decoder-768-*"]);
    std::fs::remove_dir_all(client.folder()).unwrap();
    client.fetch_variants(&["decoder-1024-*"]);
    assert_eq!(client.tree(), two.tree("decoder-1024-float16-ios18.mlpackage"));
}

#[test]
fn several_sources_of_one_release_share_what_is_here() {
    let scene = Scene::with(&[Bundle::decoder(768, Ios18, &weights(&[(1, 100_000)]))]);
    let mirror = crate::http_server::HttpServer::start(&scene.registry());
    let mut client = scene.client("one");
    client.fetch(|_| ());
    client.url = mlreg::remote::RemoteUrl::parse(&mirror.url(), &scene.path("")).unwrap();
    client.fetch(|_| ());
    assert!(mirror.requests("index.json") == 1 && mirror.bytes("") < METADATA, "{} bytes", mirror.bytes(""));
    client.fetch(|_| ());
    assert_eq!(mirror.requests(""), 1, "both are known now");
}

#[test]
fn a_floor_below_every_target_is_told_what_there_is() {
    let scene = Scene::with(&[Bundle::decoder(768, Ios16, &weights(&[(1, 1000)]))]);
    let error = scene.client("one").try_fetch(floor("iOS14")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let text = error.to_string();
    assert!(
        text.contains("@1.0.0` has nothing for iOS14: `decoder-768-") && text.ends_with("` is there for iOS16"),
        "{text}"
    );
    assert_eq!(error.hints(), ["the floor iOS16 fits; or select other variants"]);
    let error = scene.client("two").try_fetch(floor("macOS11")).unwrap_err();
    assert_eq!(error.hints(), ["the floor macOS13 fits; or select other variants"]);
}
