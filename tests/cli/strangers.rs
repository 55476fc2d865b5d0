//! Text of strangers: descriptions, licences, names and messages never command the terminal.

use std::fs;

use mlreg::base::Digest;
use serde_json::json;

use super::{Run, Sandbox, manifest, write_json};

const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}x\r\ny";

/// A registry whose release has control characters wherever a text may stand.
fn registry(sandbox: &Sandbox) {
    let mut release: serde_json::Value = serde_json::from_slice(&manifest("1.0.0")).unwrap();
    for key in ["description", "license"] {
        release[key] = json!(EVIL);
    }
    for variant in release["variants"].as_array_mut().unwrap() {
        variant["axes"]["precision"] = json!(EVIL);
        variant["interface"]["inputs"][0]["name"] = json!(EVIL);
    }
    let bytes = serde_json::to_vec(&release).unwrap();
    let folder = sandbox.path("registry/packages/tae");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("1.0.0.json"), &bytes).unwrap();
    let entry = json!({ "release": Digest::of(&bytes), "size": bytes.len() });
    write_json(
        &folder.join("index.json"),
        &json!({ "package": "tae", "schema": "mlreg/index/1", "versions": { "1.0.0": entry } }),
    );
    let catalogue =
        json!({ "packages": { "tae": { "latest": "1.0.0", "versions": 1 } }, "schema": "mlreg/catalogue/1" });
    write_json(&sandbox.path("registry/mlreg.json"), &catalogue);
}

#[track_caller]
fn is_harmless(run: &Run) {
    let harmful = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || ('\u{2028}'..='\u{202e}').contains(&c);
    assert!(!run.stdout.contains(harmful) && !run.stderr.contains(harmful), "{run:?}");
}

#[test]
fn nothing_in_a_release_reaches_the_terminal_as_it_is() {
    let sandbox = Sandbox::new();
    registry(&sandbox);
    let run = sandbox.run(&["show", "tae", "--from", "registry"]);
    is_harmless(&run);
    assert!(run.stdout.contains("about    \\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}x\\r\\ny\n"), "{run:?}");
    assert!(
        run.stdout.contains("\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}x\\r\\ny float16[1,16,96,96]"),
        "{run:?}"
    );
    for arguments in [&["list", "--from", "registry"][..], &["fetch", "tae", "--from", "registry", "--out", "out"]] {
        is_harmless(&sandbox.run(arguments));
    }
    let document = sandbox.run(&["show", "tae", "--from", "registry", "--json"]).json("mlreg/cli/show/1");
    assert_eq!(document["description"], EVIL);
}

#[test]
fn names_of_files_and_lines_of_manifests_are_shown_escaped() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(&["build", "\u{1b}[2J.toml"]);
    is_harmless(&run);
    assert!(run.code == Some(1) && run.stderr.contains("`\\u{1b}[2J.toml`"), "{run:?}");
    fs::write(
        sandbox.path("a.toml"),
        "[package]\nname = \"a\"\nversion = \"1.0.0\" # \u{202e}\u{7f}\nlicence = \"\u{2066}\"\n",
    )
    .unwrap();
    let run = sandbox.run(&["build", "a.toml"]);
    is_harmless(&run);
    fs::write(sandbox.path("a.toml"), "[package]\nname = \"a\"\nversion = \"1.0.0\"\n\"\\u001b[2J\" = \"\u{2066}\"\n")
        .unwrap();
    let run = sandbox.run(&["build", "a.toml"]);
    is_harmless(&run);
    assert!(run.stderr.starts_with("error: unknown key `\\u{1b}[2J` in `[package]`\n"), "{run:?}");
    assert!(run.stderr.contains("\n 4 | \"\\u001b[2J\" = \"\\u{2066}\"\n   | ^^^^^^^^^^^\n"), "{run:?}");
}
