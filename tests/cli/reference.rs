//! The command line reference is generated from the help texts; `BLESS=1` rewrites it.

use super::Sandbox;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/reference.md");

fn help(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let run = sandbox.run(arguments);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    run.stdout.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The help of a command without what every command has.
fn without_global_options(help: &str) -> String {
    let Some((before, after)) = help.split_once("\nGlobal options:\n") else { return help.to_owned() };
    let after: String = after
        .lines()
        .skip_while(|line| line.is_empty() || line.starts_with(' '))
        .map(|line| line.to_owned() + "\n")
        .collect();
    format!("{before}\n{after}")
}

/// The names in the list under `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests ask whether to rewrite what they compare with")]
fn the_reference_is_fresh() {
    let sandbox = Sandbox::new();
    let top = help(&sandbox, &["--help"]);
    let mut reference = format!(
        "# Command line reference\n\n`mlreg --help` of every command, without the global options, which are the same \
         for all.\n\n## mlreg\n\n```text\n{top}```\n"
    );
    let commands = commands(&top);
    assert!(commands.len() > 2, "{top}");
    for command in &commands {
        let text = without_global_options(&help(&sandbox, &[command, "--help"]));
        reference += &format!("\n## mlreg {command}\n\n```text\n{text}```\n");
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(REFERENCE, &reference).unwrap();
    }
    let written = std::fs::read_to_string(REFERENCE).unwrap_or_default();
    assert!(
        written == reference,
        "tests/cli/reference.md is stale: run `BLESS=1 cargo test --test cli` and review the difference"
    );
}

#[test]
fn short_help_has_one_line_per_flag() {
    let sandbox = Sandbox::new();
    for command in commands(&help(&sandbox, &["--help"])) {
        let text = help(&sandbox, &[&command, "-h"]);
        let flags: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("Usage:")).skip(1).collect();
        for line in flags.iter().filter(|line| line.starts_with(' ')) {
            assert!(line.trim_start().starts_with(['-', '<', '[']), "`mlreg {command} -h` wraps: {line:?}\n{text}");
        }
    }
}

#[test]
fn every_long_help_has_examples_that_name_the_command() {
    let sandbox = Sandbox::new();
    for command in commands(&help(&sandbox, &["--help"])) {
        let text = help(&sandbox, &[&command, "--help"]);
        let examples =
            text.split_once("\nExamples:\n").unwrap_or_else(|| panic!("`mlreg {command} --help` has no examples")).1;
        assert!(examples.lines().all(|line| line.contains(&format!("mlreg {command}"))), "{examples}");
    }
}
