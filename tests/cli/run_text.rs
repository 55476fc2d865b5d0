//! `run --text`: text in, text out through packages of the store.

use std::{fs, path::Path};

use super::Sandbox;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

/// A package `name` of these components.
fn build(sandbox: &Sandbox, name: &str, components: &[(&str, &str, &str)], files: &[&str]) {
    let mut manifest = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
    for (component, checkpoint, keys) in components {
        manifest += &format!(
            "[[component]]\nname = \"{component}\"\ncheckpoint = '{}'\nprecision = \"float32\"\n{keys}\n",
            fixture(checkpoint)
        );
    }
    if !files.is_empty() {
        let files: Vec<String> = files.iter().map(|file| format!("'{}'", fixture(file))).collect();
        manifest += &format!("[[component]]\nname = \"tokenizer\"\nfiles = [{}]\n", files.join(", "));
    }
    fs::write(sandbox.path(&format!("{name}.toml")), manifest).unwrap();
    sandbox.succeed(&["build", &format!("{name}.toml")]);
}

const T5: &str = "t5/v10_tied";

/// A translator with every kind of decoder.
fn translator(sandbox: &Sandbox) {
    let cached = "part = \"decoder\"\nsequence = [1, 4]\nencoder-sequence = 32\ncontext = 24\n";
    let components = [
        ("encoder", T5, "sequence = [16, 32]\ntarget = \"iOS17\""),
        ("whole", T5, "part = \"decoder\"\nsequence = 24\nencoder-sequence = 32\ntarget = \"iOS17\""),
        ("state", T5, &format!("{cached}cache = \"state\"\ntarget = \"iOS18\"")),
        ("inputs", T5, &format!("{cached}cache = \"inputs\"\ntarget = \"iOS16\"")),
        ("cross", T5, "sequence = 32\ntarget = \"iOS16\""),
    ];
    build(sandbox, "t5", &components, &["t5/v10_tied/tokenizer.json"]);
}

#[test]
fn every_decoder_generates_the_same_text() {
    let sandbox = Sandbox::new();
    translator(&sandbox);
    let text = ["run", "t5", "--text", "the weather is nice", "--max-tokens", "12", "--json"];
    let document = sandbox.succeed(&text).json("mlreg/cli/run/1");
    assert_eq!(document["bundles"].as_array().unwrap().len(), 2, "{document}");
    let ids = document["texts"][0]["ids"].as_array().unwrap().clone();
    assert!(!ids.is_empty() && ids.len() <= 12, "{document}");
    for glob in ["{encoder,whole}-*", "{encoder,state}-s*", "{encoder,inputs,cross}-*", "{encoder,state}-s{16,32,4}*"] {
        let other = sandbox.succeed(&[&text[..], &["--variant", glob]].concat()).json("mlreg/cli/run/1");
        assert_eq!(other["texts"][0]["ids"], document["texts"][0]["ids"], "{glob}");
    }
    let plain = sandbox.succeed(&text[..text.len() - 1]);
    assert_eq!(plain.stdout, format!("{}\n", document["texts"][0]["output"].as_str().unwrap()));
}

/// What `fixtures/t5/make_beams.py` found with transformers.
#[derive(serde::Deserialize)]
struct Beams {
    most_tokens: usize,
    cases: Vec<BeamCase>,
}

#[derive(Debug, serde::Deserialize)]
struct BeamCase {
    end: u32,
    text: String,
    beams: usize,
    ids: Vec<u32>,
    ended: bool,
}

/// A copy of a checkpoint whose texts end with another token.
fn ending_with(sandbox: &Sandbox, checkpoint: &str, end: u32) -> String {
    let folder = sandbox.path(&format!("end-{end}"));
    fs::create_dir(&folder).unwrap();
    fs::copy(fixture(&format!("{checkpoint}/model.safetensors")), folder.join("model.safetensors")).unwrap();
    let config = fs::read_to_string(fixture(&format!("{checkpoint}/config.json"))).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["eos_token_id"] = end.into();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder.display().to_string()
}

fn beams_are_those_of_transformers(checkpoint: &str) {
    let sandbox = Sandbox::new();
    let golden: Beams =
        serde_json::from_str(&fs::read_to_string(fixture(&format!("{checkpoint}/beams.json"))).unwrap()).unwrap();
    let ends: std::collections::BTreeSet<u32> = golden.cases.iter().map(|case| case.end).collect();
    assert!(golden.cases.iter().any(|case| case.ended), "some of them end");
    let most = golden.most_tokens.to_string();
    for end in ends {
        let folder = ending_with(&sandbox, checkpoint, end);
        let cached = "part = \"decoder\"\nsequence = 1\nencoder-sequence = 32\ncontext = 16\ncache = \"state\"\ntarget \
             = \"iOS18\"";
        let name = format!("t5-{end}");
        build(
            &sandbox,
            &name,
            &[("encoder", &folder, "sequence = 32\ntarget = \"iOS18\""), ("decoder", &folder, cached)],
            &[],
        );
        let tokenizer = fixture(&format!("{checkpoint}/tokenizer.json"));
        let of_end = || golden.cases.iter().filter(|case| case.end == end);
        for beams in of_end().map(|case| case.beams).collect::<std::collections::BTreeSet<usize>>() {
            let cases: Vec<&BeamCase> = of_end().filter(|case| case.beams == beams).collect();
            let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
            fs::write(sandbox.path("texts.txt"), texts.join("\n")).unwrap();
            let beams = beams.to_string();
            let arguments = [
                "run",
                &name,
                "--text-file",
                "texts.txt",
                "--beams",
                &beams,
                "--max-tokens",
                &most,
                "--tokenizer",
                &tokenizer,
            ];
            // States are float16; without that rounding the search is the reference's.
            let document =
                sandbox.succeed(&[&arguments[..], &["--float32", "--json"]].concat()).json("mlreg/cli/run/1");
            for (case, found) in cases.into_iter().zip(document["texts"].as_array().unwrap()) {
                let ids: Vec<u32> = serde_json::from_value(found["ids"].clone()).unwrap();
                assert_eq!((ids, found["ended"].as_bool().unwrap()), (case.ids.clone(), case.ended), "{case:?}");
            }
        }
    }
}

#[test]
fn beams_of_a_gated_t5_are_those_of_transformers() {
    beams_are_those_of_transformers("t5/overflow");
}

#[test]
fn beams_of_a_tied_t5_are_those_of_transformers() {
    beams_are_those_of_transformers("t5/v10_tied");
}

#[test]
fn lines_of_a_file_become_lines() {
    let sandbox = Sandbox::new();
    translator(&sandbox);
    fs::write(sandbox.path("lines.txt"), "the weather\n\nis nice today\n").unwrap();
    let base = ["run", "t5", "--text-file", "lines.txt", "--max-tokens", "6"];
    let lines = sandbox.succeed(&base).stdout;
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let one = sandbox.succeed(&["run", "t5", "--text", "is nice today", "--max-tokens", "6"]).stdout;
    assert_eq!(lines.lines().last(), one.lines().next());
    // One beam is greedy; chance repeats itself with its seed.
    let with = |more: &[&str]| sandbox.succeed(&[&base[..], more].concat()).stdout;
    assert_eq!(with(&["--beams", "1"]), lines);
    assert_eq!(with(&["--temperature", "0"]), lines);
    assert_eq!(with(&["--beams", "3"]).lines().count(), 3);
    let chance = |seed: &str| with(&["--temperature", "3", "--top-k", "50", "--top-p", "0.95", "--seed", seed]);
    assert_eq!(chance("1"), chance("1"));
    assert_ne!(chance("1"), chance("2"));
}

#[test]
fn a_long_text_is_cut_with_a_warning() {
    let sandbox = Sandbox::new();
    translator(&sandbox);
    let text = "the weather is nice today ".repeat(10);
    let run = sandbox.succeed(&["run", "t5", "--text", &text, "--max-tokens", "2"]);
    assert!(
        run.stderr.contains("warning: 1 of 1 texts are longer than the longest encoder takes and were cut"),
        "{run:?}"
    );
}

#[test]
fn languages_are_marked_where_the_tokenizer_has_marks() {
    let sandbox = Sandbox::new();
    let decoder = "sequence = 1\nencoder-sequence = 24\ncontext = 8\ncache = \"state\"\ntarget = \"iOS18\"";
    let components =
        [("encoder", "lingolite/tied", "sequence = 24\ntarget = \"iOS18\""), ("decoder", "lingolite/tied", decoder)];
    build(&sandbox, "lite", &components, &["lingolite/tied/translation_tokenizer.model"]);
    let text = ["run", "lite", "--text", "Hello world!", "--max-tokens", "5"];
    let refused = sandbox.run(&text);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("the tokenizer marks languages") && refused.stderr.contains("--source-language"),
        "{refused:?}"
    );
    let with = |target: &str| {
        sandbox.succeed(&[&text[..], &["--source-language", "en", "--target-language", target, "--json"]].concat())
    };
    let document = with("es").json("mlreg/cli/run/1");
    assert_eq!(document["texts"][0]["cut"], 0);
    assert!(document["texts"][0]["ids"].as_array().unwrap().len() <= 5);
    let unknown = sandbox.run(&[&text[..], &["--source-language", "en", "--target-language", "xx"]].concat());
    assert!(unknown.stderr.contains("the tokenizer has no token `<xx>`"), "{unknown:?}");
}

#[test]
fn two_sentences_are_compared() {
    let sandbox = Sandbox::new();
    build(
        &sandbox,
        "mini",
        &[("encoder", "bert/minilm", "sequence = [8, 32]\ntarget = \"iOS17\"")],
        &["bert/minilm/tokenizer.json"],
    );
    let run = |texts: &[&str]| sandbox.succeed(&[&["run", "mini"], texts].concat()).stdout;
    assert_eq!(run(&["--text", "hello world", "--text", "hello world"]), "1.0000\n");
    let other: f64 = run(&["--text", "hello world", "--text", "the weather is nice"]).trim().parse().unwrap();
    assert!(other < 0.9999, "{other}");
    assert_eq!(run(&["--text", "a", "--text", "b", "--text", "c"]).lines().count(), 3);
    let document = sandbox.succeed(&["run", "mini", "--text", "hello", "--json"]).json("mlreg/cli/run/1");
    assert_eq!(document["texts"][0]["embedding"].as_array().unwrap().len(), 48);
    assert_eq!(document["bundles"][0], "encoder-s8-float32-ios17");
}

#[test]
fn what_is_not_there_is_said() {
    let sandbox = Sandbox::new();
    build(&sandbox, "bare", &[("encoder", T5, "sequence = 8\ntarget = \"iOS17\"")], &[]);
    let bare = sandbox.run(&["run", "bare", "--text", "x"]);
    assert!(bare.stderr.contains("`bare` has no tokenizer") && bare.stderr.contains("--tokenizer"), "{bare:?}");
    let tokenizer = fixture("t5/v10_tied/spiece.model");
    let lonely = sandbox.run(&["run", "bare", "--text", "x", "--tokenizer", &tokenizer]);
    assert!(lonely.code == Some(1) && lonely.stderr.contains("`bare` has no decoder that can be run"), "{lonely:?}");
}

#[test]
fn classifiers_do_not_go_on_with_a_text() {
    let sandbox = Sandbox::new();
    build(
        &sandbox,
        "ner",
        &[("tagger", "bert/token_classifier", "sequence = 16\ntarget = \"iOS17\"")],
        &["bert/minilm/tokenizer.json"],
    );
    let run = sandbox.run(&["run", "ner", "--text", "hello"]);
    assert!(run.code == Some(1) && run.stderr.contains("`ner` has no encoder of text"), "{run:?}");
}
