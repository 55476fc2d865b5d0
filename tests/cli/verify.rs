//! `verify`.

use std::fs;

use super::Sandbox;

fn fetched() -> Sandbox {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    sandbox.succeed(&["publish", "tae", "--to", "registry"]);
    sandbox.succeed(&["fetch", "tae", "--from", "registry", "--out", "Models", "--layout", "copied"]);
    sandbox
}

#[test]
fn what_is_sound_is_one_quiet_line() {
    let sandbox = fetched();
    let registry = format!("file://{}", sandbox.path("registry").display());
    for (subject, said) in [
        (None, "verified `[DIR]/home`: 3 files, 2.1 kB\n"),
        (Some("tae@1.0.0"), "verified `tae@1.0.0`: 3 files, 2.1 kB\n"),
        (Some("Models"), "verified `[DIR]/Models`: 4 files, 4.1 kB\n"),
        (Some("Models/tae"), "verified `[DIR]/Models/tae`: 4 files, 4.1 kB\n"),
        (Some("registry"), "verified `[DIR]/registry`: 3 files, 2.1 kB\n"),
        (Some(&registry), "verified `[DIR]/registry`: 3 files, 2.1 kB\n"),
    ] {
        let run = sandbox.succeed(&[&["verify"][..], subject.as_slice()].concat());
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", said), "{subject:?}");
    }
}

#[test]
fn damage_is_a_line_each_and_ends_with_3() {
    let sandbox = fetched();
    let bundle = "Models/tae/decoder-768-float16-ios15.mlpackage";
    fs::write(sandbox.path(&format!("{bundle}/model.mlmodel")), b"?").unwrap();
    fs::remove_file(sandbox.path(&format!("{bundle}/weights/weight.bin"))).unwrap();
    let run = sandbox.run(&["verify", "Models"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let rows: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0], [&format!("[DIR]/{bundle}/model.mlmodel"), "wrong-size", "31 bytes", "1 bytes"]);
    assert_eq!(rows[1][..2], [&format!("[DIR]/{bundle}/weights/weight.bin"), "missing"]);
    assert_eq!(run.stderr, "error: `[DIR]/Models` has 2 problems in 3 files, 2.0 kB\n");
    let document = sandbox.run(&["verify", "Models", "--json"]).json("mlreg/cli/verify/1");
    assert_eq!(document["findings"].as_array().unwrap().len(), 2);
    assert_eq!(document["findings"][0]["problem"], "wrong-size");
    sandbox.succeed(&["fetch", "tae", "--from", "registry", "--out", "Models", "--layout", "copied"]);
    sandbox.succeed(&["verify", "Models"]);
}

#[test]
fn a_damaged_store_and_a_damaged_registry_end_with_3() {
    let sandbox = fetched();
    sandbox.damage_weights();
    for subject in [&["verify"][..], &["verify", "tae"]] {
        let run = sandbox.run(subject);
        assert!(run.code == Some(3) && run.stdout.contains("\twrong-content\tsha256:"), "{run:?}");
    }
    fs::write(sandbox.path("registry/packages/tae/1.0.0.json"), b"{}").unwrap();
    let run = sandbox.run(&["verify", "registry"]);
    assert!(run.code == Some(3) && run.stdout.starts_with("tae@1.0.0\twrong-content\tsha256:"), "{run:?}");
}

#[test]
fn what_is_no_subject_is_a_mistake() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("empty")).unwrap();
    let run = sandbox.run(&["verify", "empty"]);
    assert_eq!(run.code, Some(1));
    let expected = "error: `[DIR]/empty` is neither a folder that mlreg placed nor a registry: it has no `.mlreg.json` \
         and no `mlreg.json`\n\n\
        hint: `mlreg fetch --out DIR` places bundles in `DIR/<package>`\n";
    assert_eq!(run.stderr, expected);
    assert_eq!(sandbox.run(&["verify", "tae"]).code, Some(1));
    assert_eq!(sandbox.run(&["verify", "ftp://host/"]).code, Some(2));
}
