//! Releases that claim sizes which nothing has: refused before anything is planned, allocated or kept.

use std::fs;

use mlreg::{
    base::{Blake3, Digest, Target::Ios18, limits},
    remote::RemoteUrl,
    workflow::{ErrorKind, verify::VerifySubject},
};
use serde_json::Value;

use crate::{Bundle, Client, Scene};

const VARIANT: &str = "small-float16-ios18";

/// A registry whose release claims `size` bytes for the one file of a variant, beside one that is as it should be.
fn liar(size: u64) -> (Scene, Client) {
    let small = Bundle::new("small-float16", Ios18).file("x", b"small".to_vec());
    let scene = Scene::with(&[small, Bundle::new("large-float16", Ios18).file("x", b"large".to_vec())]);
    let folder = scene.registry().join("packages/tae");
    let path = folder.join("1.0.0.json");
    let mut release: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let digest = Digest::of(b"large").to_string();
    release["variants"][0]["files"][0]["size"] = size.into();
    release["blobs"][&digest] = serde_json::json!({ "size": size, "blake3": Blake3::of(b"large") });
    let after = serde_json::to_vec(&release).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    index["versions"]["1.0.0"] = serde_json::json!({ "release": Digest::of(&after), "size": after.len() });
    for (name, bytes) in [("1.0.0.json", after), ("index.json", serde_json::to_vec(&index).unwrap())] {
        fs::remove_file(folder.join(name)).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
    let client = Client::new(&scene.path("client"), RemoteUrl::folder(scene.registry()));
    (scene, client)
}

#[test]
fn what_no_disk_has_room_for_is_named_at_once() {
    for size in [1_000_000_000_000_000, limits::BLOB_BYTES] {
        let (_scene, client) = liar(size);
        for dry_run in [false, true] {
            let (kind, said) = client.refusal(|options| options.dry_run = dry_run);
            assert_eq!(kind, ErrorKind::Input);
            assert!(
                said.contains("`tae@1.0.0` needs ")
                    && said.contains(" free: the blob ")
                    && said.contains(&Digest::of(b"large").to_string()),
                "{said}"
            );
        }
        assert_eq!(client.store().packages().unwrap(), [], "the release was not kept");
        assert!(!client.folder().exists() && !client.store().home().join("partial").exists());
    }
}

#[test]
fn what_no_file_has_is_no_release() {
    for size in [limits::BLOB_BYTES + 1, (1 << 53) + 1, 1 << 63, u64::MAX] {
        let (scene, client) = liar(size);
        let (kind, said) = client.refusal(|_| ());
        assert!(kind == ErrorKind::Verification && said.contains(&format!("has {size} bytes")), "{said}");
        let report = client.verify(VerifySubject::Remote(RemoteUrl::folder(scene.registry())));
        assert_eq!(report.findings.iter().map(|it| it.problem.as_str()).collect::<Vec<_>>(), ["invalid-release"]);
    }
}

#[test]
fn what_is_not_asked_for_costs_nothing() {
    let (scene, client) = liar(limits::BLOB_BYTES);
    let report = client.fetch_variants(&[VARIANT]);
    assert_eq!(report.downloaded_bytes, 5);
    // What tags would cost is told of the whole release.
    let (kind, said) = client.refusal(|options| (options.dry_run, options.out) = (true, "Other".into()));
    assert!(kind == ErrorKind::Input && said.contains("needs "), "{said}");
    let (kind, said) = client.refusal(|options| {
        (options.dry_run, options.out, options.variants) = (true, "Other".into(), vec![VARIANT.to_owned()]);
    });
    assert!(kind == ErrorKind::Verification && said.contains("more than any machine holds"), "{said}");
    let report = client.verify(VerifySubject::Remote(RemoteUrl::folder(scene.registry())));
    assert_eq!(report.findings.iter().map(|it| it.problem.as_str()).collect::<Vec<_>>(), ["wrong-size"]);
}
