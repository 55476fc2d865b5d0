//! Placed folders run and are inspected as packages are, and names are told from paths.

use std::{fs, path::Path};

use super::{Run, Sandbox};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

/// A sandbox with the package `mini`: a sentence encoder in two lengths, and its tokenizer.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let manifest = format!(
        "[package]\nname = \"mini\"\nversion = \"1.0.0\"\n[[component]]\nname = \"encoder\"\ncheckpoint = \
         '{}'\nsequence = [8, 32]\n\
         precision = \"float32\"\ntarget = \"iOS17\"\n[[component]]\nname = \"tokenizer\"\nfiles = ['{}']\n",
        fixture("bert/minilm"),
        fixture("bert/minilm/tokenizer.json"),
    );
    fs::write(sandbox.path("mini.toml"), manifest).unwrap();
    sandbox.succeed(&["build", "mini.toml"]);
    sandbox.succeed(&["publish", "mini", "--to", "registry"]);
    sandbox
}

#[track_caller]
fn fails(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let run = sandbox.run(arguments);
    assert_eq!(run.code, Some(1), "{run:?}");
    run
}

const TEXTS: [&str; 4] = ["--text", "hello world", "--text", "the weather is nice"];

#[test]
fn placed_folders_run_as_their_package_does() {
    let sandbox = sandbox();
    let run = |subject: &str| sandbox.succeed(&[&["run", subject], &TEXTS[..]].concat()).stdout;
    let expected = run("mini");
    for layout in ["linked", "shared", "copied"] {
        sandbox.succeed(&["fetch", "mini", "--from", "registry", "--out", layout, "--layout", layout]);
        assert_eq!(run(&format!("{layout}/mini")), expected, "{layout}");
        let report = sandbox
            .succeed(&["inspect", &format!("{layout}/mini"), "--variant", "*s8*", "--json"])
            .json("mlreg/cli/inspect/1");
        assert_eq!(report["interface"]["inputs"][0]["shape"], serde_json::json!([1, 8]), "{layout}");
        let several = sandbox.succeed(&["inspect", &format!("{layout}/mini")]);
        assert_eq!(several.stdout.lines().filter(|line| line.contains(".mlpackage")).count(), 2, "{several:?}");
        let hint = format!("`{layout}/mini` has 2 bundles: inspect one with --variant '");
        let named = several
            .stderr
            .split_once(&hint)
            .and_then(|(_, rest)| rest.split_once('\''))
            .unwrap_or_else(|| panic!("{several:?}"))
            .0;
        sandbox.succeed(&["inspect", &format!("{layout}/mini"), "--variant", named]);
    }
    // A bundle alone finds the tokenizer beside it, and weights that lie there.
    for layout in ["linked", "shared"] {
        let names = fs::read_dir(sandbox.path(layout).join("mini"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let name = names.into_iter().find(|name| name.contains("s32") && name.ends_with(".mlpackage")).unwrap();
        let bundle = format!("{layout}/mini/{name}");
        assert_eq!(run(&bundle), expected, "{bundle}");
        let report = sandbox.succeed(&["inspect", &bundle, "--json"]).json("mlreg/cli/inspect/1");
        assert!(
            report["problems"].as_array().unwrap().is_empty() && !report["weights"].as_array().unwrap().is_empty(),
            "{report}"
        );
    }
}

#[test]
fn a_placed_folder_needs_no_store() {
    let sandbox = sandbox();
    let run = |subject: &str| sandbox.succeed(&[&["run", subject], &TEXTS[..]].concat()).stdout;
    let expected = run("mini");
    sandbox.succeed(&["fetch", "mini", "--from", "registry", "--out", "Models", "--layout", "shared"]);
    fs::remove_dir_all(sandbox.home()).unwrap();
    assert_eq!(run("Models/mini"), expected);
    assert_eq!(run("./Models/mini"), expected);
    fs::rename(sandbox.path("Models/mini"), sandbox.path("mini")).unwrap();
    // No package has that name any more.
    assert_eq!(run("mini"), expected);
    let proof = sandbox.path("mini/.mlreg.json");
    let text = fs::read_to_string(&proof).unwrap().replace("1.0.0", "1.0.1");
    fs::remove_file(&proof).unwrap();
    fs::write(&proof, text).unwrap();
    let damaged = fails(&sandbox, &[&["run", "mini"], &TEXTS[..]].concat());
    assert!(damaged.stderr.contains("/mini/.mlreg.json` is not as mlreg wrote it"), "{damaged:?}");
}

#[test]
fn a_folder_does_not_hide_a_package() {
    let sandbox = sandbox();
    let plain = sandbox.succeed(&[&["run", "mini"], &TEXTS[..]].concat());
    fs::create_dir(sandbox.path("mini")).unwrap();
    let both = sandbox.succeed(&[&["run", "mini"], &TEXTS[..]].concat());
    assert_eq!(both.stdout, plain.stdout);
    assert!(
        both.stderr.starts_with("note: `mini` is the package of the store; the folder of that name is `./mini`\n"),
        "{both:?}"
    );
    assert!(
        fails(&sandbox, &["run", "minu"])
            .stderr
            .ends_with("error: the store has no package `minu`\n\nhint: did you mean `mini`?\n")
    );
    fs::create_dir(sandbox.path("other")).unwrap();
    assert!(fails(&sandbox, &["run", "other"]).stderr.ends_with("hint: the folder is meant by its path, `./other`\n"));
    assert!(fails(&sandbox, &["eval", "minu", "--against", "mini"]).stderr.contains("did you mean `mini`?"));
    assert!(fails(&sandbox, &["inspect", "minu"]).stderr.contains("did you mean `mini`?"));
    let compiled = fails(&sandbox, &["run", "x.mlmodelc"]);
    assert!(
        compiled.stderr.starts_with("error: `x.mlmodelc` is compiled, and only .mlpackage bundles can be run\n"),
        "{compiled:?}"
    );
    let report = sandbox
        .succeed(&["inspect", "mini", "--variant", "encoder-s32-float32-ios17", "--json"])
        .json("mlreg/cli/inspect/1");
    assert_eq!(report["path"], "encoder-s32-float32-ios17");
    assert!(!report["weights"].as_array().unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn a_proof_is_a_file_of_a_sensible_length() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("Mini")).unwrap();
    let proof = sandbox.path("Mini/.mlreg.json");
    std::os::unix::fs::symlink("/etc/hostname", &proof).unwrap();
    assert!(fails(&sandbox, &["run", "./Mini", "--text", "x"]).stderr.contains(".mlreg.json"));
    fs::remove_file(&proof).unwrap();
    fs::File::create(&proof).unwrap().set_len(3 << 30).unwrap();
    assert!(fails(&sandbox, &["run", "./Mini", "--text", "x"]).stderr.contains("67108864"));
}
