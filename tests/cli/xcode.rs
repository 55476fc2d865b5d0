//! The build phase: its files, and that a run of it stays within what they declare.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::Sandbox;

/// An app that has added `tae`, and the files of its phase.
fn project() -> (Sandbox, Sandbox) {
    let publisher = Sandbox::new().with_bytes("1.0.0");
    publisher.succeed(&["publish", "tae", "--to", "registry"]);
    let app = Sandbox::new();
    let from = publisher.path("registry").display().to_string();
    fs::create_dir_all(app.path("App")).unwrap();
    fs::write(
        app.path("App/mlreg.toml"),
        format!("[packages]\ntae = {{ version = \"1\", from = \"{from}\", out = \"My Models\" }}\n"),
    )
    .unwrap();
    (publisher, app)
}

/// Runs mlreg in the project's folder.
fn mlreg(app: &Sandbox, arguments: &[&str]) -> Output {
    app.command(arguments).current_dir(app.path("App")).output().unwrap()
}

#[track_caller]
fn succeed(app: &Sandbox, arguments: &[&str]) -> String {
    let output = mlreg(app, arguments);
    assert!(output.status.success(), "{output:?}");
    app.filtered(&String::from_utf8(output.stdout).unwrap())
}

/// The paths of a list, as Xcode expands them.
fn listed(app: &Sandbox, name: &str) -> BTreeSet<PathBuf> {
    let text = fs::read_to_string(app.path("App/Scripts").join(name)).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.replace("$(SRCROOT)", app.path("App").to_str().unwrap()).into()).collect()
}

/// The script as a build phase runs it.
fn phase(app: &Sandbox) -> Command {
    let tools = Path::new(env!("CARGO_BIN_EXE_mlreg")).parent().unwrap();
    let mut command = Command::new(app.path("App/Scripts/mlreg.sh"));
    command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", tools.display())).env("MLREG_HOME", app.home());
    command.env("ACTION", "build").env("SRCROOT", app.path("App")).env("XCODE_VERSION_ACTUAL", "1640");
    command
        .env("PLATFORM_NAME", "iphonesimulator")
        .env("IPHONEOS_DEPLOYMENT_TARGET", "17.0")
        .current_dir(app.path("App"));
    command
}

fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        found.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}

#[test]
fn the_lists_have_every_path_and_stay_untouched() {
    let (_publisher, app) = project();
    let said = succeed(&app, &["xcode", "--out", "Scripts"]);
    assert!(
        said.contains("\"${SRCROOT}/Scripts/mlreg.sh\"")
            && said.contains("$(SRCROOT)/Scripts/mlreg-outputs.xcfilelist"),
        "{said}"
    );
    let inputs: Vec<PathBuf> =
        ["Scripts/mlreg.sh", "mlreg.lock", "mlreg.toml"].iter().map(|name| app.path("App").join(name)).collect();
    assert_eq!(listed(&app, "mlreg-inputs.xcfilelist").into_iter().collect::<Vec<_>>(), inputs);
    let output = phase(&app).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = app.filtered(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(said, "fetched tae@1.0.0: 1 variant in `[DIR]/App/My Models/tae`, 2.0 kB downloaded, 0 B reused\n");
    let mut expected = below(&app.path("App/My Models"));
    expected.insert(app.path("App/My Models"));
    assert_eq!(listed(&app, "mlreg-outputs.xcfilelist"), expected);
    let dependencies = fs::read_to_string(app.path("App/Scripts/mlreg.d")).unwrap();
    assert!(
        dependencies.starts_with("My\\ Models \\\n") && dependencies.ends_with(": mlreg.toml mlreg.lock\n"),
        "{dependencies}"
    );
    let times = || {
        below(&app.path("App"))
            .into_iter()
            .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = times();
    assert!(phase(&app).status().unwrap().success());
    succeed(&app, &["xcode", "--out", "Scripts"]);
    assert_eq!(times(), before);
}

#[test]
fn lists_follow_the_lock() {
    let (publisher, app) = project();
    let from = publisher.path("registry").display().to_string();
    succeed(&app, &["xcode", "--out", "Build/Scripts", "--target", "iOS17"]);
    let manifest = fs::read_to_string(app.path("App/mlreg.toml")).unwrap();
    assert!(manifest.ends_with("\n[xcode]\nout = \"Build/Scripts\"\ntarget = \"iOS17\"\n"), "{manifest}");
    let outputs = || fs::read_to_string(app.path("App/Build/Scripts/mlreg-outputs.xcfilelist")).unwrap();
    assert!(outputs().contains("$(SRCROOT)/My Models/tae/"));
    let said = |arguments: &[&str]| app.filtered(&String::from_utf8(mlreg(&app, arguments).stderr).unwrap());
    let told = said(&["remove", "tae"]);
    assert!(told.contains("updated 2 files of the build phase in `[DIR]/App/Build/Scripts`"), "{told}");
    assert!(!outputs().contains("My Models"), "{}", outputs());
    let told = said(&["add", "tae", "--from", &from, "--out", "Models"]);
    assert!(told.contains("updated 2 files of the build phase"), "{told}");
    assert!(outputs().contains("$(SRCROOT)/Models/tae/.mlreg.json\n"), "{}", outputs());
    assert!(!said(&["update"]).contains("build phase"), "nothing changed");
    let report = mlreg(&app, &["remove", "tae", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(document["xcode"]["changed"].as_array().map(Vec::len), Some(2), "{document}");
    // Who has deleted the files does not want them back.
    fs::remove_dir_all(app.path("App/Build")).unwrap();
    said(&["add", "tae", "--from", &from]);
    assert!(!app.path("App/Build").exists());
}

#[test]
fn diagnostics_are_xcodes() {
    let (_publisher, app) = project();
    succeed(&app, &["xcode"]);
    let path = app.path("App/mlreg.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("version", "varsion")).unwrap();
    let output = phase(&app).output().unwrap();
    let said = app.filtered(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("[DIR]/App/mlreg.toml:2:9: error: unknown key `varsion` in package `tae`\n"), "{said}");
    let output = phase(&app).env("PATH", "/usr/bin:/bin").output().unwrap();
    assert!(
        output.status.code() == Some(1) && output.stderr.starts_with(b"error: mlreg is not installed"),
        "{output:?}"
    );
}

#[test]
fn files_that_depend_on_the_floor_need_one() {
    let (publisher, app) = project();
    drop(publisher);
    let output = mlreg(&app, &["xcode"]);
    assert!(!output.status.success());
    let (_publisher, app) = project();
    succeed(&app, &["xcode", "--target", "macOS15", "--srcroot", ".."]);
    let text = fs::read_to_string(app.path("App/Scripts/mlreg-outputs.xcfilelist")).unwrap();
    assert!(text.contains("$(SRCROOT)/App/My Models/tae/.mlreg.json\n"), "{text}");
}

/// The rules of user script sandboxing: below the project, only what is declared may be written, each path by itself.
/// Xcode makes the folders that outputs lie in before the phase runs; the watch sees everything that happens in them.
#[cfg(target_os = "linux")]
#[test]
fn a_sandboxed_phase_writes_only_what_it_declares() {
    use inotify::{Inotify, WatchMask};

    let (_publisher, app) = project();
    succeed(&app, &["xcode"]);
    let declared = listed(&app, "mlreg-outputs.xcfilelist");
    for parent in declared.iter().filter_map(|path| path.parent()) {
        fs::create_dir_all(parent).unwrap();
    }
    let mut watch = Inotify::init().unwrap();
    let mut folders = std::collections::BTreeMap::new();
    let writes = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MODIFY | WatchMask::MOVE | WatchMask::ATTRIB;
    for folder in below(&app.path("App")).into_iter().filter(|path| path.is_dir()).chain([app.path("App")]) {
        folders.insert(watch.watches().add(&folder, writes).unwrap(), folder);
    }
    let mut touched = |what: &str| {
        let mut buffer = vec![0; 1 << 16];
        let mut found = BTreeSet::new();
        // A read fails when there is nothing more.
        while let Ok(events) = watch.read_events(&mut buffer) {
            found.extend(events.filter_map(|event| Some(folders.get(&event.wd)?.join(event.name.unwrap_or_default()))));
        }
        let plain: BTreeSet<PathBuf> = found.iter().map(|path| path.components().collect()).collect();
        let undeclared: Vec<_> = plain.difference(&declared).collect();
        assert!(undeclared.is_empty(), "{what}: {undeclared:?}");
        plain.len()
    };
    assert!(phase(&app).status().unwrap().success());
    assert!(touched("a first build") > 0);
    assert!(phase(&app).status().unwrap().success());
    assert_eq!(touched("a build that changes nothing"), 0);
    let bundle = app.path("App/My Models/tae/decoder-768-float16.mlpackage");
    fs::remove_file(bundle.join("model.mlmodel")).unwrap();
    touched("the test's own damage");
    assert!(phase(&app).status().unwrap().success());
    assert!(touched("a repair") > 0 && bundle.join("model.mlmodel").exists());
}
