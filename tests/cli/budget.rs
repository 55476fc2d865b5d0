//! `pin`, `unpin` and `gc --budget`.

use std::fs;

use super::Sandbox;

/// A machine that has fetched two variants of `tae`, one after the other, and has no folder of them any more.
fn fetched() -> (Sandbox, Sandbox) {
    let publisher = Sandbox::new().with_tags("1.0.0");
    publisher.succeed(&["publish", "tae", "--to", "registry"]);
    let app = Sandbox::new();
    let from = publisher.path("registry").display().to_string();
    for tag in ["small", "large"] {
        app.succeed(&["fetch", "tae", "--from", &from, "--tag", tag, "--out", tag]);
    }
    (publisher, app)
}

fn drop_folders(app: &Sandbox) {
    ["small", "large"].iter().for_each(|name| drop(fs::remove_dir_all(app.path(name))));
}

/// How many bytes `gc` keeps, and what it evicts.
fn collect(app: &Sandbox, budget: &str) -> (u64, Vec<String>) {
    let report = app.run(&["gc", "--budget", budget, "--json"]).json("mlreg/cli/gc/1");
    let evicted =
        report["evicted"].as_array().unwrap().iter().map(|it| it["variant"].as_str().unwrap().to_owned()).collect();
    (report["kept_bytes"].as_u64().unwrap(), evicted)
}

#[test]
fn a_budget_spares_what_is_placed_and_pinned() {
    let (_publisher, app) = fetched();
    assert_eq!(collect(&app, "0"), (7000, vec![]), "both are placed");
    fs::remove_dir_all(app.path("large")).unwrap();
    assert_eq!(collect(&app, "1GB"), (7000, vec![]), "a cache as long as it fits");
    assert_eq!(app.succeed(&["pin", "large"]).stderr, "`large` is pinned once by `user`: 1 variant, 5.0 kB\n");
    assert_eq!(
        app.succeed(&["pin", "large", "--holder", "ci"]).stderr,
        "`large` is pinned once by `ci`: 1 variant, 5.0 kB\n"
    );
    let run = app.succeed(&["gc", "--budget", "3kB"]);
    assert!(run.stderr.contains("warning: the store is 4.0 kB over the budget"), "{run:?}");
    app.succeed(&["unpin", "large"]);
    assert_eq!(collect(&app, "3kB").1, [""; 0], "somebody else holds it");
    assert_eq!(app.succeed(&["pin"]).stdout, "ci\tlarge\t1\t1\t5.0 kB\n");
    assert_eq!(app.succeed(&["unpin", "large", "--holder", "ci"]).stderr, "unpinned `large` (holder `ci`)\n");
    assert_eq!(collect(&app, "3kB"), (2000, vec!["decoder-large-ios18".to_owned()]));
    app.succeed(&["verify", "small"]);
}

#[test]
fn the_lowest_priority_and_then_the_least_recently_used_goes_first() {
    let (_publisher, app) = fetched();
    drop_folders(&app);
    assert_eq!(collect(&app, "6999B").1, ["decoder-small-ios18"], "it was placed first");
    let (_publisher, app) = fetched();
    drop_folders(&app);
    app.succeed(&["pin", "small"]);
    app.succeed(&["unpin", "small"]);
    assert_eq!(collect(&app, "6999B").1, ["decoder-large-ios18"], "the other one was used last");
    let (_publisher, app) = fetched();
    drop_folders(&app);
    app.succeed(&["pin", "large", "--priority", "0.1"]);
    app.succeed(&["unpin", "large"]);
    assert_eq!(collect(&app, "6999B").1, ["decoder-large-ios18"]);
    assert_eq!(collect(&app, "0"), (0, vec!["decoder-small-ios18".to_owned()]));
    let run = app.run(&["pin", "small"]);
    assert_eq!(run.code, Some(1), "nothing is left of it: {run:?}");
}

#[test]
fn what_cannot_be_pinned_says_why() {
    let (_publisher, app) = fetched();
    let run = app.run(&["pin", "lage"]);
    assert!(
        run.code == Some(1) && run.stderr.contains("no release of the store has `lage`\n\nhint: did you mean `large`?"),
        "{run:?}"
    );
    let run = app.run(&["unpin", "large"]);
    assert!(run.code == Some(1) && run.stderr.starts_with("error: `large` is not pinned by `user`"), "{run:?}");
    assert_eq!(app.run(&["unpin"]).code, Some(2));
    assert_eq!(app.run(&["pin", "large", "--priority", "2"]).code, Some(2));
    assert_eq!(app.run(&["gc", "--budget", "much"]).code, Some(2));
}

#[test]
fn a_publication_that_breaks_apps_says_so_in_its_version() {
    let publisher = Sandbox::new().with_tags("1.0.0").with_bytes("1.1.0").with_bytes("2.0.0").with_tags("2.0.1");
    publisher.succeed(&["publish", "tae@1.0.0", "--to", "registry"]);
    let run = publisher.run(&["publish", "tae@1.1.0", "--to", "registry"]);
    let expected = "error: `tae@1.1.0` breaks apps that use 1.0.0:\n  - the variant `decoder-large-ios18` is gone\n  \
        - the variant `decoder-small-ios18` is gone\n  - the tag `large` is gone\n  - the tag `small` is gone\n\n\
        hint: raise the version to 2.0.0, or publish it nevertheless with `--allow-breaking`\n";
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), expected));
    assert_eq!(publisher.run(&["publish", "tae@1.1.0", "--to", "registry", "--dry-run"]).code, Some(1));
    publisher.succeed(&["publish", "tae@2.0.0", "--to", "registry"]);
    let document = publisher
        .run(&["publish", "tae@1.1.0", "--to", "registry", "--allow-breaking", "--json"])
        .json("mlreg/cli/publish/1");
    assert_eq!(document["breaking"].as_array().unwrap().len(), 4);
    assert_eq!(publisher.run(&["publish", "tae@2.0.1", "--to", "registry"]).code, Some(1));
}
