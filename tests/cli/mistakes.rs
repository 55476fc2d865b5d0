//! Mistakes as people make them: the line and a caret, what may be meant, and what to do instead.

use std::fs;

use super::Sandbox;

const HEAD: &str = "[package]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \"decoder\"\n";

fn build(sandbox: &Sandbox, text: &str) -> String {
    fs::write(sandbox.path("a.toml"), text).unwrap();
    let run = sandbox.run(&["build", "a.toml"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    run.stderr
}

fn fixture(name: &str) -> String {
    format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_mistake_in_a_manifest_is_underlined() {
    let sandbox = Sandbox::new();
    let expected = "error: unknown key `chekpoint` in `[[component]]`\n  --> [DIR]/a.toml:7:1\n   |\n 7 | chekpoint = \
         \"x\"  # here\n   | ^^^^^^^^^\n\n\
        hint: did you mean `checkpoint`?\n";
    assert_eq!(build(&sandbox, &format!("{HEAD}chekpoint = \"x\"  # here\n")), expected);
    let said = build(
        &sandbox,
        &format!("{HEAD}checkpoint = \"x\"\nprecision = [\"float16\", \"flaot32\"]\ntarget = \"iOS18\"\n"),
    );
    assert!(
        said.contains("\n 8 | precision = [\"float16\", \"flaot32\"]\n   |                         ^^^^^^^^^\n"),
        "{said}"
    );
    let said = build(&sandbox, "[package]\nname = \"a\"\nversion = \"1.0.0\"\n[component]\nname = \"x\"\n");
    assert!(said.starts_with("error: `[component]` is a single table, expected `[[component]]`\n"), "{said}");
    let xcode = sandbox.command(&["build", "a.toml"]).env("XCODE_VERSION_ACTUAL", "1700").output().unwrap();
    let said = sandbox.filtered(&String::from_utf8(xcode.stderr).unwrap());
    assert!(said.starts_with("[DIR]/a.toml:4:2: error: `[component]`") && !said.contains('^'), "{said}");
}

#[test]
fn what_only_the_checkpoint_shows_has_its_line_too() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(fixture("taef1"), sandbox.path("taef1")).unwrap();
    let component = |lines: &str| format!("{HEAD}{lines}\ntarget = \"iOS15\"\n");
    let said = build(&sandbox, &component("checkpoint = \"taef2\"\nsize = 256"));
    assert!(
        said.contains("\n  --> [DIR]/a.toml:7:14\n   |\n 7 | checkpoint = \"taef2\"\n   |              ^^^^^^^\n"),
        "{said}"
    );
    assert!(said.ends_with("\nhint: did you mean `[DIR]/taef1`?\n"), "{said}");
    let said = build(&sandbox, &component("checkpoint = \"taef1\"\narchitecture = \"lama\"\nsequence = 1"));
    assert!(
        said.contains("\n 8 | architecture = \"lama\"\n   |                ^^^^^^\n")
            && said.contains("did you mean `llama`?"),
        "{said}"
    );
    let said = build(&sandbox, &component("checkpoint = \"taef1\"\nsize = 250"));
    assert!(said.contains("\n 8 | size = 250\n   |        ^^^\n"), "{said}");
    let said = build(&sandbox, &format!("{HEAD}files = [\"taef1/confg.json\"]\n"));
    assert!(said.contains("\n 7 | files = [\"taef1/confg.json\"]\n   |         ^^^^^^^^^^^^^^^^^^^^\n"), "{said}");
    assert!(said.ends_with("\nhint: did you mean `[DIR]/taef1/config.json`?\n"), "{said}");
}

#[test]
fn what_is_no_manifest_gets_one() {
    let sandbox = Sandbox::new();
    std::os::unix::fs::symlink(fixture("bert/minilm"), sandbox.path("minilm")).unwrap();
    fs::write(sandbox.path("w.safetensors"), [0xff; 100]).unwrap();
    fs::create_dir(sandbox.path("empty")).unwrap();
    let run = sandbox.run(&["build", "minilm"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .starts_with("error: `minilm` is a checkpoint's folder, expected a package manifest (TOML)\n\nhint: "),
        "{run:?}"
    );
    assert!(
        run.stderr.contains("\n  checkpoint = \"minilm\"\n")
            && run.stderr.contains("\n  files = [\"minilm/tokenizer.json\"]\n"),
        "{run:?}"
    );
    // What it says can be built.
    let manifest: String = run
        .stderr
        .lines()
        .skip_while(|line| *line != "  [package]")
        .map(|line| line.trim().to_owned() + "\n")
        .collect();
    fs::write(sandbox.path("model.toml"), manifest.replace("sequence = 128", "sequence = 32")).unwrap();
    sandbox.succeed(&["build", "model.toml"]);
    for (path, what) in
        [("hf://acme/model", "an address of the Hub"), ("w.safetensors", "a file of weights"), ("empty", "a folder")]
    {
        let run = sandbox.run(&["build", path]);
        assert!(
            run.code == Some(1) && run.stderr.starts_with(&format!("error: `{path}` is {what}, expected")),
            "{run:?}"
        );
    }
}

#[test]
fn commands_of_other_tools_lead_to_those_of_this_one() {
    let sandbox = Sandbox::new();
    for (word, hint) in [
        ("init", "mlreg add"),
        ("pull", "mlreg fetch"),
        ("yank", "never change"),
        ("diff", "--against"),
        ("ls", "mlreg list"),
    ] {
        let run = sandbox.run(&[word, "x"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
        assert!(
            run.stderr.starts_with(&format!("error: there is no command `{word}`\n\nhint: "))
                && run.stderr.contains(hint),
            "{run:?}"
        );
    }
    assert!(sandbox.run(&["buidl"]).stderr.contains("'build'"));
    assert!(sandbox.succeed(&["help", "build"]).stdout.contains("Usage: mlreg build"));
    assert_eq!(sandbox.succeed(&["version"]).stdout, format!("mlreg {}\n", env!("CARGO_PKG_VERSION")));
    let run = sandbox.run(&["list", "--jobs", "0"]);
    assert!(run.code == Some(2) && run.stderr.contains("expected a number of at least 1"), "{run:?}");
}

#[test]
fn packages_that_are_not_there_have_near_names() {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    sandbox.succeed(&["publish", "tae", "--to", "registry"]);
    for arguments in [
        &["show", "tea"][..],
        &["show", "tea", "--from", "registry"],
        &["list", "tea"],
        &["list", "tea", "--from", "registry"],
        &["fetch", "tea", "--from", "registry", "--out", "x"],
        &["fetch", "tea", "--offline", "--out", "x"],
        &["publish", "tea", "--to", "registry"],
        &["codegen", "swift", "tea", "--out", "x"],
    ] {
        let run = sandbox.run(arguments);
        assert!(run.code == Some(1) && run.stderr.ends_with("\nhint: did you mean `tae`?\n"), "{arguments:?} {run:?}");
    }
}

#[test]
fn a_package_without_a_source_names_the_flag() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(&["add", "tae"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.starts_with(
            "error: `mlreg.toml` does not say where `tae` comes from\n\nhint: say it: `mlreg add tae --from URL`"
        ),
        "{run:?}"
    );
    assert!(!run.stderr.contains("-->") && !sandbox.path("mlreg.toml").exists(), "{run:?}");
}

#[test]
fn what_was_decided_for_the_user_is_said_once() {
    let sandbox = Sandbox::new().with_bytes("1.0.0");
    sandbox.succeed(&["publish", "tae", "--to", "registry"]);
    let run = sandbox.succeed(&["fetch", "tae", "--from", "registry"]);
    assert!(run.stderr.contains("\nnote: placed in `tae/` since no folder was said: use `--out DIR`"), "{run:?}");
    assert!(
        run.stderr.contains("\nnote: placed bundles for every deployment target (iOS15, iOS18) since none was said"),
        "{run:?}"
    );
    assert!(!sandbox.succeed(&["fetch", "tae", "--from", "registry"]).stderr.contains("note:"));
    let run = sandbox.succeed(&["fetch", "tae", "--from", "registry", "--out", "Models", "--target", "iOS17"]);
    assert!(!run.stderr.contains("note:"), "{run:?}");
}

#[test]
fn one_cause_and_a_hint_where_nobody_answers() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run = Sandbox::new().run(&["list", "--from", &format!("http://127.0.0.1:{port}/registry")]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert_eq!(run.stderr.matches("caused by:").count(), 1, "{run:?}");
    assert!(run.stderr.contains("\n\nhint: check the address and the network: "), "{run:?}");
}

#[cfg(unix)]
#[test]
fn a_signal_is_said_and_ends_with_its_code() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let sandbox = Sandbox::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/registry", listener.local_addr().unwrap());
        let mut command = sandbox.command(&["list", "--from", &address]);
        let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        // It has asked, and waits for an answer that does not come.
        let connection = listener.accept().unwrap();
        assert!(std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        drop(connection);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(code), "interrupted\n"), "{signal}");
    }
}
