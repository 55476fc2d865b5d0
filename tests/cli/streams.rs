//! Exit codes, and what goes to which stream.

use std::process::Stdio;

use super::Sandbox;

#[test]
fn usage_errors_end_with_2() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["fly"][..],
        &["show"],
        &["show", "Tae"],
        &["show", "tae@one"],
        &["list", "--from", "ftp://host/"],
        &["list", "--jobs", "0"],
        &["list", "-q", "-v"],
        &[],
    ] {
        let run = sandbox.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?} {run:?}");
        assert!(arguments.is_empty() || run.stderr.starts_with("error: "), "{arguments:?} {run:?}");
    }
}

#[test]
fn a_users_mistake_ends_with_1_and_a_hint() {
    let run = Sandbox::new().run(&["show", "tae"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    let expected = "error: `[DIR]/home` has no package `tae`\n\n\
        hint: `mlreg list` shows the packages of the store, `mlreg list --from URL` those of a remote\n";
    assert_eq!(run.stderr, expected);
}

#[test]
fn damage_ends_with_3() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]);
    std::fs::write(sandbox.home().join("releases/tae/1.0.0.json"), b"{}").unwrap();
    let run = sandbox.run(&["show", "tae"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.starts_with("error: `[DIR]/home/releases/tae/1.0.0.json` is damaged: expected "), "{run:?}");
}

#[test]
fn a_server_that_is_not_there_ends_with_4() {
    // The port was free a moment ago, and nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let run =
        Sandbox::new().run(&["list", "--from", &format!("http://me:secret@127.0.0.1:{port}/registry?token=secret")]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(
        run.stderr.starts_with("error: cannot reach `http://127.0.0.1:") && run.stderr.contains("\n  caused by: "),
        "{run:?}"
    );
    assert!(!run.stderr.contains("secret"), "{run:?}");
}

#[test]
fn errors_are_documents_too() {
    let run = Sandbox::new().run(&["show", "tae", "--json"]);
    let document = run.json("mlreg/cli/error/1");
    assert_eq!((run.code, document["kind"].as_str()), (Some(1), Some("input")));
    assert_eq!(document["message"], "`[DIR]/home` has no package `tae`");
    assert_eq!(document["hints"].as_array().unwrap().len(), 1);
    assert!(run.stderr.starts_with("error: "), "{run:?}");
}

#[test]
fn quiet_says_nothing_beside_the_result() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]);
    let (normal, quiet) = (sandbox.run(&["list"]), sandbox.run(&["-q", "list"]));
    assert_eq!(normal.stderr, "1 package in `[DIR]/home`\n");
    assert_eq!(quiet.stderr, "");
    assert_eq!(normal.stdout, quiet.stdout);
}

#[test]
fn colour_is_for_terminals_or_those_who_ask() {
    let plain = Sandbox::new().run(&["show", "tae"]).stderr;
    let asked = Sandbox::new().run(&["show", "tae", "--color", "always"]).stderr;
    assert!(!plain.contains('\u{1b}'));
    assert!(asked.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&asked).to_string(), plain);
}

#[cfg(unix)]
#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    use std::os::unix::process::ExitStatusExt;
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]);
    for arguments in [&["list"][..], &["list", "--json"], &["--help"]] {
        let mut child = sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before anything was written: the first write finds nobody.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(0), None), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("error") && !said.contains("panic"), "{arguments:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output =
        sandbox.command(&["list"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr).unwrap().starts_with("error: cannot write to standard output\n  caused by: ")
    );
}
