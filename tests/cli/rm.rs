//! `rm`, and what `gc` asks.

use std::fs;

use super::Sandbox;

#[test]
fn a_built_release_goes_with_a_yes_and_its_bytes_with_gc() {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    let run = sandbox.run(&["rm", "tae@1.0.0"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    let expected = "error: deleting tae@1.0.0, which no remote has, cannot be undone, and there is no terminal to ask \
         on\n\n\
        hint: look with `--dry-run`, then say `--yes`\n";
    assert_eq!(run.stderr, expected);
    let run = sandbox.succeed(&["rm", "tae@1.0.0", "--dry-run"]);
    assert_eq!(run.stdout, "tae@1.0.0\n");
    assert_eq!(run.stderr, "would delete 1 release; `mlreg gc` then would free 2.1 kB\n");
    let document = sandbox.run(&["rm", "tae@1.0.0", "--yes", "--json"]).json("mlreg/cli/rm/1");
    assert_eq!(
        (document["unneeded_bytes"].as_u64(), document["releases"][0]["built"].as_bool()),
        (Some(2062), Some(true))
    );
    assert_eq!(sandbox.succeed(&["list"]).stdout, "");
    let run = sandbox.succeed(&["gc"]);
    assert_eq!(run.stderr, "removed 0 releases, 3 blobs and 0 temporary files: 2.1 kB freed, 0 B kept\n");
}

#[test]
fn what_a_remote_has_needs_no_yes_and_what_is_in_use_stays() {
    let sandbox = Sandbox::new().with_bytes("1.0.0").with_bytes("1.1.0");
    sandbox.succeed(&["publish", "tae@=1.0.0", "--to", "registry"]);
    let run = sandbox.run(&["rm", "tae"]);
    assert_eq!((run.code, run.stderr.lines().next().unwrap()), (Some(1), "error: `tae` has 2 versions: 1.0.0, 1.1.0"));
    sandbox.succeed(&["fetch", "tae@=1.0.0", "--from", "registry", "--out", "Models"]);
    let run = sandbox.run(&["rm", "tae", "--all", "--yes"]);
    assert!(
        run.code == Some(1)
            && run.stderr.contains("`tae@1.0.0` is in use: the folder `[DIR]/Models/tae` holds bundles of it"),
        "{run:?}"
    );
    fs::remove_dir_all(sandbox.path("Models")).unwrap();
    sandbox.succeed(&["pin", "--package", "tae"]);
    let run = sandbox.run(&["rm", "tae@1.1.0", "--yes"]);
    assert!(run.code == Some(1) && run.stderr.contains("`tae@1.1.0` is in use: `user` has pinned `tae`"), "{run:?}");
    sandbox.succeed(&["unpin", "--package", "tae"]);
    sandbox.succeed(&["rm", "tae@1.0.0"]);
    let run = sandbox.run(&["rm", "tae", "tae@7.0.0", "--yes"]);
    assert!(run.code == Some(1) && run.stderr.contains("the store has no `tae@7.0.0`: there is 1.1.0"), "{run:?}");
    assert!(sandbox.succeed(&["list"]).stdout.starts_with("tae\t1.1.0\t"), "all or none");
    assert_eq!(sandbox.run(&["rm", "tae@1"]).code, Some(2));
    let run = sandbox.run(&["rm", "tea", "--yes"]);
    assert!(run.stderr.ends_with("hint: did you mean `tae`?\n"), "{run:?}");
}

#[test]
fn a_budget_has_a_unit() {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    let run = sandbox.run(&["gc", "--budget", "5"]);
    assert!(
        run.code == Some(2) && run.stderr.contains("expected a size with its unit, such as 5GB, 5MB or 5B"),
        "{run:?}"
    );
    sandbox.succeed(&["gc", "--budget", "5B"]);
}

#[test]
fn what_no_remote_is_known_to_have_needs_a_yes() {
    let publisher = Sandbox::new().with_bytes("1.0.0");
    publisher.succeed(&["publish", "tae", "--to", "registry"]);
    let app = Sandbox::new();
    app.succeed(&["fetch", "tae", "--from", &publisher.path("registry").display().to_string(), "--out", "Models"]);
    fs::remove_dir_all(app.path("Models")).unwrap();
    let dry = app.run(&["gc", "--dry-run", "--json"]).json("mlreg/cli/gc/1");
    assert_eq!(dry["releases"][0]["from"].as_array().unwrap().len(), 1);
    let run = app.succeed(&["gc"]);
    assert_eq!(run.stdout, "tae@1.0.0\n");
}
