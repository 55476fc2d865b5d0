//! Scores against sacrebleu (`fixtures/scores/make.py`); quality against texts whose faults can be seen.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Numbers of sacrebleu are reproduced to this, absolutely: scores are 0 to 100.
const TOLERANCE: f64 = 1e-9;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/scores/scores.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn texts(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn strings(values: &Value) -> Vec<String> {
    serde_json::from_value(values.clone()).unwrap()
}

fn corpus(golden: &Value) -> (Vec<String>, Vec<Vec<String>>) {
    let rows = golden["corpus"].as_array().unwrap();
    rows.iter().map(|row| (row["hypothesis"].as_str().unwrap().to_owned(), strings(&row["references"]))).unzip()
}

/// The lines of a case, and which of their references it takes.
fn slice((hypotheses, references): &(Vec<String>, Vec<Vec<String>>), case: &Value) -> (Vec<String>, Vec<Vec<String>>) {
    let lines = case["first"].as_u64().unwrap() as usize..case["last"].as_u64().unwrap() as usize;
    let chosen = references[lines.clone()].iter().map(|references| match case["references"].as_str().unwrap() {
        "first" => vec![references[0].clone()],
        "ends" => vec![references[0].clone(), references[references.len() - 1].clone()],
        _ => references.clone(),
    });
    (hypotheses[lines].to_vec(), chosen.collect())
}

fn near(what: &str, found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= TOLERANCE, "{what}: {found} instead of {expected}");
}

fn smoothing(case: &Value) -> Smoothing {
    match (case["smoothing"].as_str().unwrap(), case["value"].as_f64()) {
        ("floor", Some(value)) => Smoothing::Floor(value),
        ("add-k", Some(value)) => Smoothing::AddK(value),
        (name, _) => name.parse().unwrap(),
    }
}

fn described(case: &Value) -> String {
    let mut fields = case.as_object().unwrap().clone();
    fields.retain(|key, _| !["precisions", "matches", "totals", "text"].contains(&key.as_str()));
    Value::from(fields).to_string()
}

#[test]
fn bleu_is_that_of_sacrebleu() {
    let golden = golden();
    let corpus = corpus(&golden);
    for case in golden["bleu"].as_array().unwrap() {
        let (hypotheses, references) = slice(&corpus, case);
        let options = BleuOptions {
            tokenizer: case["tokenizer"].as_str().unwrap().parse().unwrap(),
            lowercase: case["lowercase"].as_bool().unwrap(),
            smoothing: smoothing(case),
            effective_order: case["effective_order"].as_bool().unwrap(),
        };
        let found = bleu(&hypotheses, &references, &options).unwrap();
        let what = described(case);
        let json = serde_json::to_value(&found).unwrap();
        for key in ["hypothesis_length", "reference_length", "matches", "totals", "signature"] {
            assert_eq!(json[key], case[key], "{key} of {what}");
        }
        near(&format!("score of {what}"), found.score, &case["score"]);
        near(&format!("brevity penalty of {what}"), found.brevity_penalty, &case["brevity_penalty"]);
        for n in 0..MAX_ORDER {
            near(&format!("precision {n} of {what}"), found.precisions[n], &case["precisions"][n]);
        }
        assert_eq!(found.to_string(), case["text"], "{what}");
    }
}

#[test]
fn chrf_is_that_of_sacrebleu() {
    let golden = golden();
    let corpus = corpus(&golden);
    for case in golden["chrf"].as_array().unwrap() {
        let (hypotheses, references) = slice(&corpus, case);
        let number = |key: &str| case[key].as_u64().unwrap() as u8;
        let flag = |key: &str| case[key].as_bool().unwrap();
        let options = ChrfOptions {
            char_order: number("char_order"),
            word_order: number("word_order"),
            beta: number("beta"),
            lowercase: flag("lowercase"),
            whitespace: flag("whitespace"),
            eps_smoothing: flag("eps_smoothing"),
        };
        let found = chrf(&hypotheses, &references, &options).unwrap();
        let what = described(case);
        near(&what, found.score, &case["score"]);
        assert_eq!(
            (found.to_string().into(), Value::from(found.signature)),
            (case["text"].clone(), case["signature"].clone()),
            "{what}"
        );
    }
}

#[test]
fn every_line_is_scored_as_sacrebleu_does() {
    let golden = golden();
    let (hypotheses, references) = corpus(&golden);
    let bleus = [Tokenizer::V13a, Tokenizer::International].map(|tokenizer| {
        let options = BleuOptions { tokenizer, effective_order: true, ..BleuOptions::default() };
        sentence_bleu(&hypotheses, &references, &options).unwrap()
    });
    let chrfs = [
        ChrfOptions::default(),
        ChrfOptions::plus_plus(),
        ChrfOptions { eps_smoothing: true, ..ChrfOptions::plus_plus() },
    ]
    .map(|options| sentence_chrf(&hypotheses, &references, &options).unwrap());
    for (index, expected) in golden["sentences"].as_array().unwrap().iter().enumerate() {
        let scores = bleus.iter().map(|lines| lines[index].score).chain(chrfs.iter().map(|lines| lines[index].score));
        for (metric, score) in scores.enumerate() {
            near(&format!("metric {metric} of line {index}: {:?}", hypotheses[index]), score, &expected[metric]);
        }
    }
}

#[test]
fn tokens_are_those_of_sacrebleu() {
    for case in golden()["tokens"].as_array().unwrap() {
        let line = case["line"].as_str().unwrap();
        for tokenizer in Tokenizer::ALL {
            let separate = tokenizer.separate(line.trim_end_matches(is_space)).into_owned();
            let tokens: Vec<&str> = words(&separate).collect();
            assert_eq!(tokens.join(" "), case[tokenizer.name()], "{tokenizer} of {line:?}");
        }
    }
}

#[test]
fn files_are_read_as_sacrebleus_command_line_does() {
    assert_eq!(lines(""), texts(&[]));
    assert_eq!(lines("\n"), texts(&[""]), "an empty line");
    assert_eq!(lines("a \r\n\n b\u{2028}c\u{1f}"), texts(&["a", "", " b\u{2028}c"]));
    assert_eq!(lines("a\n\n"), texts(&["a", ""]));
}

#[test]
fn references_come_from_files_of_equal_length() {
    let files = vec![texts(&["a", "b"]), texts(&["c", "d"])];
    assert_eq!(by_line(files).unwrap(), [texts(&["a", "c"]), texts(&["b", "d"])]);
    assert_eq!(by_line(vec![]).unwrap(), [[""; 0]; 0]);
    let error = by_line(vec![texts(&["a"]), texts(&["b", "c"])]).unwrap_err();
    assert_eq!(error.to_string(), "reference file 2 has 2 lines, the first has 1");
}

#[test]
fn what_cannot_be_scored_is_said() {
    let (one, two) = (texts(&["a"]), texts(&["a", "b"]));
    let of = |hypotheses: &[String], references: &[Vec<String>]| {
        bleu(hypotheses, references, &BleuOptions::default()).unwrap_err()
    };
    assert_eq!(of(&[], &[]).to_string(), "there are no lines to score");
    assert_eq!(
        of(&two, std::slice::from_ref(&one)).to_string(),
        "expected 2 lines of references, one for each output, found 1"
    );
    let missing = of(&two, &[one.clone(), vec![]]);
    assert_eq!(missing.to_string(), "line 2 has no reference");
    assert!(missing.hint().is_some());
    for value in [f64::NAN, f64::INFINITY, -0.5] {
        let options = BleuOptions { smoothing: Smoothing::Floor(value), ..BleuOptions::default() };
        let error = bleu(&one, std::slice::from_ref(&one), &options).unwrap_err();
        assert!(matches!(error, ScoreError::SmoothingValue { .. }), "{error}");
    }
    let nothing = ChrfOptions { char_order: 0, ..ChrfOptions::default() };
    assert_eq!(chrf(&one, std::slice::from_ref(&one), &nothing).unwrap_err(), ScoreError::NoOrder);
    let unknown = "flores200".parse::<Tokenizer>().unwrap_err();
    assert_eq!(unknown.to_string(), "unknown tokenizer `flores200`: expected one of 13a, intl, char, zh, none");
    let unknown = "add".parse::<Smoothing>().unwrap_err();
    assert_eq!(unknown.to_string(), "unknown smoothing `add`: expected one of exp, floor, add-k, none");
    assert!(quality(&one, &two, &[], &QualityOptions::default()).is_err());
}

/// Judged by default options, without expected texts.
fn judged(pairs: &[(&str, &str)]) -> Quality {
    let (sources, outputs): (Vec<&str>, Vec<&str>) = pairs.iter().copied().unzip();
    quality(&texts(&sources), &texts(&outputs), &[], &QualityOptions::default()).unwrap()
}

#[test]
fn outputs_depend_on_their_sources() {
    let found = judged(&[
        ("Hello", "Bonjour"),
        ("Good morning", "Bonjour "),
        ("Hello", "Bonjour"),
        ("Cat", "Chat"),
        ("Dog", ""),
        ("Cow", ""),
        ("", ""),
    ]);
    assert_eq!(found.same_output, Indicator { share: 3.0 / 7.0, lines: vec![1, 2, 3] });
    assert_eq!(found.empty, Indicator { share: 2.0 / 7.0, lines: vec![5, 6] });
    let same_source = judged(&[("Hello", "Bonjour"), ("Hello", "Bonjour"), ("Cat", "Chat")]);
    assert_eq!(same_source.same_output, Indicator::default(), "the same question may get the same answer");
    let copied = judged(&[("NATO", "NATO"), ("1990", "1990"), ("a", "b")]);
    assert_eq!(copied.copied, Indicator { share: 1.0 / 3.0, lines: vec![1] });
}

#[test]
fn loops_are_found() {
    let cases = [
        ("neige late late late late conseil", Some(("late", 4))),
        ("I do not know. I do not know. I do not know. I do not know. I do", Some(("I do not know.", 4))),
        ("conseillakelakelakelakelake", Some(("lake", 5))),
        ("的的的的的的的的的的的的", Some(("的", 12))),
        ("so . . . . . .", Some((".", 6))),
        ("late late late", None),
        ("hahahaha ... 2000000 哈哈哈哈", None),
        ("that that is is that that is not is not is that it it is", None),
        ("", None),
    ];
    for (output, expected) in cases {
        let found = judged(&[("the source", output)]);
        let first = found.loops.first().map(|found| (found.unit.as_str(), found.repeats));
        assert_eq!(first, expected, "{output:?}");
        assert_eq!(found.looping.lines.len(), found.loops.len());
    }
    assert_eq!(judged(&[("no no no no", "nein nein nein nein")]).loops, [], "the source repeats too");
    let once = judged(&[("no no no no", "nein nein nein nein nein nein nein")]);
    assert_eq!(once.loops[0].repeats, 7, "more often than the source");
}

#[test]
fn scripts_are_those_of_the_expected_texts() {
    let outputs = texts(&["Это хорошо", "Das ist gut", "Это от NATO", "42!", "これは漢字 и так"]);
    let sources = texts(&["1", "2", "3", "4", "5"]);
    let expected = texts(&["Привет, мир"]);
    let found = quality(&sources, &outputs, &expected, &QualityOptions::default()).unwrap().scripts.unwrap();
    assert_eq!(found.expected, BTreeMap::from([(Script::Cyrillic, 1.0)]));
    assert_eq!(found.foreign, Indicator { share: 0.6, lines: vec![2, 3, 5] });
    let cyrillic = found.found[&Script::Cyrillic];
    assert!((cyrillic - 18.0 / 36.0).abs() < TOLERANCE, "{cyrillic}");
    assert!((found.distance - (1.0 - cyrillic)).abs() < TOLERANCE);
    assert_eq!(serde_json::to_value(&found).unwrap()["found"]["hiragana"], 3.0 / 36.0);
    assert_eq!(script_shares(["1 2 3", "…"]), BTreeMap::new());
    assert_eq!(script_shares(["ꭰ"]), BTreeMap::from([(Script::Other, 1.0)]), "Cherokee");
    let without = quality(&sources, &outputs, &[], &QualityOptions::default()).unwrap();
    assert_eq!(without.scripts, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_equals_its_reference_has_the_full_score(text in "\\PC{1,40}") {
        let (hypotheses, references) = (vec![text.clone()], vec![vec![text.clone()]]);
        let found = chrf(&hypotheses, &references, &ChrfOptions::plus_plus()).unwrap().score;
        prop_assert!((found - 100.0).abs() < TOLERANCE || words(&text).next().is_none(), "{found}");
        for tokenizer in Tokenizer::ALL {
            let options = BleuOptions { tokenizer, effective_order: true, ..BleuOptions::default() };
            let found = bleu(&hypotheses, &references, &options).unwrap();
            prop_assert!((found.score - 100.0).abs() < TOLERANCE || found.hypothesis_length == 0, "{tokenizer}: {found}");
        }
    }

    #[test]
    fn scores_are_percentages_of_any_text(hypothesis in any::<String>(), references in proptest::collection::vec(any::<String>(), 1..4)) {
        let (hypotheses, all) = (vec![hypothesis], vec![references]);
        let bleu = bleu(&hypotheses, &all, &BleuOptions::default()).unwrap().score;
        let chrf = chrf(&hypotheses, &all, &ChrfOptions { eps_smoothing: true, ..ChrfOptions::plus_plus() }).unwrap().score;
        prop_assert!((0.0..=100.0 + TOLERANCE).contains(&bleu) && (0.0..=100.0 + TOLERANCE).contains(&chrf), "{bleu} {chrf}");
        quality(&all[0], &all[0], &hypotheses, &QualityOptions::default()).unwrap();
    }
}
