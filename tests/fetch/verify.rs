//! Verification: quiet where all is well, and every damaged byte found, in a store, a release, a folder and a registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mlreg::{
    base::Target::Ios18,
    remote::RemoteUrl,
    workflow::{
        ErrorKind,
        verify::{VerifyOptions, VerifySubject, verify},
    },
};

use crate::{Bundle, Client, Node, Scene, tree, weights};

fn bundles() -> [Bundle; 2] {
    let shared = weights(&[(1, 300), (2, 100)]);
    [Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared)]
}

fn fetched() -> (Scene, Client) {
    let scene = Scene::with(&bundles());
    scene.release("1.1.0", &bundles());
    let client = scene.client("one");
    client.fetch(|_| ());
    (scene, client)
}

fn registry(scene: &Scene) -> VerifySubject {
    VerifySubject::Remote(RemoteUrl::folder(scene.registry()))
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let files = tree(folder).into_iter().filter(|(_, node)| matches!(node, Node::File { .. }));
    files.map(|(path, _)| folder.join(path)).collect()
}

/// Puts other bytes in the place of a file, leaving links to it alone.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_sound_has_no_findings() {
    let (scene, client) = fetched();
    let package = |text: &str| VerifySubject::Package(text.parse().unwrap());
    let server = VerifySubject::Remote(client.url.clone());
    let (blobs, bundles) = (4, 6);
    for (subject, count) in [
        (VerifySubject::Store, blobs),
        (package("tae"), blobs),
        (VerifySubject::Folder(client.folder()), bundles),
        (VerifySubject::Folder("Models".into()), bundles),
        (registry(&scene), blobs),
        (VerifySubject::Folder(scene.registry()), blobs),
        (server, blobs),
    ] {
        let report = client.verify(subject.clone());
        assert_eq!((report.findings, report.files), (Vec::new(), count), "{subject:?}");
        assert!(report.bytes > 500);
    }
}

#[test]
fn every_flipped_byte_of_a_registry_is_found() {
    let (scene, client) = fetched();
    let found = files(&scene.registry());
    assert_eq!(found.iter().filter(|path| path.extension().is_some_and(|it| it == "json")).count(), 4, "{found:?}");
    let subjects = [registry(&scene), VerifySubject::Remote(client.url.clone())];
    for path in found.iter().filter(|path| path.file_name().unwrap() != ".lock") {
        let bytes = fs::read(path).unwrap();
        // Manifests and blobs are under one digest each; catalogue and index have one for every entry.
        let is_derived = ["mlreg.json", "index.json"].iter().any(|name| path.ends_with(name));
        let step = if is_derived { 1 } else { bytes.len() / 7 + 1 };
        for position in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 7);
            replace(path, &damaged);
            // Both look at the same files; the server is slower.
            let subject = &subjects[usize::from(position % 8 == 0)];
            let found = match verify(&client.context, &VerifyOptions { subject: subject.clone() }) {
                Ok(report) => !report.findings.is_empty(),
                // A flipped bit can make of the schema's number a later one.
                Err(error) => error.to_string().ends_with("was written by a newer mlreg"),
            };
            assert!(found, "byte {position} of {} {:?}", path.display(), String::from_utf8_lossy(&damaged));
        }
        replace(path, &bytes);
    }
    assert_eq!(client.verify(registry(&scene)).findings, []);
}

#[test]
fn lost_and_shortened_files_of_a_registry_are_found() {
    let (scene, client) = fetched();
    for path in files(&scene.registry()).iter().filter(|path| !path.ends_with(".lock") && !path.ends_with("mlreg.json"))
    {
        let bytes = fs::read(path).unwrap();
        for length in [0, bytes.len() / 2] {
            replace(path, &bytes[..length]);
            assert!(!client.verify(registry(&scene)).findings.is_empty(), "{} with {length} bytes", path.display());
        }
        fs::remove_file(path).unwrap();
        assert!(!client.verify(registry(&scene)).findings.is_empty(), "{} is gone", path.display());
        fs::write(path, &bytes).unwrap();
    }
}

#[test]
fn every_flipped_byte_of_a_placed_folder_is_found() {
    let (_scene, client) = fetched();
    for path in files(&client.folder()) {
        let bytes = fs::read(&path).unwrap();
        for position in (0..bytes.len()).step_by(if path.ends_with(".mlreg.json") { 1 } else { bytes.len() / 5 + 1 }) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 7);
            replace(&path, &damaged);
            assert_eq!(client.problems().len(), 1, "byte {position} of {}", path.display());
        }
        replace(&path, &bytes);
    }
    assert_eq!(client.problems(), [""; 0]);
}

#[test]
fn a_damaged_proof_hides_no_damage_where_the_store_remembers_it() {
    let (_scene, client) = fetched();
    let path = client.file("decoder-768-float16-ios18.mlpackage/Manifest.json");
    replace(&path, b"[]");
    replace(&client.file(".mlreg.json"), b"{}");
    let manifest = "wrong-content decoder-768-float16-ios18.mlpackage/Manifest.json";
    assert_eq!(client.problems(), ["wrong-proof .mlreg.json", manifest]);
}

#[test]
fn a_blob_of_a_release_is_found_damaged() {
    let (scene, client) = fetched();
    let digest = mlreg::base::Digest::of(&bundles()[0].contents[2].bytes);
    replace(&client.store().blob_path(&digest), &[0; 640]);
    for subject in [VerifySubject::Store, VerifySubject::Package("tae@1.1.0".parse().unwrap())] {
        let report = client.verify(subject);
        assert!(
            report.findings.iter().any(|it| it.problem == "wrong-content" && it.path.ends_with(&digest.to_string())),
            "{report:?}"
        );
    }
    fs::remove_file(client.store().blob_path(&digest)).unwrap();
    let package = VerifySubject::Package("tae".parse().unwrap());
    assert_eq!(client.verify(package.clone()).findings, [], "what was fetched in part is whole enough");
    let publisher = Client {
        context: mlreg::workflow::Context::new(&scene.path("publisher"), scene.path("")).unwrap(),
        ..scene.client("x")
    };
    fs::remove_file(publisher.store().blob_path(&digest)).unwrap();
    assert_eq!(
        publisher.verify(package).findings.iter().map(|it| it.problem.as_str()).collect::<Vec<_>>(),
        ["missing"],
        "what was built is not"
    );
}

#[test]
fn what_cannot_be_verified_is_an_error() {
    let (scene, client) = fetched();
    let refusal = |subject| verify(&client.context, &VerifyOptions { subject }).unwrap_err();
    let error = refusal(VerifySubject::Folder(scene.path("publisher")));
    assert!(error.to_string().contains("is neither a folder that mlreg placed nor a registry"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(refusal(VerifySubject::Folder("nowhere".into())).kind(), ErrorKind::Input);
    assert_eq!(refusal(VerifySubject::Package("other".parse().unwrap())).kind(), ErrorKind::Input);
    assert_eq!(refusal(VerifySubject::Remote(RemoteUrl::folder(scene.path("publisher")))).kind(), ErrorKind::Input);
    let gone = client.url.clone();
    drop(scene.server);
    let quick = mlreg::remote::RemoteOptions { retries: 0, ..crate::quick() };
    let context = mlreg::workflow::Context::new(&client.root, client.root.clone()).unwrap().with_remote_options(quick);
    assert_eq!(
        verify(&context, &VerifyOptions { subject: VerifySubject::Remote(gone) }).unwrap_err().kind(),
        ErrorKind::Remote
    );
}
