//! Chats: what templates are given, messages from standard input, and conversations on a terminal.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Run, Sandbox};

const MODEL: &str = "causal/llama_tied_f16";
const TALK: &str = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}[assistant]";

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

/// A package `lm` whose chat template is this.
fn build(sandbox: &Sandbox, template: &str, precision: &str) {
    let files =
        ["tokenizer.json", "tokenizer_config.json"].map(|file| format!("'{}'", fixture(&format!("{MODEL}/{file}"))));
    fs::write(sandbox.path("chat_template.jinja"), template).unwrap();
    let manifest = format!(
        "[package]\nname = \"lm\"\nversion = \"1.0.0\"\n[[component]]\nname = \"lm\"\npart = \"decoder\"\ncheckpoint = \
         '{}'\n\
         sequence = [8, 1]\ncontext = 64\ntarget = \"iOS18\"\nprecision = {precision}\ncache = \"state\"\n\
         [[component]]\nname = \"tokenizer\"\nfiles = [{}, 'chat_template.jinja']\n",
        fixture(MODEL),
        files.join(", "),
    );
    fs::write(sandbox.path("lm.toml"), manifest).unwrap();
    sandbox.succeed(&["build", "lm.toml"]);
}

/// A run that reads this from standard input.
fn fed(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Run {
    let mut command = sandbox.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| sandbox.filtered(&String::from_utf8(bytes).unwrap());
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn templates_see_what_transformers_gives_them() {
    let sandbox = Sandbox::new().with("SOURCE_DATE_EPOCH", "1772694249");
    let template = "{% if tools is none %}{{ strftime_now('%d %b %Y') }} {% endif %}{{ none }} {{ '%s!' % \
         messages[0].content }}\
                    {% generation %} {{ true }}{% endgeneration %}";
    build(&sandbox, template, "\"float32\"");
    let document = sandbox
        .succeed(&["run", "lm", "--chat", "--text", "Hi", "--max-tokens", "2", "--json"])
        .json("mlreg/cli/run/1");
    let text = &document["texts"][0];
    assert_eq!(text["prompt"], "05 Mar 2026 None Hi! True");
    assert!(text["prompt_ids"].as_array().unwrap().len() > 5 && text["ids"].as_array().unwrap().len() <= 2, "{text}");
    let plain = sandbox.succeed(&["run", "lm", "--text", "Hi", "--max-tokens", "2", "--json"]).json("mlreg/cli/run/1");
    assert!(
        plain["texts"][0].get("prompt").is_none() && !plain["texts"][0]["prompt_ids"].as_array().unwrap().is_empty()
    );
    let wrong = Sandbox::new().with("SOURCE_DATE_EPOCH", "today");
    build(&wrong, TALK, "\"float32\"");
    let run = wrong.run(&["run", "lm", "--chat", "--text", "Hi"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("error: `SOURCE_DATE_EPOCH` is `today`, expected seconds since 1970\n"), "{run:?}");
}

#[test]
fn without_a_terminal_the_message_comes_from_standard_input() {
    let sandbox = Sandbox::new();
    build(&sandbox, TALK, "[\"float32\", \"float16\"]");
    let base = ["run", "lm", "--chat", "--system", "Be brief.", "--max-tokens", "4"];
    let given = sandbox.succeed(&[&base[..], &["--text", "Hi\nthere"]].concat());
    let read = fed(&sandbox, &base, "Hi\nthere\n");
    assert_eq!((read.code, &read.stdout), (Some(0), &given.stdout), "{read:?}");
    assert!(read.stderr.contains("picked float32; there is float16, too: --variant '*-float16-*'\n"), "{read:?}");
    let empty = fed(&sandbox, &base, "");
    assert_eq!(empty.code, Some(2));
    assert!(empty.stderr.starts_with("error: standard input is empty\n"), "{empty:?}");
    let none = sandbox.run(&["run", "lm", "--text", "Hi", "--max-tokens", "0"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("'0' for '--max-tokens <N>': expected a number of at least 1"), "{none:?}");
}

/// What a terminal gets of a command, and its exit code. `type_in` is called until the command ends, with what it has
/// got so far.
#[cfg(target_os = "linux")]
fn on_a_terminal(
    sandbox: &Sandbox,
    arguments: &[&str],
    mut type_in: impl FnMut(&str) -> Option<&'static str>,
) -> (String, Option<i32>) {
    let own = sandbox.command(arguments);
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
    let words: Vec<String> = [own.get_program()].into_iter().chain(own.get_args()).map(quoted).collect();
    let screen = sandbox.path("screen");
    // What an earlier command has left there is none of this one.
    let _ = fs::remove_file(&screen);
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-f", "-c", &words.join(" ")]).arg(&screen);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("MLREG_HOME", sandbox.home());
    command.current_dir(sandbox.folder.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take();
    let read = || String::from_utf8_lossy(&fs::read(&screen).unwrap_or_default()).into_owned();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (read(), status.code());
        }
        if let (Some(keys), Some(keyboard)) = (type_in(&read()), keyboard.as_mut()) {
            keyboard.write_all(keys.as_bytes()).unwrap();
            keyboard.flush().unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{}", read());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_the_text_and_no_bar_over_it() {
    let sandbox = Sandbox::new();
    build(&sandbox, TALK, "\"float32\"");
    let arguments = ["run", "lm", "--text", "The quick brown fox", "--max-tokens", "12"];
    let expected = sandbox.succeed(&arguments).stdout;
    let (screen, code) = on_a_terminal(&sandbox, &arguments, |_| None);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("generating texts") && !screen.contains("\u{1b}[2K"), "{screen:?}");
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed(&screen).contains(&squeezed(&expected)), "{screen:?} {expected:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_conversation_goes_on_until_ctrl_d() {
    let sandbox = Sandbox::new();
    build(&sandbox, TALK, "\"float32\"");
    let arguments = ["run", "lm", "--chat", "--max-tokens", "3"];
    let mut keys = ["Hi\n", "again\n", "\u{4}"].into_iter();
    let mut prompts = 0;
    let (screen, code) = on_a_terminal(&sandbox, &arguments, |screen| {
        let seen = screen.matches("> ").count();
        (seen > prompts).then(|| {
            prompts = seen;
            keys.next()
        })?
    });
    assert_eq!(code, Some(0), "{screen:?}");
    assert_eq!(screen.matches("> ").count(), 3, "{screen:?}");
    assert!(screen.contains("talked with lm-"), "{screen:?}");
    let mut keys = Some("\u{3}");
    let (screen, code) = on_a_terminal(&sandbox, &arguments, |screen| keys.take_if(|_| screen.contains("> ")));
    assert_eq!(code, Some(130), "{screen:?}");
}
