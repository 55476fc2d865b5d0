//! Exact trees, links and modes of the three layouts.

use std::{fs, path::Path};

use mlreg::{
    base::{Digest, Target::Ios18},
    fetch::Layout,
};
use serde_json::{Value, json};

use crate::{Bundle, Client, Node, SPECIFICATION, Scene, WEIGHTS, noise, trees, weights};

const ONE: &str = "decoder-768-float16-ios18.mlpackage";
const TWO: &str = "decoder-1024-float16-ios18.mlpackage";

fn bundles() -> [Bundle; 2] {
    let shared = weights(&[(1, 100_000)]);
    let script = b"#!/bin/sh\n".to_vec();
    let one = Bundle::decoder(768, Ios18, &shared)
        .file("bin/run.sh", script)
        .executable()
        .folder("Data/com.apple.CoreML/empty/inner");
    [one, Bundle::decoder(1024, Ios18, &shared)]
}

fn fetched(layout: Layout) -> (Scene, Client, [Bundle; 2]) {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let client = scene.client("one");
    client.fetch(|options| options.layout = layout);
    (scene, client, bundles)
}

/// Whether two paths are one file.
#[cfg(unix)]
fn are_linked(left: &Path, right: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (left, right) = (fs::metadata(left).unwrap(), fs::metadata(right).unwrap());
    (left.dev(), left.ino()) == (right.dev(), right.ino())
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
}

/// Whether files can be clones here: then they share bytes without being links.
fn has_clones(folder: &Path) -> bool {
    let (from, to) = (folder.join("clone-from"), folder.join("clone-to"));
    fs::write(&from, b"x").unwrap();
    let cloned = reflink_copy::reflink(&from, &to).is_ok();
    fs::remove_file(from).unwrap();
    if cloned {
        fs::remove_file(to).unwrap();
    }
    cloned
}

#[test]
fn linked_bundles_are_complete_and_share_their_files() {
    let (_scene, client, [one, two]) = fetched(Layout::Linked);
    assert_eq!(client.tree(), trees(&[(ONE, &one), (TWO, &two)]));
    #[cfg(unix)]
    {
        let file = |bundle: &str, path: &str| client.file(&format!("{bundle}/{path}"));
        assert!(are_linked(&file(ONE, WEIGHTS), &file(TWO, WEIGHTS)));
        assert!(!are_linked(&file(ONE, SPECIFICATION), &file(TWO, SPECIFICATION)));
        assert_eq!(mode(&file(ONE, "bin/run.sh")), 0o755);
        if !has_clones(&client.root) {
            let blob = client.store().blob_path(&Digest::of(&one.contents[2].bytes));
            assert!(are_linked(&file(ONE, WEIGHTS), &blob), "and the store has the same file");
            assert_eq!((mode(&blob), mode(&file(ONE, WEIGHTS))), (0o444, 0o444));
            let script = client.store().blob_path(&Digest::of(b"#!/bin/sh\n"));
            assert_eq!(mode(&script), 0o444, "the store's file is not executable");
        }
    }
}

#[test]
fn bundles_that_join_later_share_the_same_files() {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let client = scene.client("one");
    client.fetch_variants(&["decoder-768-*"]);
    client.fetch_variants(&["decoder-1024-*"]);
    assert_eq!(client.tree(), trees(&[(ONE, &bundles[0]), (TWO, &bundles[1])]));
    #[cfg(unix)]
    assert!(are_linked(&client.file(&format!("{ONE}/{WEIGHTS}")), &client.file(&format!("{TWO}/{WEIGHTS}"))));
}

#[test]
fn copied_bundles_share_nothing_and_can_be_written() {
    let (_scene, client, [one, two]) = fetched(Layout::Copied);
    assert_eq!(client.tree(), trees(&[(ONE, &one), (TWO, &two)]));
    #[cfg(unix)]
    {
        let file = |bundle: &str, path: &str| client.file(&format!("{bundle}/{path}"));
        assert!(!are_linked(&file(ONE, WEIGHTS), &file(TWO, WEIGHTS)));
        assert!(!are_linked(&file(ONE, WEIGHTS), &client.store().blob_path(&Digest::of(&one.contents[2].bytes))));
        assert_eq!((mode(&file(ONE, WEIGHTS)), mode(&file(ONE, "bin/run.sh"))), (0o644, 0o755));
    }
}

#[test]
fn shared_weights_stand_beside_the_bundles() {
    let (_scene, client, [one, two]) = fetched(Layout::Shared);
    let mut expected = trees(&[(ONE, &one), (TWO, &two)]);
    for bundle in [ONE, TWO] {
        let weights = expected.remove(&format!("{bundle}/{WEIGHTS}")).unwrap();
        expected.insert("weight.bin".to_owned(), weights);
    }
    let mut found = client.tree();
    let Some(Node::File { bytes: layout, .. }) = found.remove("layout.json") else { panic!("no layout.json") };
    assert_eq!(found, expected, "the folders of the weights stay");
    let document: Value = serde_json::from_slice(&layout).unwrap();
    let bytes = &one.contents[2].bytes;
    let expected = json!({
        "schema": "mlreg/layout/1", "package": "tae", "version": "1.0.0",
        "bundles": { ONE: { WEIGHTS: "weight.bin" }, TWO: { WEIGHTS: "weight.bin" } },
        "files": { "weight.bin": { "sha256": Digest::of(bytes).to_string(), "size": bytes.len() } },
    });
    assert_eq!(document, expected);
}

#[test]
fn several_shared_weights_are_named_after_component_and_precision() {
    let one = Bundle::decoder(768, Ios18, &weights(&[(1, 1000)]));
    let mut small = Bundle::decoder(769, Ios18, &weights(&[(2, 500)]));
    small.variant.axes.insert("compression".to_owned(), "linear:int8".to_owned());
    let scene = Scene::with(&[one.clone(), small.clone()]);
    let client = scene.client("one");
    let names = |client: &Client| -> Vec<String> {
        client.tree().into_keys().filter(|path| !path.contains('/') && !path.ends_with(".mlpackage")).collect()
    };
    client.fetch(|options| (options.layout, options.variants) = (Layout::Shared, vec!["decoder-768-*".to_owned()]));
    assert_eq!(names(&client), ["layout.json", "weight.bin"]);
    client.fetch(|options| options.layout = Layout::Shared);
    assert_eq!(names(&client), ["decoder-float16.weight.bin", "decoder-linear-int8.weight.bin", "layout.json"]);
    assert_eq!(client.problems(), [""; 0]);
}

#[test]
fn a_folder_can_change_its_layout() {
    let (scene, client, [one, two]) = fetched(Layout::Linked);
    scene.server.reset_counts();
    for layout in [Layout::Shared, Layout::Copied, Layout::Linked] {
        client.fetch(|options| options.layout = layout);
        assert_eq!(client.problems(), [""; 0], "{layout:?}");
        assert_eq!(client.file("weight.bin").exists(), layout == Layout::Shared);
        #[cfg(unix)]
        if layout != Layout::Shared {
            let linked =
                are_linked(&client.file(&format!("{ONE}/{WEIGHTS}")), &client.file(&format!("{TWO}/{WEIGHTS}")));
            assert_eq!(linked, layout == Layout::Linked);
        }
    }
    assert_eq!(client.tree(), trees(&[(ONE, &one), (TWO, &two)]));
    assert_eq!(scene.server.log(), [], "every byte was here");
}

#[test]
fn plain_files_and_empty_files_are_bundles_too() {
    let empty = Bundle::new("tokenizer", Ios18).file("tokenizer.json", noise(1, 1000)).file("merges.txt", Vec::new());
    let scene = Scene::with(std::slice::from_ref(&empty));
    for layout in [Layout::Linked, Layout::Shared, Layout::Copied] {
        let client = scene.client(&format!("{layout:?}"));
        client.fetch(|options| options.layout = layout);
        let mut found = client.tree();
        assert_eq!(found.remove("layout.json").is_some(), layout == Layout::Shared);
        assert_eq!(found, empty.tree("tokenizer-ios18.mlpackage"), "{layout:?}");
    }
}
