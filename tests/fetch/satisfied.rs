//! The second run: nothing is touched, nobody is asked, whatever has become of the server.

use std::{fs, time::SystemTime};

use mlreg::{base::Target::Ios18, workflow::fetch::FetchStatus};

use crate::{Bundle, Client, Scene, tree, weights};

fn scene() -> Scene {
    let shared = weights(&[(1, 300_000)]);
    Scene::with(&[Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared).tag("large")])
}

/// When everything below the client's folder was last changed, by path.
fn times(client: &Client) -> Vec<(String, SystemTime)> {
    let modified = |path: String| (path.clone(), fs::metadata(client.root.join(path)).unwrap().modified().unwrap());
    tree(&client.root).into_keys().map(modified).collect()
}

#[test]
fn nothing_is_touched_and_nobody_asked() {
    let scene = scene();
    let client = scene.client("one");
    client.fetch(|_| ());
    let before = times(&client);
    scene.server.reset_counts();
    for _ in 0..2 {
        let report = client.fetch(|_| ());
        assert_eq!((report.status, report.variants.len(), report.changes.kept.len()), (FetchStatus::UpToDate, 2, 2));
    }
    assert_eq!(scene.server.log(), []);
    assert_eq!(times(&client), before);
}

#[test]
fn the_server_may_be_gone_and_so_may_the_index_of_the_store() {
    let scene = scene();
    let client = scene.client("one");
    client.fetch(|_| ());
    drop(scene.server);
    fs::remove_file(client.root.join("home/index.sqlite")).unwrap();
    client.fetch(|_| ());
    client.fetch(|options| options.offline = true);
    client.fetch(|options| (options.offline, options.from) = (true, None));
    assert!(!client.root.join("home/index.sqlite").exists(), "the fast way opens no database");
}

#[test]
fn a_request_that_others_satisfied_asks_nobody_either() {
    let scene = scene();
    let client = scene.client("one");
    client.fetch(|_| ());
    scene.server.reset_counts();
    let report = client.fetch(|options| options.variants = vec!["decoder-768-*".to_owned()]);
    assert_eq!((report.status, report.variants.len()), (FetchStatus::UpToDate, 2), "what is there stays there");
    assert_eq!(scene.server.log(), []);
}

#[test]
fn offline_without_the_bytes_is_an_error_that_counts_them() {
    let scene = scene();
    let client = scene.client("one");
    let offline = |options: &mut mlreg::workflow::fetch::FetchOptions| options.offline = true;
    let (_, text) = client.refusal(offline);
    assert_eq!(text, format!("`{}` has no package `tae`", client.root.join("home").display()));
    client.fetch_variants(&["decoder-768-*"]);
    let (_, text) = client.refusal(offline);
    assert_eq!(text, "1 file of `tae@1.0.0` (25 bytes) is not in the store, and no remote may be asked");
}

#[test]
fn offline_places_what_the_store_has() {
    let scene = scene();
    let client = scene.client("one");
    client.fetch(|_| ());
    scene.server.reset_counts();
    let report = client.fetch(|options| (options.offline, options.out) = (true, "Other".into()));
    assert_eq!((report.status, scene.server.log().len()), (FetchStatus::Fetched, 0));
    assert_eq!(tree(&report.folder), tree(&client.folder()));
}

#[test]
fn upgrade_asks_and_finds_nothing_new() {
    let scene = scene();
    let client = scene.client("one");
    client.fetch(|_| ());
    let before = tree(&client.folder());
    scene.server.reset_counts();
    let report = client.fetch(|options| options.upgrade = true);
    assert_eq!(
        (report.status, scene.server.requests("index.json"), scene.server.requests("")),
        (FetchStatus::UpToDate, 1, 1)
    );
    assert_eq!(tree(&client.folder()), before);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_move() {
    let scene = scene();
    let client = scene.client("one");
    let dry = client.fetch(|options| options.dry_run = true);
    assert_eq!(tree(&client.root).into_keys().collect::<Vec<_>>(), [""; 0], "neither home nor destination");
    let real = client.fetch_variants(&["decoder-768-*"]);
    assert_eq!(real.downloaded_bytes + 25, dry.plan.download, "25 bytes are the other specification's");
    let before = times(&client);
    let dry = client.fetch(|options| options.dry_run = true);
    assert_eq!((dry.status, dry.plan.wanted, dry.downloaded_bytes), (FetchStatus::DryRun, 25, 25));
    assert_eq!(dry.plan.present, 300_160 + 2, "the weight file and the package's list are here");
    assert_eq!(dry.changes.placed, ["decoder-1024-float16-ios18.mlpackage"]);
    assert_eq!(dry.changes.kept, ["decoder-768-float16-ios18.mlpackage"]);
    let costs: Vec<_> = dry.variants.iter().map(|variant| variant.download_bytes).collect();
    assert_eq!(costs, [25, 0]);
    assert_eq!(times(&client), before);
}

#[test]
fn a_folder_that_came_from_another_machine_is_taken_as_it_is() {
    let scene = scene();
    let (one, two) = (scene.client("one"), scene.client("two"));
    one.fetch(|_| ());
    for path in tree(&one.folder()).into_keys() {
        let (from, to) = (one.file(&path), two.file(&path));
        if from.is_dir() {
            fs::create_dir_all(to).unwrap();
        } else {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
    scene.server.reset_counts();
    let report = two.fetch(|_| ());
    assert_eq!((report.status, scene.server.requests("blobs/")), (FetchStatus::UpToDate, 0));
    scene.server.reset_counts();
    two.fetch(|_| ());
    assert_eq!(scene.server.log(), [], "and from now on nobody is asked");
}
