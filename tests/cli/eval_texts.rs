//! `eval --source --reference`: translations of packages and files, scored. Expected numbers are those of sacrebleu
//! 2.6.0.

use std::{fs, path::Path};

use serde_json::Value;

use super::Sandbox;

const HYPOTHESES: &str =
    "The weather is nice today.\nHe said: \"hello\" to 3.5 people\nthe cat the cat the cat the cat\n";
const REFERENCES: [&str; 2] = [
    "The weather is very nice today.\nHe said \"hello\" to 3.5 people.\nThere is a cat.\n",
    "Today the weather is nice.\nHe greeted people\nA cat is there.\n",
];
/// By tokenizer.
const EXPECTED_BLEU: [(&str, f64); 4] = [
    ("13a", 42.17859534734084),
    ("intl", 42.17859534734084),
    ("char", 67.09923691102496),
    ("none", 19.314632018230064),
];
/// chrF, chrF++.
const EXPECTED_CHRF: [f64; 2] = [65.93199614677268, 64.49510044492695];

fn write(sandbox: &Sandbox, name: &str, text: &str) {
    fs::write(sandbox.path(name), text).unwrap();
}

/// A sandbox with files of translations and references.
fn files() -> Sandbox {
    let sandbox = Sandbox::new();
    write(&sandbox, "out.de", HYPOTHESES);
    write(&sandbox, "one.de", REFERENCES[0]);
    write(&sandbox, "two.de", REFERENCES[1]);
    sandbox
}

fn near(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}

#[test]
fn translations_that_are_there_are_scored_as_sacrebleu_does() {
    let sandbox = files();
    let base = ["eval", "--hypothesis", "out.de", "--reference", "one.de", "--reference", "two.de"];
    let scored = |tokenizer: &str| {
        sandbox.succeed(&[&base[..], &["--tokenize", tokenizer, "--json"]].concat()).json("mlreg/cli/eval/1")
    };
    for (tokenizer, expected) in EXPECTED_BLEU {
        let bleu = &scored(tokenizer)["systems"][0]["bleu"];
        near(&bleu["score"], expected);
        assert_eq!(bleu["signature"], format!("nrefs:2|case:mixed|eff:no|tok:{tokenizer}|smooth:exp|version:2.6.0"));
    }
    let document = scored("13a");
    let system = &document["systems"][0];
    near(&system["chrf"]["score"], EXPECTED_CHRF[0]);
    near(&system["chrf_plus_plus"]["score"], EXPECTED_CHRF[1]);
    assert_eq!((&document["lines"], &system["name"], &system["quality"]), (&3.into(), &"out.de".into(), &Value::Null));
    assert_eq!(system["translations"][1]["references"][1], "He greeted people");
    let plain = sandbox.succeed(&base).stdout;
    assert!(plain.contains("BLEU|nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = "), "{plain}");
    assert!(plain.contains("chrF2++|nrefs:2|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = "), "{plain}");
}

#[test]
fn signs_of_a_broken_model_show_where_sources_are_known() {
    let sandbox = files();
    write(&sandbox, "test.en", "a\nb\nc\n");
    let arguments = [
        "eval",
        "--hypothesis",
        "out.de",
        "--hypothesis",
        "one.de",
        "--source",
        "test.en",
        "--reference",
        "one.de",
        "--json",
    ];
    let document = sandbox.succeed(&arguments).json("mlreg/cli/eval/1");
    let [out, one] = [0, 1].map(|index| &document["systems"][index]);
    assert_eq!(out["quality"]["looping"]["lines"], serde_json::json!([3]));
    near(&one["bleu"]["score"], 100.0);
    assert_eq!(one["quality"]["looping"]["lines"], serde_json::json!([]));
    assert_eq!(out["translations"][2]["source"], "c");
}

#[test]
fn scores_that_are_too_low_end_in_3() {
    let sandbox = files();
    let run =
        |least: &str| sandbox.run(&["eval", "--hypothesis", "out.de", "--reference", "one.de", "--min-bleu", least]);
    assert_eq!(run("1").code, Some(0));
    let failed = run("99.5");
    assert_eq!(failed.code, Some(3), "{failed:?}");
    assert!(
        failed.stderr.contains("`out.de`: BLEU is") && failed.stderr.contains("at least 99.5 is asked for"),
        "{failed:?}"
    );
}

#[test]
fn thresholds_for_tensors_are_none_for_texts() {
    let sandbox = files();
    for threshold in ["--atol", "--rtol", "--min-psnr"] {
        let refused = sandbox.run(&["eval", "--hypothesis", "out.de", "--reference", "one.de", threshold, "1"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let refused = sandbox.run(&["eval", "package", "--text-file", "out.de", threshold, "1"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
}

#[test]
fn files_must_belong_together() {
    let sandbox = files();
    write(&sandbox, "short.de", "one line\n");
    let short = sandbox.run(&["eval", "--hypothesis", "out.de", "--reference", "short.de"]);
    assert_eq!(short.code, Some(1), "{short:?}");
    assert!(short.stderr.contains("expected 3 lines of references, one for each output, found 1"), "{short:?}");
    assert!(short.stderr.contains("hint: line N of every file belongs to line N of the others"), "{short:?}");
    let missing = sandbox.run(&["eval", "--hypothesis", "nothing.de", "--reference", "one.de"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("cannot read `nothing.de`"), "{missing:?}");
    for usage in [
        &["eval", "t5", "--source", "one.de"][..],
        &["eval", "t5", "--reference", "one.de"],
        &["eval", "--reference", "one.de"],
        &["eval", "t5", "--source", "out.de", "--reference", "one.de", "--golden", "g.safetensors"],
        &["eval", "t5", "--hypothesis", "out.de", "--reference", "one.de"],
        &["eval", "--hypothesis", "out.de", "--reference", "one.de", "--tokenize", "mecab"],
    ] {
        let run = sandbox.run(usage);
        assert_eq!(run.code, Some(2), "{run:?}");
    }
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name).display().to_string()
}

/// A translator in both precisions, and a tokenizer.
fn translator() -> Sandbox {
    let sandbox = Sandbox::new();
    let component = |name: &str, keys: &str| {
        let checkpoint = fixture("t5/v10_tied");
        format!(
            "[[component]]\nname = \"{name}\"\ncheckpoint = '{checkpoint}'\nprecision = [\"float16\", \
             \"float32\"]\ntarget = \"iOS18\"\n{keys}\n"
        )
    };
    let manifest = [
        "[package]\nname = \"t5\"\nversion = \"1.0.0\"\n".to_owned(),
        component("encoder", "sequence = 16"),
        component("decoder", "sequence = 1\nencoder-sequence = 16\ncontext = 24\ncache = \"state\""),
        format!("[[component]]\nname = \"tokenizer\"\nfiles = ['{}']\n", fixture("t5/v10_tied/tokenizer.json")),
    ];
    write(&sandbox, "t5.toml", &manifest.concat());
    sandbox.succeed(&["build", "t5.toml"]);
    sandbox
}

#[test]
fn every_precision_of_a_package_is_scored_beside_float32() {
    let sandbox = translator();
    write(&sandbox, "test.en", "the weather\nis nice today\nhello world\n");
    let lines = sandbox
        .succeed(&["run", "t5", "--text-file", "test.en", "--max-tokens", "8", "--variant", "*-float32-*"])
        .stdout;
    write(&sandbox, "test.de", &lines);
    let arguments =
        ["eval", "t5", "--source", "test.en", "--reference", "test.de", "--max-tokens", "8", "--report", "page.html"];
    let document = sandbox.succeed(&[&arguments[..], &["--json"]].concat()).json("mlreg/cli/eval/1");
    let [exact, half] = [0, 1].map(|index| &document["systems"][index]);
    assert_eq!([&exact["name"], &half["name"]], ["t5 float32", "t5 float16"]);
    assert_eq!(
        exact["bundles"],
        serde_json::json!(["encoder-s16-float32-ios18", "decoder-s1-e16-c24-state-float32-ios18"])
    );
    assert_eq!(half["bundles"][1], "decoder-s1-e16-c24-state-float16-ios18");
    // What float32 says is the reference here.
    near(&exact["bleu"]["score"], 100.0);
    near(&exact["chrf"]["score"], 100.0);
    assert!(exact["against_first"].is_null() && exact["tokens_per_second"].as_f64() > Some(0.0), "{exact}");
    let difference = &half["against_first"];
    near(&difference["bleu"], half["bleu"]["score"].as_f64().unwrap() - 100.0);
    assert!((0.0..=1.0).contains(&difference["same_lines"].as_f64().unwrap()), "{difference}");
    for (line, translation) in lines.lines().zip(exact["translations"].as_array().unwrap()) {
        assert_eq!(translation["output"], line.trim_end());
    }
    let page = fs::read_to_string(sandbox.path("page.html")).unwrap();
    assert!(page.contains("t5 float16") && page.contains("is nice today"), "{page}");
    // Lines are told once, and again only where float16 says something else.
    let differing = ((1.0 - difference["same_lines"].as_f64().unwrap()) * 3.0).round() as usize;
    assert_eq!(page.matches("<article").count(), 3 + differing, "{page}");
    assert!(differing > 0 || page.contains("t5 float16 gives the same lines as t5 float32: 100 %"), "{page}");
    let one = sandbox
        .succeed(&[&arguments[..8], &["--variant", "*-float16-*", "--beams", "2", "--json"]].concat())
        .json("mlreg/cli/eval/1");
    assert_eq!(one["systems"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_translate_is_said() {
    let sandbox = files();
    let checkpoint = fixture("t5/v10_tied");
    let manifest = format!(
        "[package]\nname = \"bare\"\nversion = \"1.0.0\"\n[[component]]\nname = \"encoder\"\ncheckpoint = \
         '{checkpoint}'\nsequence = 8\n\
         precision = \"float32\"\ntarget = \"iOS17\"\n"
    );
    write(&sandbox, "bare.toml", &manifest);
    sandbox.succeed(&["build", "bare.toml"]);
    let bare = sandbox.run(&["eval", "bare", "--source", "out.de", "--reference", "one.de"]);
    assert!(bare.code == Some(1) && bare.stderr.contains("`bare` has no translator"), "{bare:?}");
}
