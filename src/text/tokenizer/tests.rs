use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn probes(folder: &str) -> Vec<(String, Vec<u32>)> {
    let text = fs::read_to_string(fixture(folder).join("golden_tokens.json")).unwrap();
    let probes: Vec<Json> = serde_json::from_str(&text).unwrap();
    let ids = |probe: &Json| probe["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    probes.iter().map(|probe| (probe["text"].as_str().unwrap().to_owned(), ids(probe))).collect()
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn sentencepiece_models_give_the_tokens_of_their_library() {
    for file in ["t5/v10_tied/tokenizer.json", "t5/v10_tied/spiece.model", "t5/overflow/spiece.model"] {
        let tokenizer = Tokenizer::open(&fixture(file)).unwrap();
        for (text, ids) in probes(file.rsplit_once('/').unwrap().0) {
            assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{text} by {file}");
        }
    }
}

#[test]
fn normalizing_tables_are_taken_over() {
    let tokenizer = Tokenizer::open(&fixture("lingolite/tied/translation_tokenizer.model")).unwrap();
    for (text, ids) in probes("lingolite/tied") {
        let own = tokenizer.encode(&text, false).unwrap();
        assert_eq!(own, ids[2..ids.len() - 3], "{text}");
    }
    let text = "Translate English to German: the weather is nice today.";
    let back = tokenizer.decode(&tokenizer.encode(text, true).unwrap()).unwrap();
    assert_eq!(back.to_lowercase().replace('\u{2047}', ""), text.to_lowercase());
}

#[test]
fn padding_is_not_the_tokenizers_business() {
    let text = fs::read_to_string(fixture("t5/v10_tied/tokenizer.json")).unwrap();
    let mut document: Json = serde_json::from_str(&text).unwrap();
    document["padding"] = serde_json::json!({
        "strategy": { "Fixed": 40 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
    });
    document["truncation"] =
        serde_json::json!({ "max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right" });
    let folder = folder(&[("tokenizer.json", document.to_string().as_bytes())]);
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let (text, ids) = probes("t5/v10_tied").remove(0);
    assert_eq!(tokenizer.encode(&text, true).unwrap(), ids);
}

#[test]
fn flags_of_a_class_outrank_its_document() {
    let document = fs::read(fixture("t5/v10_tied/tokenizer.json")).unwrap();
    let ids = |config: &str| {
        let folder = folder(&[("tokenizer.json", &document), ("tokenizer_config.json", config.as_bytes())]);
        Tokenizer::open(folder.path()).map(|tokenizer| tokenizer.encode("the", true).unwrap())
    };
    let own = ids("{}").unwrap();
    let (end, plain) = own.split_last().unwrap();
    let class = r#""tokenizer_class": "LlamaTokenizer", "bos_token": "<pad>""#;
    assert_eq!(ids(&format!("{{{class}}}")).unwrap(), [&[0], plain].concat());
    assert_eq!(
        ids(&format!(r#"{{{class}, "add_bos_token": false, "add_eos_token": true}}"#)).unwrap(),
        [plain, &[*end]].concat()
    );
    assert_eq!(ids(r#"{"tokenizer_class": "T5TokenizerFast", "add_eos_token": false}"#).unwrap(), own);
    assert!(ids(r#"{"tokenizer_class": "LlamaTokenizer", "bos_token": "<none>"}"#).is_err());
}

/// What `fixtures/tokenizers/make.py` writes: texts, their tokens with and without special ones, and the text of those.
#[derive(serde::Deserialize)]
struct Probe {
    text: String,
    ids: Vec<u32>,
    plain: Vec<u32>,
    back: Option<String>,
}

#[test]
fn files_of_older_checkpoints_give_the_tokens_of_transformers() {
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut folders: Vec<PathBuf> =
        fs::read_dir(fixture("tokenizers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders.into_iter().filter(|path| path.is_dir()) {
        let probes: Vec<Probe> =
            serde_json::from_str(&fs::read_to_string(folder.join("golden.json")).unwrap()).unwrap();
        let tokenizer = Tokenizer::open(&folder).unwrap_or_else(|error| panic!("{}: {error:?}", folder.display()));
        for Probe { text, ids, plain, back } in probes {
            count += 1;
            let found = [true, false].map(|special| tokenizer.encode(&text, special).unwrap());
            let name = folder.file_name().unwrap().to_string_lossy();
            if found != [ids.clone(), plain.clone()] {
                wrong.push(format!(
                    "{name}: {text:?}\n  expected {ids:?} {plain:?}\n  found    {:?} {:?}",
                    found[0], found[1]
                ));
            }
            let own = tokenizer.decode(&plain).unwrap();
            if back.as_ref().is_some_and(|back| *back != own) {
                wrong.push(format!("{name}: {text:?}\n  back     {back:?}\n  found    {own:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 100, "{count}");
}

#[test]
fn a_named_file_is_the_tokenizer_whatever_lies_beside_it() {
    let bert = fixture("tokenizers/bert_uncased/vocab.txt");
    let (own, folder) = (Tokenizer::open(&bert).unwrap(), Tokenizer::open(bert.parent().unwrap()).unwrap());
    assert_eq!(own.encode("the fox", true).unwrap(), folder.encode("the fox", true).unwrap());
    let gpt2 = fixture("tokenizers/gpt2");
    let ids = ["", "vocab.json", "merges.txt"]
        .map(|name| Tokenizer::open(&gpt2.join(name)).unwrap().encode("the fox", true).unwrap());
    assert!(ids[0] == ids[1] && ids[1] == ids[2]);
}

#[test]
fn what_is_no_tokenizer_says_what_it_is() {
    let vocabulary = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n";
    let wrong: [(&str, &[u8], &str); 13] = [
        ("tokenizer.json", b"[]", "is no tokenizer that mlreg reads: expected a document with a key `model`"),
        ("tokenizer.json", b"{", "is no tokenizer that mlreg reads: EOF while parsing"),
        ("x.model", b"\xff\xff", "cannot make a tokenizer of"),
        ("x.model", b"", "is a text, not a tokenizer"),
        ("x.model", b"version https://git-lfs\n", "is a text, not a tokenizer"),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n", "is a vocabulary of tiktoken, not a tokenizer"),
        ("x.model", &[0x12, 2, 0x18, 2], "a sentencepiece model without pieces"),
        (
            "x.model",
            &[0x0a, 3, 0x0a, 1, b'a', 0x12, 2, 0x18, 4],
            "a sentencepiece model of kind char (4), expected unigram (1) or BPE (2)",
        ),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}", "is neither a text nor a sentencepiece model, not a tokenizer"),
        ("config.json", br#"{"model_type": "bert"}"#, "is the config of a model, not a tokenizer"),
        ("tokenizer_config.json", b"{}", "is the settings of a tokenizer, not a tokenizer"),
        ("added_tokens.json", br#"{"<a>": 1}"#, "is a table of tokens and ids, not a tokenizer"),
        ("words.txt", b"the\nfox\n", "the vocabulary has no token `[UNK]`, which is the `unk_token`"),
    ];
    for (name, bytes, expected) in wrong {
        let folder = folder(&[(name, bytes)]);
        let error = Tokenizer::open(&folder.path().join(name)).unwrap_err();
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let text = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains(expected), "{name}: {text}");
    }
    let folder = folder(&[("vocab.txt", vocabulary)]);
    assert_eq!(Tokenizer::open(folder.path()).unwrap().encode("The!", true).unwrap(), [2, 4, 1, 3]);
    let none = tempfile::tempdir().unwrap();
    assert!(matches!(Tokenizer::open(none.path()).unwrap_err(), TextError::NoTokenizer { .. }));
}

#[test]
fn classes_and_settings_that_would_be_read_wrong_are_refused_by_name() {
    let vocabulary = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n";
    let table = br#"{"a": 0, "b": 1, "<s>": 2, "</s>": 3}"#;
    let model = fs::read(fixture("t5/v10_tied/spiece.model")).unwrap();
    let text = |files: &[(&str, &[u8])]| {
        let folder = folder(files);
        let error = Tokenizer::open(folder.path()).unwrap_err();
        std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string)
    };
    let class = |class: &str| format!(r#"{{"tokenizer_class": "{class}"}}"#).into_bytes();
    for (file, bytes, name) in [
        ("vocab.txt", &vocabulary[..], "BertJapaneseTokenizer"),
        ("vocab.txt", vocabulary, "FunnelTokenizer"),
        ("x.model", &model, "AlbertTokenizerFast"),
        ("x.model", &model, "CamembertTokenizer"),
    ] {
        let found = text(&[(file, bytes), ("tokenizer_config.json", &class(name))]);
        assert!(
            found.starts_with(&format!("`tokenizer_class` is `{}`: expected one of ", name.trim_end_matches("Fast"))),
            "{found}"
        );
    }
    let pairs: [(&str, &[u8]); 2] = [("vocab.json", table), ("merges.txt", b"#version: 0.2\n")];
    let found = text(&[&pairs[..], &[("tokenizer_config.json", &class("WhisperTokenizer"))]].concat());
    assert!(found.starts_with("`tokenizer_class` is `WhisperTokenizer`"), "{found}");
    assert!(text(&pairs).starts_with("expected a `tokenizer_config.json` beside it"));
    assert!(text(&[("sentencepiece.bpe.model", &model)]).starts_with("expected a `tokenizer_config.json` beside it"));
    assert!(text(&[("vocab.json", table)]).contains("expected `merges.txt` beside it"));
    let found = text(&[("vocab.txt", vocabulary), ("tokenizer_config.json", br#"{"do_basic_tokenize": false}"#)]);
    assert_eq!(found, "`do_basic_tokenize` is `false`: expected true");
    let found = text(&[("vocab.txt", vocabulary), ("tokenizer_config.json", br#"{"never_split": ["iOS"]}"#)]);
    assert_eq!(found, "`never_split` is `iOS`: expected special tokens");
    let found = text(&[("vocab.txt", vocabulary), ("added_tokens.json", br#"{"<x>": 9}"#)]);
    assert_eq!(found, "the token `<x>` has the id 5, expected 9");
    let found = text(&[("vocab.json", br#"{"<|endoftext|>": 0}"#), ("merges.txt", b"a b c\n")]);
    assert_eq!(found, "line 1 of `merges.txt` is `a b c`: expected two tokens");
}
