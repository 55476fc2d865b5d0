//! Servers that lie, forget ranges, change their files or answer with pages: the right bytes, or an error and nothing
//! placed.

use mlreg::{base::Target::Ios18, workflow::ErrorKind};

use crate::{Bundle, Scene, http_server::Fault, noise, weights};

const NAME: &str = "decoder-768-float16-ios18.mlpackage";

fn scene() -> (Scene, Bundle) {
    let bundle = Bundle::decoder(768, Ios18, &weights(&[(1, 400_000), (2, 600_000), (3, 50_000)]));
    (Scene::with(std::slice::from_ref(&bundle)), bundle)
}

/// The path of the largest blob, the weight file.
fn weight_file(bundle: &Bundle) -> String {
    bundle.variant.files.iter().max_by_key(|file| file.size).unwrap().sha256.to_string()
}

#[test]
fn a_corrupted_range_alone_is_fetched_again() {
    let (scene, bundle) = scene();
    let client = scene.client("one");
    let payload = client.fetch(|options| options.dry_run = true).plan.download;
    scene.server.reset_counts();
    scene.server.fault(&weight_file(&bundle), ..1, Fault::Corrupt);
    client.fetch(|_| ());
    assert_eq!(client.tree(), bundle.tree(NAME));
    // The first byte of the first request was wrong: it is one of the first tensor.
    assert_eq!(scene.server.bytes("blobs/"), payload + 400_000);
    let requests = scene.server.log();
    let last =
        requests.iter().rfind(|request| request.path.contains(&weight_file(&bundle))).unwrap().headers["range"].clone();
    assert!(last.ends_with("-400127"), "{last}");
}

#[test]
fn a_server_that_keeps_lying_ends_in_an_error_that_names_the_tensor() {
    let (scene, bundle) = scene();
    let client = scene.client("one");
    scene.server.fault(&weight_file(&bundle), .., Fault::Corrupt);
    let (kind, text) = client.refusal(|_| ());
    assert_eq!(kind, ErrorKind::Verification);
    assert!(
        text.starts_with("digest mismatch: tensor `tensor1` at 128 of blob ") && text.contains(&scene.server.url()),
        "{text}"
    );
    assert!(!client.folder().exists(), "{:?}", client.tree());
    scene.server.clear_faults();
    client.fetch(|_| ());
    assert_eq!(client.tree(), bundle.tree(NAME));
}

#[test]
fn a_blob_without_segments_is_checked_as_a_whole() {
    let bundle = Bundle::new("tokenizer", Ios18).file("tokenizer.json", noise(1, 50_000));
    let scene = Scene::with(std::slice::from_ref(&bundle));
    scene.server.fault("blobs/", ..2, Fault::Corrupt);
    let client = scene.client("one");
    client.fetch(|_| ());
    assert_eq!(client.tree(), bundle.tree("tokenizer-ios18.mlpackage"));
    assert_eq!(scene.server.requests("blobs/"), 3);
    scene.server.clear_faults();
    scene.server.fault("blobs/", .., Fault::Corrupt);
    let other = scene.client("two");
    let (kind, text) = other.refusal(|_| ());
    assert_eq!(kind, ErrorKind::Verification);
    assert!(
        text.starts_with("digest mismatch: expected sha256:") && text.contains("(50000 bytes from `http://"),
        "{text}"
    );
    assert!(!other.folder().exists());
}

#[test]
fn faults_that_pass_do_not_show() {
    let faults = [
        Fault::IgnoreRange,
        Fault::Hangup,
        Fault::CloseAfter(100_000),
        Fault::status(503),
        Fault::Chunked,
        Fault::WithoutHeader("content-length"),
        Fault::ExtraBytes(100),
    ];
    for fault in faults {
        let (scene, bundle) = scene();
        scene.server.fault("blobs/", ..3, fault.clone());
        let client = scene.client("one");
        if let Err(error) = client.try_fetch(|_| ()) {
            panic!("{fault:?}: {}", crate::message(&error));
        }
        assert_eq!(client.tree(), bundle.tree(NAME), "{fault:?}");
    }
}

#[test]
fn a_server_without_ranges_sends_each_file_once() {
    let (scene, bundle) = scene();
    scene.server.fault("blobs/", .., Fault::IgnoreRange);
    let client = scene.client("one");
    client.fetch(|_| ());
    assert_eq!(client.tree(), bundle.tree(NAME));
    let size = bundle.variant.files.iter().map(|file| file.size).max().unwrap();
    // The answer to the first range is the whole file, of which nothing is asked for again.
    assert_eq!(scene.server.requests(&weight_file(&bundle)), 1);
    assert!(scene.server.bytes(&weight_file(&bundle)) <= size);
}

#[test]
fn a_server_without_ranges_sends_long_files_once_too() {
    let bundle = Bundle::decoder(768, Ios18, &weights(&[(1, 10_000_000), (2, 10_000_000)]));
    let scene = Scene::with(std::slice::from_ref(&bundle));
    scene.server.fault("blobs/", .., Fault::IgnoreRange);
    scene.client("one").fetch(|_| ());
    assert_eq!(scene.server.requests(&weight_file(&bundle)), 1);
    // A connection that breaks costs what has not come.
    let client = scene.client("two");
    scene.server.reset_counts();
    scene.server.fault(&weight_file(&bundle), ..1, Fault::CloseAfter(18_000_000));
    client.fetch(|_| ());
    assert_eq!(client.tree(), bundle.tree(NAME));
    assert_eq!(scene.server.requests(&weight_file(&bundle)), 2);
}

#[test]
fn a_file_that_changes_midway_is_read_again() {
    let (scene, bundle) = scene();
    let blob = weight_file(&bundle);
    scene.server.fault(&blob, ..1, Fault::CloseAfter(200_000));
    scene.server.fault(&blob, 1..2, Fault::etag("another"));
    let client = scene.client("one");
    client.fetch(|_| ());
    assert_eq!(client.tree(), bundle.tree(NAME));
}

#[test]
fn pages_encodings_and_refusals_are_errors_of_the_remote() {
    let cases = [
        ("index.json", Fault::HtmlPage, "answered with an HTML page"),
        ("blobs/", Fault::HtmlPage, "answered with an HTML page"),
        ("blobs/", Fault::Header("content-encoding", "gzip".to_owned()), "content encoding `gzip`"),
        ("blobs/", Fault::status(403), "answered 403: access is denied"),
        ("blobs/", Fault::status(404), "does not exist"),
        ("index.json", Fault::status(500), "answered 500: the server has a problem"),
    ];
    for (part, fault, expected) in cases {
        let (scene, _) = scene();
        scene.server.fault(part, .., fault.clone());
        let client = scene.client("one");
        let (kind, text) = client.refusal(|_| ());
        assert_eq!(kind, ErrorKind::Remote, "{fault:?}: {text}");
        assert!(text.contains(expected) && text.contains(&scene.server.url()), "{fault:?}: {text}");
        assert!(!client.folder().exists(), "{fault:?}");
    }
}

#[test]
fn a_manifest_that_is_not_what_the_index_says_is_refused() {
    let (scene, _) = scene();
    scene.server.fault("1.0.0.json", .., Fault::Corrupt);
    let client = scene.client("one");
    let (kind, text) = client.refusal(|_| ());
    assert_eq!(kind, ErrorKind::Verification);
    assert!(text.contains("1.0.0.json` has the digest sha256:"), "{text}");
    assert!(!client.folder().exists() && client.store().packages().unwrap().is_empty());
}

#[test]
fn damaged_sources_on_this_machine_are_replaced_by_the_remote() {
    let (scene, _) = scene();
    let client = scene.client("one");
    client.fetch(|_| ());
    let changed = Bundle::decoder(768, Ios18, &weights(&[(1, 400_000), (20, 600_000), (3, 50_000)]));
    scene.release("1.1.0", std::slice::from_ref(&changed));
    // Two tensors of the new weight file lie in the old one, whose bytes nobody has looked at since.
    let old = scene.publisher.store().release(&"tae".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap().unwrap().1;
    let (digest, _) = mlreg::manifest::release::Release::parse(&old)
        .unwrap()
        .blobs
        .into_iter()
        .max_by_key(|(_, blob)| blob.size)
        .unwrap();
    crate::change_secretly(&client.store().blob_path(&digest), |bytes| bytes.fill(7));
    scene.server.reset_counts();
    client.fetch(|options| options.upgrade = true);
    assert_eq!(client.tree(), changed.tree(NAME));
    assert_eq!(scene.server.bytes(&weight_file(&changed)), 1_050_000);
}
