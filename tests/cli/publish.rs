//! `publish`.

use super::{
    Sandbox,
    http_server::{Fault, HttpServer},
};

const TO: [&str; 4] = ["publish", "tae", "--to", "registry"];

#[test]
fn what_was_sent_is_said_and_the_same_again_is_fine() {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    let dry = sandbox.succeed(&[&TO[..], &["--dry-run"]].concat());
    assert_eq!(dry.stderr, "would publish tae@1.0.0 to `[DIR]/registry`: 3 of 3 blobs, 2.1 kB to upload\n");
    assert!(!sandbox.path("registry").exists());
    let run = sandbox.succeed(&TO);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("", "published tae@1.0.0 to `[DIR]/registry`: 3 of 3 blobs, 2.1 kB uploaded\n")
    );
    assert_eq!(sandbox.succeed(&TO).stderr, "`[DIR]/registry` has tae@1.0.0 already\n");
    let sandbox = sandbox.with_bytes("1.1.0");
    let document = sandbox.succeed(&[&TO[..], &["--json"]].concat()).json("mlreg/cli/publish/1");
    assert_eq!((document["version"].as_str(), document["status"].as_str()), (Some("1.1.0"), Some("new")));
    assert_eq!(
        (document["blobs"].as_u64(), document["uploaded_blobs"].as_u64()),
        (Some(3), Some(2)),
        "the weights are there"
    );
    assert_eq!(document["url"], "[DIR]/registry");
}

#[test]
fn published_versions_never_change() {
    let sandbox = Sandbox::new().with_bytes("1.0.0").with_registry("registry", "1.0.0");
    let run = sandbox.run(&TO);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.starts_with("error: `tae@1.0.0` exists with other content: sha256:"), "{run:?}");
    assert!(run.stderr.ends_with("\n\nhint: versions never change: raise the version of the package\n"), "{run:?}");
}

#[test]
fn mistakes_and_damage_have_their_codes() {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    let run = sandbox.run(&["publish", "other", "--to", "registry"]);
    assert_eq!(
        (run.code, run.stderr.lines().next()),
        (Some(1), Some("error: the store has no release of `other` that matches `*`"))
    );
    assert_eq!(sandbox.run(&["publish", "tae"]).code, Some(2), "nowhere to publish to");
    let server = HttpServer::start(&sandbox.path("served"));
    let run = sandbox.run(&["publish", "tae", "--to", &server.url()]);
    assert_eq!((run.code, run.stderr.contains("can only be read")), (Some(1), true), "{run:?}");
    server.fault("index.json", .., Fault::status(403));
    assert_eq!(sandbox.run(&["publish", "tae", "--to", &server.url()]).code, Some(4));
    std::fs::write(sandbox.path("notes.txt"), b"mine").unwrap();
    let run = sandbox.run(&["publish", "tae", "--to", "."]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("is not a registry and not empty"), "{run:?}");
    sandbox.damage_weights();
    let run = sandbox.run(&TO);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.starts_with("error: `tae@1.0.0` has a damaged blob in the store: sha256:"), "{run:?}");
    assert!(
        !sandbox.path("registry/mlreg.json").exists() && !sandbox.path("registry/packages").exists(),
        "nothing is visible"
    );
}
