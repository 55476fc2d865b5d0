//! What files and versions are called, and links: through the binary, a case for each command.

use std::fs;

use super::Sandbox;

/// A store with two builds of `ver@1.0.0` of different content.
fn builds() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("in/m.mlmodelc")).unwrap();
    for build in ["a.b", "build"] {
        fs::write(sandbox.path("in/m.mlmodelc/model.mil"), build).unwrap();
        let text = format!(
            "[package]\nname = \"ver\"\nversion = \"1.0.0+{build}\"\n[[component]]\nname = \"v\"\nimport = \
             \"in/*.mlmodelc\"\ntarget = \"iOS18\"\n"
        );
        fs::write(sandbox.path("m.toml"), text).unwrap();
        sandbox.succeed(&["build", "m.toml"]);
    }
    sandbox
}

fn placed(sandbox: &Sandbox, out: &str) -> String {
    fs::read_to_string(sandbox.path(out).join("ver/m-ios18.mlmodelc/model.mil")).unwrap()
}

#[test]
fn build_metadata_that_is_named_means_that_build() {
    let sandbox = builds();
    for (ask, other) in [("ver@1.0.0+a.b", "ver@=1.0.0+build"), ("ver@=1.0.0+a.b", "ver@1.0.0+build")] {
        let registry = format!("registry-{}", ask.len());
        sandbox.succeed(&["publish", ask, "--to", &registry]);
        let run = sandbox.run(&["show", other, "--from", &registry]);
        assert!(run.code == Some(1) && run.stderr.contains("matches `=1.0.0+build`: there is 1.0.0+a.b"), "{run:?}");
        sandbox.succeed(&["publish", other, "--to", &registry]);
        let run = sandbox.succeed(&["show", ask, "--from", &registry, "--json"]).json("mlreg/cli/show/1");
        assert_eq!(run["version"], "1.0.0+a.b");
        let out = format!("out-{}", ask.len());
        // Another build of the same version is another request.
        for (request, content) in [(ask, "a.b"), (other, "build"), (ask, "a.b")] {
            sandbox.succeed(&["fetch", request, "--from", &registry, "--out", &out]);
            assert_eq!(placed(&sandbox, &out), content, "{request}");
        }
    }
    sandbox.succeed(&["verify", "ver@1.0.0+a.b"]);
    let run = sandbox.run(&["publish", "ver@1.0.0", "--to", "other"]);
    assert!(
        run.code == Some(1) && run.stderr.contains("the store has 2 builds of `ver@=1.0.0`: 1.0.0+a.b, 1.0.0+build"),
        "{run:?}"
    );
    assert!(run.stderr.contains("name the build: `ver@1.0.0+a.b`"), "{run:?}");
    let run = sandbox.run(&["show", "ver@^1.0.0+a.b"]);
    assert!(run.code == Some(2) && run.stderr.contains("build metadata names one build of one version"), "{run:?}");
}

#[test]
fn apps_pin_a_build_or_take_what_is_compatible() {
    let sandbox = builds();
    for build in ["a.b", "build"] {
        sandbox.succeed(&["publish", &format!("ver@1.0.0+{build}"), "--to", "registry"]);
    }
    let manifest = || fs::read_to_string(sandbox.path("mlreg.toml")).unwrap();
    sandbox.succeed(&["add", "ver@1.0.0+a.b", "--from", "registry", "--out", "Models", "--target", "macOS15"]);
    assert!(manifest().contains("version = \"1.0.0+a.b\""), "{}", manifest());
    sandbox.succeed(&["fetch"]);
    assert_eq!(fs::read_to_string(sandbox.path("Models/ver/m.mlmodelc/model.mil")).unwrap(), "a.b");
    sandbox.succeed(&["update"]);
    assert!(fs::read_to_string(sandbox.path("mlreg.lock")).unwrap().contains("version = \"1.0.0+a.b\""));
    assert_eq!(
        sandbox.succeed(&["fetch", "--locked"]).stderr,
        "ver@1.0.0+a.b is up to date: 1 variant in `[DIR]/Models/ver`\n"
    );
    sandbox.succeed(&["remove", "ver"]);
    sandbox.succeed(&["add", "ver", "--from", "registry", "--out", "Models"]);
    assert!(manifest().contains("version = \"1.0.0\""), "{}", manifest());
}

#[test]
fn packages_are_not_called_as_devices_are() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("in/m.mlmodelc")).unwrap();
    fs::write(sandbox.path("in/m.mlmodelc/x"), "x").unwrap();
    for (name, component) in [("con", "v"), ("p", "com1"), ("lpt9.x", "v")] {
        let text = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\n[[component]]\nname = \"{component}\"\nimport = \
             \"in/*.mlmodelc\"\n"
        );
        fs::write(sandbox.path("m.toml"), text).unwrap();
        let run = sandbox.run(&["build", "m.toml"]);
        assert!(run.code == Some(1) && run.stderr.contains("device"), "{run:?}");
    }
    let run = sandbox.run(&["fetch", "nul", "--from", "registry"]);
    assert!(run.code == Some(2) && run.stderr.contains("reserved device name"), "{run:?}");
}

#[test]
fn every_platform_names_targets_and_floors() {
    let sandbox = builds();
    let run = sandbox.run(&["fetch", "ver", "--offline", "--out", "a", "--target", "macos14.2"]);
    assert!(run.code == Some(1) && run.stderr.contains("the floor macOS15 (iOS18) fits"), "{run:?}");
    for floor in ["macOS15", "visionOS2", "tvOS18.1", "watchOS11", "iOS18", "macOS 26"] {
        let out = format!("out-{}", floor.replace(' ', ""));
        sandbox.succeed(&["fetch", "ver", "--offline", "--out", &out, "--target", floor]);
        assert!(sandbox.path(&out).join("ver/m.mlmodelc").is_dir(), "{floor}");
    }
    let run = sandbox.run(&["fetch", "ver", "--offline", "--out", "a", "--target", "osx15"]);
    assert!(run.code == Some(2) && run.stderr.contains("did you mean `macOS15`?"), "{run:?}");
    let text = fs::read_to_string(sandbox.path("m.toml")).unwrap().replace("iOS18", "macOS16");
    fs::write(sandbox.path("m.toml"), text).unwrap();
    let run = sandbox.run(&["build", "m.toml"]);
    assert!(run.code == Some(1) && run.stderr.contains("did you mean `macOS15`?"), "{run:?}");
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn manifest_and_lock_may_be_links() {
        let sandbox = Sandbox::new().with_bytes("1.0.0");
        sandbox.succeed(&["publish", "tae", "--to", "registry"]);
        for folder in ["app", "real", "middle"] {
            fs::create_dir(sandbox.path(folder)).unwrap();
        }
        let real = sandbox.path("real/mlreg.toml");
        fs::write(&real, "# mine\n[packages]\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("../real/mlreg.toml", sandbox.path("middle/mlreg.toml")).unwrap();
        symlink("../middle/mlreg.toml", sandbox.path("app/mlreg.toml")).unwrap();
        symlink("../real/mlreg.lock", sandbox.path("app/mlreg.lock")).unwrap();
        let run = |arguments: &[&str]| {
            let output = sandbox.command(arguments).current_dir(sandbox.path("app")).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        let is_link = |name: &str| fs::symlink_metadata(sandbox.path("app").join(name)).unwrap().is_symlink();
        let has = |name: &str| fs::read_to_string(sandbox.path("real").join(name)).unwrap().contains("tae");
        run(&["add", "tae", "--from", "../registry", "--out", "Models", "--target", "iOS18"]);
        run(&["fetch"]);
        run(&["update"]);
        assert_eq!(
            (is_link("mlreg.toml"), is_link("mlreg.lock"), has("mlreg.toml"), has("mlreg.lock")),
            (true, true, true, true)
        );
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        run(&["remove", "tae"]);
        assert_eq!(
            (is_link("mlreg.toml"), is_link("mlreg.lock"), has("mlreg.toml"), has("mlreg.lock")),
            (true, true, false, false)
        );
    }

    #[test]
    fn generated_files_are_not_written_through_links() {
        let sandbox = Sandbox::new().with_interface();
        fs::create_dir_all(sandbox.path("Sources")).unwrap();
        fs::write(sandbox.path("precious"), "precious").unwrap();
        symlink("../precious", sandbox.path("Sources/Flux1Tae+Models.swift")).unwrap();
        let run = sandbox.run(&["codegen", "swift", "flux-1-tae", "--out", "Sources"]);
        assert!(run.code == Some(1) && run.stderr.contains("Sources/Flux1Tae+Models.swift`"), "{run:?}");
        assert!(run.stderr.contains("it is a symbolic link"), "{run:?}");
        assert_eq!(fs::read_dir(sandbox.path("Sources")).unwrap().count(), 1, "nothing was written");
        assert_eq!(fs::read_to_string(sandbox.path("precious")).unwrap(), "precious");
    }

    #[test]
    fn files_of_a_phase_are_not_written_through_links() {
        let sandbox = Sandbox::new().with_bytes("1.0.0");
        sandbox.succeed(&["publish", "tae", "--to", "registry"]);
        sandbox.succeed(&["add", "tae", "--from", "registry", "--out", "Models", "--target", "iOS18"]);
        fs::create_dir_all(sandbox.path("Scripts")).unwrap();
        fs::write(sandbox.path("precious"), "precious").unwrap();
        symlink("../precious", sandbox.path("Scripts/mlreg.sh")).unwrap();
        let run = sandbox.run(&["xcode", "--out", "Scripts"]);
        assert!(run.code == Some(1) && run.stderr.contains("Scripts/mlreg.sh`"), "{run:?}");
        assert_eq!(fs::read_dir(sandbox.path("Scripts")).unwrap().count(), 1, "nothing was written");
        fs::remove_file(sandbox.path("Scripts/mlreg.sh")).unwrap();
        sandbox.succeed(&["xcode", "--out", "Scripts"]);
        let mode = fs::metadata(sandbox.path("Scripts/mlreg.sh")).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, fs::read_to_string(sandbox.path("precious")).unwrap().as_str()), (0o755, "precious"));
    }

    #[test]
    fn what_lies_behind_a_link_is_not_taken_back() {
        let sandbox = Sandbox::new().with_bytes("1.0.0");
        sandbox.succeed(&["publish", "tae", "--to", "registry"]);
        sandbox.succeed(&["add", "tae", "--from", "registry", "--out", "Models", "--target", "iOS18"]);
        sandbox.succeed(&["fetch"]);
        fs::rename(sandbox.path("Models"), sandbox.path("elsewhere")).unwrap();
        symlink("elsewhere", sandbox.path("Models")).unwrap();
        let before = fs::read_to_string(sandbox.path("mlreg.toml")).unwrap();
        let run = sandbox.run(&["remove", "tae"]);
        assert!(run.code == Some(1) && run.stderr.contains("Models` is a symbolic link"), "{run:?}");
        assert_eq!(fs::read_to_string(sandbox.path("mlreg.toml")).unwrap(), before);
        assert!(sandbox.path("elsewhere/tae/decoder-768-float16.mlpackage/model.mlmodel").is_file());
    }

    #[test]
    fn gc_and_link_name_the_link() {
        let sandbox = Sandbox::new().with_bytes("1.0.0");
        fs::create_dir_all(sandbox.path("outside")).unwrap();
        symlink(sandbox.path("outside"), sandbox.home().join("partial")).unwrap();
        let run = sandbox.run(&["gc"]);
        assert!(run.code == Some(1) && run.stderr.contains("home/partial` is a symbolic link"), "{run:?}");
        fs::create_dir_all(sandbox.path("models")).unwrap();
        fs::write(sandbox.path("models/weight.bin"), "x").unwrap();
        symlink("../outside", sandbox.path("models/x.mlmodelc")).unwrap();
        let file = serde_json::json!({ "sha256": mlreg::base::Digest::of(b"x"), "size": 1 });
        let layout = serde_json::json!({
            "schema": "mlreg/layout/1", "package": "p", "version": "1.0.0",
            "bundles": { "x.mlmodelc": { "keys/authorized": "weight.bin" } }, "files": { "weight.bin": file },
        });
        fs::write(sandbox.path("models/layout.json"), layout.to_string()).unwrap();
        let run = sandbox.run(&["link", "models"]);
        assert!(
            run.code == Some(1) && run.stderr.contains("models/x.mlmodelc` is a symbolic link to `../outside`"),
            "{run:?}"
        );
        assert_eq!(fs::read_dir(sandbox.path("outside")).unwrap().count(), 0);
    }
}
