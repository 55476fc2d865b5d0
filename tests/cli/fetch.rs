//! `fetch`.

use std::fs;

use super::{
    Run, Sandbox,
    http_server::{Fault, HttpServer},
};

/// A registry with `tae@1.0.0`, and a machine that knows nothing of it.
fn published() -> (Sandbox, Sandbox) {
    let publisher = Sandbox::new().with_bytes("1.0.0");
    publisher.succeed(&["publish", "tae", "--to", "registry"]);
    (publisher, Sandbox::new())
}

fn fetch(sandbox: &Sandbox, from: &str, more: &[&str]) -> Run {
    sandbox.run(&[&["fetch", "tae", "--out", "Models", "--from", from], more].concat())
}

#[test]
fn from_nothing_to_up_to_date() {
    let (publisher, app) = published();
    let server = HttpServer::start(&publisher.path("registry"));
    let run = fetch(&app, &server.url(), &["--target", "iOS17", "--dry-run"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(
        run.stdout,
        "tae\t1.0.0\tdecoder-768-float16-ios15\tdecoder-768-float16.mlpackage\t2.0 kB\t2.0 \
         kB\n\ntae\tdelivery\tinitial\t1\t2.0 kB\t2.0 kB\n"
    );
    let said = "would fetch tae@1.0.0: 1 variant in `[DIR]/Models/tae`, 2.0 kB wanted: 2.0 kB to download in 2 \
         requests, 0 B reused, 0 B here\n";
    assert_eq!(run.stderr, said);
    assert!(!app.path("Models").exists() && !app.home().exists(), "a dry run leaves nothing");
    let run = fetch(&app, &server.url(), &["--target", "iOS17"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""), "{run:?}");
    assert_eq!(run.stderr, "fetched tae@1.0.0: 1 variant in `[DIR]/Models/tae`, 2.0 kB downloaded, 0 B reused\n");
    drop(server);
    let run = fetch(&app, "http://127.0.0.1:9/", &["--target", "iOS17", "--offline"]);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (Some(0), "tae@1.0.0 is up to date: 1 variant in `[DIR]/Models/tae`\n")
    );
}

#[test]
fn documents_have_the_plan_and_what_became_of_it() {
    let (publisher, app) = published();
    let registry = publisher.path("registry").display().to_string();
    let document = fetch(&app, &registry, &["--json", "--dry-run"]).json("mlreg/cli/fetch/1");
    let package = &document["packages"][0];
    assert_eq!(
        (package["status"].as_str(), package["plan"]["wanted"].as_u64(), package["plan"]["blobs"].as_u64()),
        (Some("dry-run"), Some(2062), Some(3))
    );
    let document = fetch(&app, &registry, &["--json"]).json("mlreg/cli/fetch/1");
    let package = &document["packages"][0];
    assert_eq!((package["status"].as_str(), package["downloaded_bytes"].as_u64()), (Some("fetched"), Some(2062)));
    assert_eq!(package["changes"]["placed"].as_array().unwrap().len(), 2);
    assert_eq!(package["variants"][1]["id"], "decoder-768-float16-ios18");
    assert_eq!(package["folder"], "[DIR]/Models/tae");
    let again = fetch(&app, &registry, &["--json"]).json("mlreg/cli/fetch/1");
    assert_eq!(again["packages"][0]["status"], "up-to-date");
}

#[test]
fn the_floor_comes_from_the_build_and_a_second_one_is_an_error() {
    let (publisher, app) = published();
    let registry = publisher.path("registry").display().to_string();
    let app = app.with("PLATFORM_NAME", "iphoneos").with("IPHONEOS_DEPLOYMENT_TARGET", "18.0");
    let document = fetch(&app, &registry, &["--json"]).json("mlreg/cli/fetch/1");
    assert_eq!(document["packages"][0]["variants"][0]["id"], "decoder-768-float16-ios18");
    let run = fetch(&app, &registry, &["--target", "iOS15"]);
    let expected = "error: `[DIR]/Models/tae` was placed for `iOS18`, and is now asked for `iOS15`: a destination has \
         one deployment target\n\n\
        hint: ask for `--target iOS18`, choose another `out`, or remove the folder\n";
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), expected));
}

#[test]
fn failures_have_their_codes() {
    let (publisher, app) = published();
    let server = HttpServer::start(&publisher.path("registry"));
    let code = |arguments: &[&str]| fetch(&app, &server.url(), arguments).code;
    assert_eq!(app.run(&["fetch", "tae"]).code, Some(2), "from where?");
    assert_eq!(code(&["--target", "Windows11"]), Some(2));
    assert_eq!(code(&["--offline", "--upgrade"]), Some(2));
    let run = fetch(&app, &server.url(), &["--variant", "encoder-*"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.stderr.contains("`encoder-*` matches no variant of the release: there are `decoder-768-float16-ios15`, "),
        "{run:?}"
    );
    server.fault("blobs/", .., Fault::Corrupt);
    let run = fetch(&app, &server.url(), &[]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.starts_with("error: digest mismatch: expected sha256:"), "{run:?}");
    assert!(run.stderr.contains("\n\nhint: the wrong bytes were discarded; `mlreg verify http://"), "{run:?}");
    server.clear_faults();
    server.fault("blobs/", .., Fault::HtmlPage);
    assert_eq!(code(&[]), Some(4));
    assert!(!app.path("Models").exists());
}

#[test]
fn what_is_in_the_way_is_named() {
    let (publisher, app) = published();
    fs::create_dir_all(app.path("Models/tae/decoder-768-float16-ios15.mlpackage")).unwrap();
    let run = fetch(&app, &publisher.path("registry").display().to_string(), &[]);
    let path = "[DIR]/Models/tae/decoder-768-float16-ios15.mlpackage";
    let expected = format!(
        "error: `{path}` is in the way: it was not placed by mlreg and is not what would be placed there\n\n\
         hint: move `{path}` away, or choose another `--out`\n"
    );
    assert_eq!((run.code, run.stderr), (Some(1), expected));
}
