//! Language models: `run --text` and `eval --text-file` through packages of the store.

use std::{fs, path::Path};

use super::{Run, Sandbox};

const MODEL: &str = "causal/llama_tied_f16";

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

fn fails(sandbox: &Sandbox, arguments: &[&str], code: i32) -> Run {
    let run = sandbox.run(arguments);
    assert_eq!(run.code, Some(code), "{run:?}");
    run
}

/// A package with these components of the model, and its tokenizer.
fn build(sandbox: &Sandbox, name: &str, components: &[(&str, &str)]) {
    let mut manifest = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
    for (component, keys) in components {
        manifest += &format!(
            "[[component]]\nname = \"{component}\"\npart = \"decoder\"\ncheckpoint = '{}'\n{keys}\n",
            fixture(MODEL)
        );
    }
    let files =
        ["tokenizer.json", "tokenizer_config.json"].map(|file| format!("'{}'", fixture(&format!("{MODEL}/{file}"))));
    let template = sandbox.path("chat_template.jinja");
    fs::write(
        &template,
        "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}[assistant]",
    )
    .unwrap();
    manifest +=
        &format!("[[component]]\nname = \"tokenizer\"\nfiles = [{}, '{}']\n", files.join(", "), template.display());
    fs::write(sandbox.path(&format!("{name}.toml")), manifest).unwrap();
    sandbox.succeed(&["build", &format!("{name}.toml")]);
}

const CACHED: &str = "sequence = [8, 1]\ncontext = 64\ntarget = \"iOS18\"\nprecision = \"float32\"\n";
const TEXT: &str = "The quick brown fox jumps over the lazy dog";

#[test]
fn every_form_goes_on_with_a_text_alike() {
    let sandbox = Sandbox::new();
    let cache = |form: &str, more: &str| format!("{CACHED}cache = \"{form}\"\n{more}");
    build(
        &sandbox,
        "forms",
        &[
            ("state", &cache("state", "")),
            ("inputs", &cache("inputs", "")),
            ("functions", &cache("state", "multifunction = true")),
            ("whole", "sequence = 64\ntarget = \"iOS17\"\nprecision = \"float32\""),
        ],
    );
    build(&sandbox, "chunks", &[("lm", &cache("state", "chunks = 3"))]);
    let run = |package: &str, glob: &str| {
        let arguments = ["run", package, "--text", TEXT, "--max-tokens", "9", "--json", "--variant", glob, "--float32"];
        let document = sandbox.succeed(&arguments).json("mlreg/cli/run/1");
        (document["texts"][0]["ids"].clone(), document["bundles"].as_array().unwrap().len())
    };
    let (expected, _) = run("forms", "whole-*");
    assert!(expected.as_array().is_some_and(|ids| !ids.is_empty()), "{expected}");
    for (package, glob, bundles) in
        [("forms", "state-*", 2), ("forms", "inputs-*", 2), ("forms", "functions-*", 1), ("chunks", "*", 6)]
    {
        assert_eq!(run(package, glob), (expected.clone(), bundles), "{package} {glob}");
    }
    assert_eq!(run("forms", "state-s1-*"), (expected, 1), "token by token");
}

#[test]
fn chat_templates_and_chance_have_their_say() {
    let sandbox = Sandbox::new();
    build(&sandbox, "lm", &[("lm", &format!("{CACHED}cache = \"state\""))]);
    let run = |more: &[&str]| {
        let arguments = [&["run", "lm", "--text", "Hi", "--max-tokens", "6", "--json"], more].concat();
        sandbox.succeed(&arguments).json("mlreg/cli/run/1")["texts"][0]["ids"].clone()
    };
    let asked = run(&["--chat", "--system", "Be brief."]);
    assert_ne!(asked, run(&[]));
    let rendered = "[system] Be brief.\n[user] Hi\n[assistant]";
    let by_hand = sandbox.succeed(&["run", "lm", "--text", rendered, "--max-tokens", "6", "--json"]);
    // The tokenizer puts its own first token before a plain text alone.
    let by_hand = by_hand.json("mlreg/cli/run/1")["texts"][0]["ids"].clone();
    assert_eq!(by_hand.as_array().map(Vec::len), asked.as_array().map(Vec::len));
    let chance = |seed: &str| run(&["--temperature", "1.5", "--seed", seed]);
    assert_eq!(chance("3"), chance("3"));
    assert!(["4", "5", "6"].iter().any(|seed| chance(seed) != chance("3")));
}

#[test]
fn what_does_not_fit_is_said() {
    let sandbox = Sandbox::new();
    build(&sandbox, "lm", &[("lm", &format!("{CACHED}cache = \"state\""))]);
    let long = "word ".repeat(80);
    let error = fails(&sandbox, &["run", "lm", "--text", &long], 1);
    assert!(error.stderr.contains("the longest prompt of `lm` has 63"), "{}", error.stderr);
    build(&sandbox, "chunks", &[("lm", &format!("{CACHED}cache = \"state\"\nchunks = 2"))]);
    let error = fails(&sandbox, &["run", "chunks", "--text", "Hi", "--variant", "chunk-2-*"], 1);
    assert!(error.stderr.contains("language model whose chunks are all there"), "{}", error.stderr);
}

#[test]
fn perplexity_is_that_of_the_reference_and_precisions_are_compared() {
    let sandbox = Sandbox::new();
    let keys = "sequence = [16, 1]\ncontext = 32\ncache = \"state\"\ntarget = \"iOS18\"\nprecision = [\"float32\", \
         \"float16\"]";
    build(&sandbox, "lm", &[("lm", keys)]);
    fs::write(sandbox.path("text.txt"), TEXT.repeat(4)).unwrap();
    let document = sandbox.succeed(&["eval", "lm", "--text-file", "text.txt", "--json"]).json("mlreg/cli/eval/1");
    let models = document["models"].as_array().unwrap();
    assert_eq!(models.len(), 2, "{document}");
    let perplexity = |index: usize| models[index]["perplexity"].as_f64().unwrap();
    // A model of 320 tokens with weights by chance is worse than guessing, but not by much.
    assert!(perplexity(0) > 100.0 && perplexity(0) < 10_000.0, "{document}");
    assert!((perplexity(0) / perplexity(1) - 1.0).abs() < 0.01, "{document}");
    assert!(models[0]["against_first"].is_null());
    let difference = &models[1]["against_first"];
    assert!(
        difference["kl"].as_f64().unwrap().abs() < 1e-3 && difference["agreement"].as_f64().unwrap() > 0.9,
        "{document}"
    );
    let output = fails(&sandbox, &["eval", "lm", "--text-file", "text.txt", "--max-perplexity", "1.5"], 3);
    assert!(output.stderr.contains("at most 1.5 is asked for"), "{}", output.stderr);
    fs::write(sandbox.path("empty.txt"), "").unwrap();
    fails(&sandbox, &["eval", "lm", "--text-file", "empty.txt"], 1);

    let positions = models[1]["worst"].as_array().unwrap();
    let kl = |position: &serde_json::Value| position["kl"].as_f64().unwrap();
    assert!(positions.len() > 1 && positions.windows(2).all(|pair| kl(&pair[0]) >= kl(&pair[1])), "{document}");
    assert_eq!(document["provenance"]["releases"][0]["package"], "lm", "{document}");
    let output =
        sandbox.succeed(&["eval", "lm", "--text-file", "text.txt", "--max-kl", "0.01", "--report", "page.html"]);
    assert!(output.stderr.contains("wrote `"), "{}", output.stderr);
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    let digest = document["provenance"]["releases"][0]["digest"].as_str().unwrap();
    for told in [
        "class=\"verdict passed\"",
        "lm float16 names the same next token",
        "lm 1.0.0",
        digest,
        "KL at most 0.01",
        "<mark>",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
}
