//! An app with `mlreg.toml` and `mlreg.lock`: `add`, `fetch`, `update`, `remove`.

use std::{fs, process::Stdio};

use serde_json::Value;

use super::{
    Sandbox,
    http_server::{Fault, HttpServer},
};

/// A registry with versions of `tae`, and an app that knows nothing of it.
fn published(versions: &[&str]) -> (Sandbox, Sandbox) {
    let mut publisher = Sandbox::new();
    for version in versions {
        publisher = publisher.with_bytes(version);
        publisher.succeed(&["publish", &format!("tae@{version}"), "--to", "registry"]);
    }
    (publisher, Sandbox::new())
}

fn registry(publisher: &Sandbox) -> String {
    publisher.path("registry").display().to_string()
}

/// An app that has added `tae` from the registry of its publisher.
fn app(versions: &[&str], more: &[&str]) -> (Sandbox, Sandbox) {
    let (publisher, app) = published(versions);
    app.succeed(
        &[&["add", "tae", "--from", &registry(&publisher), "--target", "iOS17", "--out", "Models"], more].concat(),
    );
    (publisher, app)
}

fn read(app: &Sandbox, name: &str) -> String {
    app.filtered(&fs::read_to_string(app.path(name)).unwrap())
}

fn write(app: &Sandbox, name: &str, from: &str, to: &str) {
    let text = fs::read_to_string(app.path(name)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(app.path(name), text.replace(from, to)).unwrap();
}

const BUNDLE: &str = "Models/tae/decoder-768-float16.mlpackage";

#[test]
fn add_writes_both_files_and_fetch_follows_them() {
    let (publisher, app) = published(&["1.0.0", "1.1.0"]);
    let server = HttpServer::start(&publisher.path("registry"));
    let run = app.succeed(&["add", "tae@1", "--from", &server.url(), "--target", "iOS17", "--out", "Models"]);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "added tae@1.1.0 in `[DIR]/mlreg.toml`\n"));
    let expected = format!(
        "[packages]\ntae = {{ version = \"1\", from = \"{}\", target = \"iOS17\", out = \"Models\" }}\n",
        server.url()
    );
    assert_eq!(read(&app, "mlreg.toml"), expected);
    let lock = read(&app, "mlreg.lock");
    assert!(lock.contains("[package.tae]\nversion = \"1.1.0\"\nrelease = \"sha256:"), "{lock}");
    assert!(
        lock.contains(
            "iOS15 = [\n    \"decoder-768-float16-ios15\",\n]\niOS18 = [\n    \"decoder-768-float16-ios18\",\n]\n"
        ),
        "{lock}"
    );
    let run = app.succeed(&["fetch"]);
    assert_eq!(run.stderr, "fetched tae@1.1.0: 1 variant in `[DIR]/Models/tae`, 2.0 kB downloaded, 0 B reused\n");
    assert!(app.path(BUNDLE).join("weights/weight.bin").is_file());
    // From here on nobody is asked.
    drop(server);
    for flags in [&["fetch"][..], &["fetch", "--locked", "--offline"], &["fetch", "--verify"], &["fetch", "tae"]] {
        assert_eq!(
            app.succeed(flags).stderr,
            "tae@1.1.0 is up to date: 1 variant in `[DIR]/Models/tae`\n",
            "{flags:?}"
        );
    }
    fs::remove_dir_all(app.path("Models")).unwrap();
    let run = app.succeed(&["fetch", "--locked"]);
    assert!(run.stderr.starts_with("fetched tae@1.1.0: 1 variant in "), "{run:?}");
    assert_eq!(read(&app, "mlreg.lock"), lock);
}

#[test]
fn the_manifest_is_found_upwards_and_sources_start_at_it() {
    let (publisher, app) = published(&["1.0.0"]);
    fs::rename(publisher.path("registry"), app.path("registry")).unwrap();
    fs::create_dir_all(app.path("ios/App")).unwrap();
    fs::write(app.path("mlreg.toml"), "# ours\n[defaults]\nout = \"Models\" # here\n").unwrap();
    let at = |folder: &str, arguments: &[&str]| {
        let output = app.command(arguments).current_dir(app.path(folder)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    at("ios/App", &["add", "tae", "--from", "../../registry"]);
    let expected = "# ours\n[defaults]\nout = \"Models\" # here\n\n[packages]\ntae = \
         { version = \"1.0.0\", from = \"registry\" }\n";
    assert_eq!(read(&app, "mlreg.toml"), expected);
    at("ios/App", &["fetch", "--target", "macOS15"]);
    assert!(app.path(BUNDLE).is_dir());
    assert!(read(&app, "mlreg.lock").contains("source = \"registry\""));
    assert_eq!(app.run(&["add", "tae", "--tag", "none"]).code, Some(1));
    assert_eq!(read(&app, "mlreg.toml"), expected, "a selection that comes to nothing writes nothing");
}

#[test]
fn update_moves_within_the_requirement() {
    let (publisher, app) = app(&["1.0.0"], &[]);
    app.succeed(&["fetch"]);
    let publisher = ["1.2.0", "2.0.0"].into_iter().fold(publisher, |publisher, version| {
        let publisher = publisher.with_bytes(version);
        publisher.succeed(&["publish", &format!("tae@{version}"), "--to", "registry"]);
        publisher
    });
    let lock = read(&app, "mlreg.lock");
    assert!(app.succeed(&["fetch"]).stderr.starts_with("tae@1.0.0 is up to date"));
    let run = app.succeed(&["update", "--dry-run"]);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("tae\t1.0.0\t1.2.0\n", "would update 1 package in `mlreg.lock`\n")
    );
    assert_eq!(read(&app, "mlreg.lock"), lock);
    assert_eq!(app.succeed(&["update", "tae"]).stdout, "tae\t1.0.0\t1.2.0\n");
    assert_eq!(app.succeed(&["update"]).stderr, "`mlreg.lock` has the highest versions that `mlreg.toml` allows\n");
    assert!(app.succeed(&["fetch", "--locked"]).stderr.starts_with("fetched tae@1.2.0"));
    write(&app, "mlreg.toml", "\"1.0.0\"", "\"2\"");
    assert!(
        app.succeed(&["fetch"]).stderr.contains("fetched tae@2.0.0") && read(&app, "mlreg.lock").contains("\"2.0.0\"")
    );
    let run = app.run(&["update", "tea"]);
    assert!(
        run.code == Some(1)
            && run.stderr.contains("has no package `tea`")
            && run.stderr.contains("did you mean `tae`?"),
        "{run:?}"
    );
    drop(publisher);
}

#[test]
fn a_frozen_lock_that_does_not_fit_says_how() {
    let (_publisher, app) = app(&["1.0.0"], &[]);
    let lock = read(&app, "mlreg.lock");
    let refusal = |arguments: &[&str]| {
        let run = app.run(arguments);
        assert_eq!((run.code, read(&app, "mlreg.lock") == lock), (Some(1), true), "{run:?}");
        run.stderr
    };
    write(&app, "mlreg.toml", "out = \"Models\"", "out = \"Models\", variant = \"*-ios18\"");
    let said = refusal(&["fetch"]);
    assert!(said.contains("a variant has no bundle for iOS17: `decoder-768-float16` is there for iOS18"), "{said}");
    assert!(said.contains("--> [DIR]/mlreg.toml:2:1\n") && said.contains("hint: the floor iOS18 fits"), "{said}");
    write(
        &app,
        "mlreg.toml",
        "target = \"iOS17\", out = \"Models\", variant = \"*-ios18\"",
        "target = \"iOS18\", out = \"Models\", variant = \"*-ios18\"",
    );
    assert!(
        refusal(&["fetch", "--locked"])
            .starts_with("error: `[DIR]/mlreg.lock` is out of date: `mlreg.toml` selects other variants of `tae`\n")
    );
    write(&app, "mlreg.toml", "\"1.0.0\"", "\"2\"");
    let said = refusal(&["fetch", "--locked"]);
    assert!(said.contains("is out of date: it has `tae@1.0.0`, but `mlreg.toml` asks for `^2`"), "{said}");
    assert!(said.contains("hint: run `mlreg fetch` without `--locked` and commit `mlreg.lock`"), "{said}");
    fs::write(app.path("mlreg.toml"), "").unwrap();
    assert!(refusal(&["fetch", "--locked"]).contains("it has `tae`, which `mlreg.toml` lacks"));
    assert!(app.succeed(&["fetch"]).stderr.contains("names no packages"));
    assert!(!read(&app, "mlreg.lock").contains("tae"));
}

#[test]
fn a_build_phase_never_writes_the_lock() {
    let (_publisher, app) = app(&["1.0.0"], &[]);
    fs::remove_file(app.path("mlreg.lock")).unwrap();
    let app = app
        .with("ACTION", "build")
        .with("SRCROOT", "/x")
        .with("PLATFORM_NAME", "iphoneos")
        .with("IPHONEOS_DEPLOYMENT_TARGET", "16.4");
    let run = app.run(&["fetch"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.starts_with("error: `[DIR]/mlreg.lock` is out of date: it does not exist\n"), "{run:?}");
    assert!(!app.path("mlreg.lock").exists());
}

#[test]
fn builds_that_cannot_load_what_is_placed_are_warned() {
    let (_publisher, app) = app(&["1.0.0"], &["--variant", "*"]);
    let app = app.with("PLATFORM_NAME", "iphoneos").with("IPHONEOS_DEPLOYMENT_TARGET", "16.4");
    let run = app.succeed(&["fetch"]);
    assert!(
        run.stderr.starts_with(
            "warning: `tae` is placed for iOS17, but this build is for iOS16.4, which cannot load all of it\n"
        ),
        "{run:?}"
    );
}

#[test]
fn mistakes_have_their_place_in_the_manifest() {
    let (_publisher, app) = app(&["1.0.0"], &[]);
    write(&app, "mlreg.toml", "version = \"1.0.0\"", "version = \"7\"");
    let run = app.run(&["fetch"]);
    assert!(run.stderr.contains("matches `^7`: there is 1.0.0\n  --> [DIR]/mlreg.toml:2:1\n"), "{run:?}");
    let app = app.with("XCODE_VERSION_ACTUAL", "1700");
    write(&app, "mlreg.toml", "version = \"7\"", "version = \"1\", tag = \"largest\"");
    let run = app.run(&["fetch"]);
    assert!(run.stderr.starts_with("[DIR]/mlreg.toml:2:1: error: cannot choose variants of `tae@1.0.0`\n"), "{run:?}");
    write(&app, "mlreg.toml", "tag = ", "tga = ");
    let run = app.run(&["fetch"]);
    assert!(run.stderr.starts_with("[DIR]/mlreg.toml:2:24: error: unknown key `tga` in package `tae`\n"), "{run:?}");
}

#[test]
fn floors_come_from_the_manifest_and_the_build() {
    let (publisher, app) = published(&["1.0.0"]);
    app.succeed(&["add", "tae", "--from", &registry(&publisher), "--out", "Models"]);
    assert!(read(&app, "mlreg.lock").contains("\nall = [\n"));
    let chosen = |app: &Sandbox, more: &[&str]| -> Vec<String> {
        let document = app.run(&[&["fetch", "--dry-run", "--json"], more].concat()).json("mlreg/cli/fetch/1");
        let ids = document["packages"][0]["variants"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variant| variant["id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    assert_eq!(chosen(&app, &[]), ["decoder-768-float16-ios15", "decoder-768-float16-ios18"]);
    assert_eq!(chosen(&app, &["--target", "tvOS18"]), ["decoder-768-float16-ios18"]);
    let app = app
        .with("PLATFORM_NAME", "macosx")
        .with("MACOSX_DEPLOYMENT_TARGET", "14.0")
        .with("IPHONEOS_DEPLOYMENT_TARGET", "18.0");
    assert_eq!(chosen(&app, &[]), ["decoder-768-float16-ios15"]);
    let app = app.with("EFFECTIVE_PLATFORM_NAME", "-maccatalyst");
    assert_eq!(chosen(&app, &[]), ["decoder-768-float16-ios18"]);
    fs::write(app.path("mlreg.toml"), read(&app, "mlreg.toml").replace("{ ", "{ target = \"iOS14\", ")).unwrap();
    let run = app.run(&["fetch"]);
    assert!(
        run.stderr.contains("`tae@1.0.0` has nothing for iOS14: `decoder-768-float16` is there for iOS15, iOS18"),
        "{run:?}"
    );
    assert!(run.stderr.contains("hint: the floor iOS15 fits; or select other variants"), "{run:?}");
}

#[test]
fn a_floor_that_the_manifest_raises_is_followed_and_any_other_refused() {
    let (_publisher, app) = app(&["1.0.0"], &[]);
    app.succeed(&["fetch"]);
    let model = || fs::read_to_string(app.path(BUNDLE).join("model.mlmodel")).unwrap();
    assert_eq!(model(), "decoder-768-float16-ios15 1.0.0");
    let run = app.run(&["fetch", "--target", "iOS18"]);
    assert!(run.code == Some(1) && run.stderr.contains("choose another `out`"), "{run:?}");
    write(&app, "mlreg.toml", "iOS17", "iOS18");
    app.succeed(&["fetch", "--locked"]);
    assert_eq!(model(), "decoder-768-float16-ios18 1.0.0");
}

#[test]
fn the_folder_becomes_what_the_manifest_says() {
    let (publisher, app) = app(&["1.0.0"], &["--rename", "Small=decoder-768-*"]);
    app.succeed(&["fetch"]);
    assert!(app.path("Models/tae/Small.mlpackage").is_dir());
    fs::write(app.path("Models/tae/ours.txt"), "stays").unwrap();
    write(&app, "mlreg.toml", "Small", "Tiny");
    app.succeed(&["fetch", "--locked"]);
    assert!(app.path("Models/tae/Tiny.mlpackage").is_dir() && !app.path("Models/tae/Small.mlpackage").exists());
    // Somebody adds a bundle by hand; the next build puts it away.
    app.succeed(&["fetch", "tae", "--from", &registry(&publisher), "--target", "iOS17", "--out", "Models"]);
    assert!(app.path(BUNDLE).is_dir());
    app.succeed(&["fetch"]);
    assert!(!app.path(BUNDLE).exists() && app.path("Models/tae/ours.txt").exists());
    write(&app, "mlreg.toml", "out = \"Models\"", "out = \"Elsewhere\"");
    let run = app.succeed(&["fetch"]);
    assert!(run.stderr.ends_with("; removed 1 folder\n"), "{run:?}");
    assert!(!app.path("Models/tae/Tiny.mlpackage").exists() && app.path("Models/tae/ours.txt").exists());
    let run = app.succeed(&["remove", "tae"]);
    assert_eq!(run.stderr, "removed tae from `[DIR]/mlreg.toml`, and 1 folder\n");
    assert!(
        !app.path("Elsewhere/tae").exists()
            && !read(&app, "mlreg.toml").contains("tae")
            && !read(&app, "mlreg.lock").contains("tae")
    );
}

#[test]
fn every_change_in_a_folder_is_noticed() {
    let (_publisher, app) = app(&["1.0.0"], &[]);
    app.succeed(&["fetch"]);
    let file = app.path(BUNDLE).join("model.mlmodel");
    let good = fs::read(&file).unwrap();
    let time = || fs::metadata(&file).unwrap().modified().unwrap();
    let later = time() + std::time::Duration::from_secs(5);
    let damages: [(&str, &dyn Fn()); 5] = [
        ("longer", &|| {
            fs::remove_file(&file).unwrap();
            fs::write(&file, [&good[..], b"!"].concat()).unwrap()
        }),
        ("gone", &|| fs::remove_file(&file).unwrap()),
        ("extra", &|| fs::write(app.path(BUNDLE).join("extra"), "x").unwrap()),
        ("extra folder", &|| fs::create_dir(app.path(BUNDLE).join("weights/x")).unwrap()),
        ("no proof", &|| fs::remove_file(app.path("Models/tae/.mlreg.json")).unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        app.succeed(&["fetch", "--locked", "--offline"]);
        assert_eq!(fs::read(&file).unwrap(), good, "{what}");
        assert_eq!(app.succeed(&["verify", "Models"]).code, Some(0), "{what}");
        assert!(!app.path(BUNDLE).join("extra").exists() && !app.path(BUNDLE).join("weights/x").exists(), "{what}");
        assert!(app.succeed(&["fetch"]).stderr.contains("up to date"), "{what}");
    }
    // A content that changed under its old time is seen by those who hash.
    let before = time();
    let other: Vec<u8> = good.iter().map(|byte| byte ^ 1).collect();
    let inode = |content: &[u8], time| {
        let mut permissions = fs::metadata(&file).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "the file lies in the test's own folder")]
        permissions.set_readonly(false);
        fs::set_permissions(&file, permissions).unwrap();
        fs::write(&file, content).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    inode(&other, before);
    assert!(app.succeed(&["fetch"]).stderr.contains("up to date"));
    assert!(app.run(&["fetch", "--verify", "--locked"]).code == Some(0));
    assert_eq!(fs::read(&file).unwrap(), good);
    inode(&good, later);
    app.succeed(&["fetch"]);
    assert!(app.succeed(&["fetch"]).stderr.contains("up to date"));
}

#[test]
fn mirrors_are_tried_in_order_and_trusted_for_bytes_alone() {
    let (publisher, app) = published(&["1.0.0"]);
    let dead = "http://127.0.0.1:9/";
    let good = HttpServer::start(&publisher.path("registry"));
    app.succeed(&["add", "tae", "--from", dead, "--from", &good.url(), "--target", "iOS17", "--out", "Models"]);
    assert!(read(&app, "mlreg.lock").contains(&format!("source = \"{}\"", good.url())));
    app.succeed(&["fetch"]);
    // Another content under the same version: never taken.
    let (liar, _) = (Sandbox::new().with_bytes("1.0.0"), ());
    let other = Sandbox::new().with_registry("registry", "1.0.0");
    let lying = HttpServer::start(&other.path("registry"));
    write(&app, "mlreg.toml", dead, &lying.url());
    fs::remove_dir_all(app.path("Models")).unwrap();
    fs::remove_dir_all(app.home()).unwrap();
    let lock = read(&app, "mlreg.lock");
    let run = app.succeed(&["fetch"]);
    assert!(run.stderr.starts_with("fetched tae@1.0.0"), "{run:?}");
    assert!(lying.requests("") > 0 && read(&app, "mlreg.lock") == lock);
    let run = app.run(&["update"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("has `tae@1.0.0` with other content than the lock pins"), "{run:?}");
    // Bytes that come wrong from one mirror are asked of the next.
    fs::remove_dir_all(app.path("Models")).unwrap();
    fs::remove_dir_all(app.home()).unwrap();
    let second = HttpServer::start(&publisher.path("registry"));
    write(&app, "mlreg.toml", &lying.url(), &second.url());
    second.fault("blobs/", .., Fault::Corrupt);
    let run = app.succeed(&["fetch", "--locked"]);
    assert!(run.stderr.starts_with("fetched tae@1.0.0") && good.requests("blobs/") > 0, "{run:?}");
    good.fault("", .., Fault::status(404));
    second.fault("", .., Fault::status(404));
    fs::remove_dir_all(app.path("Models")).unwrap();
    fs::remove_dir_all(app.home()).unwrap();
    let run = app.run(&["fetch"]);
    assert!(
        run.code == Some(4) && run.stderr.starts_with("error: none of the 2 sources of `tae` could be used:"),
        "{run:?}"
    );
    drop(liar);
}

#[test]
fn flags_narrow_and_then_nothing_is_removed() {
    let (publisher, app) = published(&["1.0.0"]);
    app.succeed(&["add", "tae", "--from", &registry(&publisher), "--out", "Models"]);
    app.succeed(&["fetch", "--variant", "*-ios15"]);
    app.succeed(&["fetch", "--variant", "*-ios18", "--delivery", "initial"]);
    let names = || fs::read_dir(app.path("Models/tae")).unwrap().count();
    assert_eq!(names(), 3);
    let run = app.run(&["fetch", "--delivery", "prefetch"]);
    assert!(
        run.code == Some(1)
            && run.stderr.contains("no package of `[DIR]/mlreg.toml` has a variant that the flags select"),
        "{run:?}"
    );
    assert!(app.succeed(&["fetch"]).stderr.contains("up to date"));
}

#[test]
fn dry_runs_cost_nothing_and_say_what_tags_would() {
    let publisher = Sandbox::new().with_registry("registry", "1.0.0");
    let app = Sandbox::new();
    let toml =
        format!("[packages]\ntae = {{ version = \"1\", from = \"{}\", target = \"iOS18\" }}\n", registry(&publisher));
    fs::write(app.path("mlreg.toml"), toml).unwrap();
    let run = app.succeed(&["fetch", "--dry-run"]);
    assert_eq!(
        run.stderr,
        "would fetch tae@1.0.0: 2 variants in `[DIR]/tae`, 2.4 MB wanted: 2.4 MB to download in 3 requests, 0 B \
         reused, 0 B here\n"
    );
    let costs: Vec<&str> = run.stdout.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert_eq!(
        costs,
        [
            "tae\tdelivery\tinitial\t1\t2.4 MB\t2.4 MB",
            "tae\tdelivery\ton-demand\t1\t2.4 MB\t2.4 MB",
            "tae\ttag\tpreview\t2\t2.4 MB\t2.4 MB"
        ]
    );
    assert!(!app.home().exists() && !app.path("mlreg.lock").exists());
    let document = app.run(&["fetch", "--dry-run", "--json"]).json("mlreg/cli/fetch/1");
    assert_eq!(
        (&document["packages"][0]["costs"][2]["tag"], &document["lock"]),
        (&Value::from("preview"), &Value::from("written"))
    );
}

#[test]
fn without_a_manifest_there_is_a_way_out() {
    let app = Sandbox::new();
    let run = app.run(&["fetch"]);
    assert!(
        run.code == Some(1) && run.stderr.starts_with("error: there is no `mlreg.toml` in `[DIR]` or above it"),
        "{run:?}"
    );
    assert_eq!(app.run(&["fetch", "--from", "registry"]).code, Some(2));
    assert_eq!(app.run(&["fetch", "tae", "--from", "registry", "--locked"]).code, Some(2));
    assert_eq!(app.run(&["add"]).code, Some(2));
}

/// Several targets of a project run the same phase at once, while others look at the files.
#[test]
fn builds_at_once_share_a_store_and_a_destination() {
    let (_publisher, app) = app(&["1.0.0"], &[]);
    let weights = app.path(BUNDLE).join("weights/weight.bin");
    for round in 0..4 {
        match round {
            0 => {}
            1 => fs::remove_dir_all(app.path("Models")).unwrap(),
            2 => fs::remove_dir_all(app.path(BUNDLE)).unwrap(),
            _ => fs::remove_dir_all(app.home()).unwrap(),
        }
        let phase = |number: u32| {
            let mut command = app.command(&["fetch"]);
            // Xcode's phases build in the store's home, others beside the bundles.
            if number.is_multiple_of(2) { command.env("XCODE_VERSION_ACTUAL", "1700") } else { &mut command }
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let mut children: Vec<_> = (0..6).map(phase).collect();
        // A file is there whole, or not at all.
        while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
            if let Ok(bytes) = fs::read(&weights) {
                assert!(bytes == [7; 2000], "a torn file of {} bytes", bytes.len());
            }
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(app.succeed(&["verify", "Models"]).code, Some(0));
        assert!(app.succeed(&["fetch", "--locked"]).stderr.contains("up to date"));
        assert_eq!(fs::read_dir(app.path("Models")).unwrap().count(), 1, "nothing is left behind");
    }
}

#[test]
fn what_the_store_has_is_asked_of_nobody() {
    let (publisher, app) = published(&["1.0.0"]);
    let server = HttpServer::start(&publisher.path("registry"));
    app.succeed(&["add", "tae", "--from", &server.url(), "--target", "iOS17", "--out", "Models"]);
    app.succeed(&["fetch"]);
    let asked = server.requests("");
    assert!(asked > 0);
    for flags in [
        &["fetch", "--locked"][..],
        &["fetch"],
        &["fetch", "--locked", "--offline"],
        &["fetch", "--locked", "--layout", "shared"],
    ] {
        fs::remove_dir_all(app.path("Models")).unwrap();
        app.succeed(flags);
        assert_eq!(server.requests(""), asked, "{flags:?}");
    }
    // Offline is everything that the store can answer: tags, verification, the build phase, its files.
    drop(server);
    fs::remove_dir_all(app.path("Models")).unwrap();
    for arguments in [
        &["fetch"][..],
        &["fetch", "--verify", "--offline"],
        &["fetch", "--dry-run", "--offline"],
        &["xcode", "--offline"],
        &["update", "--offline"],
        &["pin", "--package", "tae"],
        &["unpin", "--package", "tae"],
        &["gc", "--budget", "1GB"],
        &["show", "tae"],
        &["list"],
        &["verify", "Models"],
        &["fetch", "--locked"],
    ] {
        app.succeed(arguments);
    }
}
