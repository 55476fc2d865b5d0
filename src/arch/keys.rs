//! What families do with the keys of `config.json`: one table per family, and one that all share.
//!
//! Every key is read, allowed at some values only, known to change no number of a converted model (with the reason), or
//! refused by name. The shared table holds the keys of transformers' `PretrainedConfig` (4.57) and those that published
//! checkpoints carry beside them; a family's own table wins over it. `src/arch/CONFIG_KEYS.md` lists them all.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::Value as Json;

use super::{ArchError, Quantization, error::UnknownKey};
use crate::base::nearest;

/// A key of `config.json`.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// Its name; with `*` at its end, every name that starts so.
    pub name: &'static str,
    /// What a family does with it.
    pub rule: KeyRule,
}

/// What a family does with a key of `config.json`.
#[derive(Debug, Clone, Copy)]
pub enum KeyRule {
    /// It is read, and bad values are refused where it is.
    Read,
    /// Any value but these is refused, since the model would compute something else. Written as JSON; null is always
    /// allowed.
    Only(&'static [&'static str]),
    /// It changes no number of a converted model; says why.
    Irrelevant(&'static str),
    /// It says how the weights are stored, which is settled before a tensor is read.
    Storage,
}

/// The tables of a family.
pub type Tables = &'static [&'static [ConfigKey]];

/// A key that the family reads.
pub(super) const fn read(name: &'static str) -> ConfigKey {
    ConfigKey { name, rule: KeyRule::Read }
}

/// A key that is refused unless it has one of `values`, which are written as JSON.
pub(super) const fn only(name: &'static str, values: &'static [&'static str]) -> ConfigKey {
    ConfigKey { name, rule: KeyRule::Only(values) }
}

/// A key that changes no number, and why.
pub(super) const fn irrelevant(name: &'static str, why: &'static str) -> ConfigKey {
    ConfigKey { name, rule: KeyRule::Irrelevant(why) }
}

const fn storage(name: &'static str) -> ConfigKey {
    ConfigKey { name, rule: KeyRule::Storage }
}

const PROVENANCE: &str = "says where the checkpoint is from";
const TRAINING: &str = "matters in training only";
const RUNTIME: &str = "says how a runtime computes the same numbers";
const OUTPUTS: &str = "says what Python gives back";
const TOKENS: &str = "belongs to the tokenizer";
const GENERATION: &str = "a default of text generation, outside the model";
const LABELS: &str = "belongs to a head, whose tensors are accounted for by themselves";

/// Key of configs whose weights nobody trained; its text says what they are.
pub const STAND_IN: &str = "_mlreg_stand_in";

/// Key that names the family.
const KIND: &str = "model_type";

/// The keys that mean the same for every family, unless its own table says otherwise.
pub const COMMON_KEYS: &[ConfigKey] = &[
    read("architectures"),
    read("model_type"),
    storage("quantization_config"),
    storage("quantization"),
    storage("compression_config"),
    only("is_encoder_decoder", &["false"]),
    only("is_decoder", &["false"]),
    only("add_cross_attention", &["false"]),
    only("cross_attention_hidden_size", &[]),
    only("tie_encoder_decoder", &["false"]),
    only("pruned_heads", &["{}"]),
    only("adapters", &["{}"]),
    irrelevant("chunk_size_feed_forward", RUNTIME),
    irrelevant("dtype", "every tensor says its own type"),
    irrelevant("torch_dtype", "every tensor says its own type"),
    irrelevant("use_bfloat16", "every tensor says its own type"),
    irrelevant("name_or_path", PROVENANCE),
    irrelevant("_name_or_path", PROVENANCE),
    irrelevant("_model_name_or_path", PROVENANCE),
    irrelevant("_commit_hash", PROVENANCE),
    irrelevant("_note", PROVENANCE),
    irrelevant(STAND_IN, "says that nobody trained the weights, which `build` and `run` repeat"),
    irrelevant("_diffusers_version", PROVENANCE),
    irrelevant("transformers_version", PROVENANCE),
    irrelevant("model_name", PROVENANCE),
    irrelevant("unsloth_*", PROVENANCE),
    irrelevant("auto_map", "names Python code, which is not run"),
    irrelevant("custom_pipelines", "names Python code, which is not run"),
    irrelevant("transformers.js_config", "belongs to another runtime"),
    irrelevant("neuron", "belongs to another runtime"),
    irrelevant("onnx*", "belongs to another runtime"),
    irrelevant("export_model_type", "belongs to another runtime"),
    irrelevant("torchscript", RUNTIME),
    irrelevant("tf_legacy_loss", RUNTIME),
    irrelevant("use_cache", "the component's `cache` says whether there is one"),
    irrelevant("cache_implementation", "the component's `cache` says whether there is one"),
    irrelevant("attn_implementation", RUNTIME),
    irrelevant("_attn_implementation", RUNTIME),
    irrelevant("_attn_implementation_autoset", RUNTIME),
    irrelevant("_experts_implementation", RUNTIME),
    irrelevant("attention_implementation", RUNTIME),
    irrelevant("_flash_attn_2_enabled", RUNTIME),
    irrelevant("use_flash_attn", RUNTIME),
    irrelevant("use_flash_attention", RUNTIME),
    irrelevant("use_flash_attention_2", RUNTIME),
    irrelevant("use_memory_efficient_attention", RUNTIME),
    irrelevant("use_xformers", RUNTIME),
    irrelevant("unpad_inputs", RUNTIME),
    irrelevant("base_model_tp_plan", RUNTIME),
    irrelevant("pretraining_tp", "splits products, whose sums stay the same"),
    irrelevant("output_hidden_states", OUTPUTS),
    irrelevant("output_attentions", OUTPUTS),
    irrelevant("output_past", OUTPUTS),
    irrelevant("output_scores", OUTPUTS),
    irrelevant("return_dict", OUTPUTS),
    irrelevant("return_dict_in_generate", OUTPUTS),
    irrelevant("gradient_checkpointing", TRAINING),
    irrelevant("initializer_range", TRAINING),
    irrelevant("initializer_factor", TRAINING),
    irrelevant("attention_dropout", TRAINING),
    irrelevant("attention_probs_dropout_prob", TRAINING),
    irrelevant("attn_pdrop", TRAINING),
    irrelevant("classifier_dropout", TRAINING),
    irrelevant("dropout", TRAINING),
    irrelevant("dropout_rate", TRAINING),
    irrelevant("embd_pdrop", TRAINING),
    irrelevant("hidden_dropout", TRAINING),
    irrelevant("hidden_dropout_prob", TRAINING),
    irrelevant("resid_pdrop", TRAINING),
    irrelevant("layerdrop", TRAINING),
    irrelevant("problem_type", TRAINING),
    irrelevant("finetuning_task", TRAINING),
    irrelevant("keys_to_ignore_at_inference", TRAINING),
    irrelevant("id2label", LABELS),
    irrelevant("label2id", LABELS),
    irrelevant("num_labels", LABELS),
    irrelevant("_num_labels", LABELS),
    irrelevant("tokenizer_class", TOKENS),
    irrelevant("prefix", TOKENS),
    irrelevant("model_max_length", TOKENS),
    irrelevant("bos_token_id", TOKENS),
    irrelevant("cls_token_id", TOKENS),
    irrelevant("decoder_start_token_id", TOKENS),
    irrelevant("eos_token_id", TOKENS),
    irrelevant("mask_token_id", TOKENS),
    irrelevant("pad_token_id", "padding is masked"),
    irrelevant("sep_token_id", TOKENS),
    irrelevant("unk_token_id", TOKENS),
    irrelevant("task_specific_params", GENERATION),
    irrelevant("bad_words_ids", GENERATION),
    irrelevant("begin_suppress_tokens", GENERATION),
    irrelevant("diversity_penalty", GENERATION),
    irrelevant("do_sample", GENERATION),
    irrelevant("early_stopping", GENERATION),
    irrelevant("encoder_no_repeat_ngram_size", GENERATION),
    irrelevant("exponential_decay_length_penalty", GENERATION),
    irrelevant("forced_bos_token_id", GENERATION),
    irrelevant("forced_eos_token_id", GENERATION),
    irrelevant("generation_config", GENERATION),
    irrelevant("length_penalty", GENERATION),
    irrelevant("max_length", GENERATION),
    irrelevant("max_new_tokens", GENERATION),
    irrelevant("min_length", GENERATION),
    irrelevant("no_repeat_ngram_size", GENERATION),
    irrelevant("num_beam_groups", GENERATION),
    irrelevant("num_beams", GENERATION),
    irrelevant("num_return_sequences", GENERATION),
    irrelevant("remove_invalid_values", GENERATION),
    irrelevant("repetition_penalty", GENERATION),
    irrelevant("suppress_tokens", GENERATION),
    irrelevant("temperature", GENERATION),
    irrelevant("top_k", GENERATION),
    irrelevant("top_p", GENERATION),
    irrelevant("typical_p", GENERATION),
];

/// The rule of a key: that of its own name before one of a name with `*`, the family's before the shared one.
fn rule(tables: Tables, name: &str) -> Option<KeyRule> {
    let keys = || tables.iter().copied().chain([COMMON_KEYS]).flatten();
    let starts = |key: &&ConfigKey| key.name.strip_suffix('*').is_some_and(|start| name.starts_with(start));
    keys().find(|key| key.name == name).or_else(|| keys().find(starts)).map(|key| key.rule)
}

/// Whether a family may read the key.
pub(super) fn is_readable(tables: Tables, name: &str) -> bool {
    matches!(rule(tables, name), Some(KeyRule::Read | KeyRule::Only(_)))
}

/// Checks every key of `config.json` against the tables of `family`, except for those that the component ignores.
///
/// # Errors
/// When keys are unknown, hold a value that the family cannot honour, say that the weights are quantized, or cannot be
/// ignored.
pub(super) fn account(
    config: &Json,
    family: &'static str,
    tables: Tables,
    ignored: &BTreeSet<String>,
) -> Result<(), ArchError> {
    let Some(object) = config.as_object() else {
        return Err(ArchError::Document {
            document: "config.json".to_owned(),
            expected: "an object".to_owned(),
            found: shown(config),
        });
    };
    for name in ignored {
        let why = match (object.contains_key(name), rule(tables, name)) {
            (false, _) => Cow::Borrowed("config.json does not have it"),
            (true, Some(KeyRule::Read)) => Cow::Owned(format!("`{family}` reads it")),
            (true, _) if name == KIND => Cow::Borrowed("it says which family the weights are of"),
            _ => continue,
        };
        let near = nearest(name, object.keys().map(String::as_str), 3)
            .into_iter()
            .filter(|near| near != name)
            .map(str::to_owned);
        return Err(ArchError::CannotIgnore { key: name.clone(), why, near: near.collect() });
    }
    let kept = || object.iter().filter(|(name, _)| !ignored.contains(name.as_str()));
    if let Some(quantization) = Quantization::of(config).filter(|it| !it.is_read() && !ignored.contains(it.key)) {
        return Err(ArchError::Quantized { quantization });
    }
    let mut unknown = Vec::new();
    for (name, value) in kept().filter(|(_, value)| !value.is_null()) {
        match rule(tables, name) {
            Some(KeyRule::Only(values)) if !values.iter().any(|allowed| is(value, allowed)) => {
                let expected = if values.is_empty() { "none".to_owned() } else { values.join(" or ") };
                return Err(ArchError::RefusedKey { family, key: name.clone(), found: shown(value), expected });
            }
            None if !is_empty(value) => {
                let known = tables.iter().copied().flatten().chain(COMMON_KEYS).map(|key| key.name);
                let near = nearest(name, known, 1).first().map(|name| (*name).to_owned());
                unknown.push(UnknownKey { name: name.clone(), found: shown(value), near });
            }
            _ => {}
        }
    }
    unknown.sort_by(|a, b| a.name.cmp(&b.name));
    if unknown.is_empty() { Ok(()) } else { Err(ArchError::UnknownKeys { family, keys: unknown }) }
}

/// Whether a value asks for nothing: what switches and lists of features look like that are off.
fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Whether `value` is what `literal` says in JSON; 1 and 1.0 are equal.
fn is(value: &Json, literal: &str) -> bool {
    let literal: Json = serde_json::from_str(literal).unwrap_or_default();
    match (value.as_f64(), literal.as_f64()) {
        (Some(value), Some(literal)) => value == literal,
        _ => *value == literal,
    }
}

/// A value for a message: its start, where it is long.
pub(super) fn shown(value: &Json) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};

    use serde_json::json;

    use super::*;
    use crate::arch::{self, ARCHITECTURES, Architecture, Config, Documents};

    thread_local! {
        static READ: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// Remembers that a family read a key.
    pub(in crate::arch) fn record(key: &str) {
        READ.with_borrow_mut(|read| _ = read.insert(key.to_owned()));
    }

    /// The keys that the current thread read since it asked last.
    pub(in crate::arch) fn recorded() -> BTreeSet<String> {
        READ.take()
    }

    fn llama() -> &'static dyn Architecture {
        arch::find("llama").unwrap()
    }

    fn documents(config: Json, ignored: &[&str]) -> Documents {
        Documents {
            config: Some(config),
            ignored: ignored.iter().map(|key| (*key).to_owned()).collect(),
            ..Documents::default()
        }
    }

    fn refusal(config: Json, ignored: &[&str]) -> (String, String) {
        let documents = documents(config, ignored);
        let error = Config::of(&documents, llama()).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    }

    /// Whether the file describes a module of sentence-transformers, whose folder is called by its place and kind.
    fn is_module(path: &Path) -> bool {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        folder.split_once('_').is_some_and(|(place, _)| place.parse::<u8>().is_ok())
    }

    /// Every `config.json` of a model below `folder`.
    fn configs(folder: &Path, found: &mut Vec<(String, Json)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                configs(&path, found);
            } else if path.file_name().is_some_and(|name| name == "config.json") && !is_module(&path) {
                found.push((path.display().to_string(), serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()));
            }
        }
    }

    #[test]
    fn the_keys_of_every_fixture_are_known() {
        let mut found = Vec::new();
        configs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), &mut found);
        assert!(found.len() > 15, "{}", found.len());
        for (path, config) in found {
            let architecture = arch::detect(Some(&config)).unwrap_or_else(|error| panic!("{path}: {error}"));
            let documents = documents(config, &[]);
            Config::of(&documents, architecture).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }

    #[test]
    fn tables_name_no_key_twice() {
        let mut tables: Vec<(&str, Vec<&ConfigKey>)> =
            ARCHITECTURES.iter().map(|it| (it.name(), it.config_keys().iter().copied().flatten().collect())).collect();
        tables.push(("all", COMMON_KEYS.iter().collect()));
        for (family, keys) in tables {
            let mut seen = BTreeMap::new();
            for key in keys {
                assert!(seen.insert(key.name, key).is_none(), "{family}: `{}` twice", key.name);
                if let KeyRule::Only(values) = key.rule {
                    values.iter().for_each(|value| _ = serde_json::from_str::<Json>(value).unwrap());
                }
            }
            assert!(
                family == "all" || seen.contains_key("model_type") || seen.contains_key("_class_name"),
                "{family} names its kind"
            );
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let (text, hint) = refusal(json!({ "model_type": "llama", "foo": 3, "bar": { "baz": true } }), &[]);
        assert_eq!(
            text,
            "config.json: `bar` is {\"baz\":true} and `foo` is 3, which mlreg does not know how to honour for `llama`"
        );
        assert_eq!(
            hint,
            "if it changes no number of the model, add ignore-config = [\"bar\", \"foo\"] to the component"
        );
        let (_, hint) = refusal(json!({ "attention_bais": true }), &[]);
        assert!(hint.starts_with("`attention_bais` may be meant to be `attention_bias`; "), "{hint}");
        let off = json!({ "a": null, "b": false, "c": "", "d": [], "e": {}, "unsloth_version": "2025.1" });
        Config::of(&documents(off, &[]), llama()).unwrap();
        assert!(refusal(json!([1]), &[]).0.contains("expected an object"));
    }

    #[test]
    fn values_that_cannot_be_honoured_are_refused() {
        let (text, hint) = refusal(json!({ "is_encoder_decoder": true }), &[]);
        assert_eq!(text, "config.json: `is_encoder_decoder` is true, expected false for `llama`");
        assert!(hint.contains("ignore-config = [\"is_encoder_decoder\"]"), "{hint}");
        for (key, value) in [
            ("model_type", json!("mixtral")),
            ("rope_interleaved", json!(true)),
            ("is_causal", json!(false)),
            ("pruned_heads", json!({ "0": [1] })),
            ("partial_rotary_factor", json!(0.5)),
            ("cross_attention_hidden_size", json!(8)),
        ] {
            assert!(refusal(json!({ key: value }), &[]).0.starts_with(&format!("config.json: `{key}` is ")), "{key}");
        }
        for (key, value) in
            [("partial_rotary_factor", json!(1)), ("partial_rotary_factor", json!(1.0)), ("model_type", json!(null))]
        {
            Config::of(&documents(json!({ key: value }), &[]), llama()).unwrap();
        }
    }

    #[test]
    fn components_ignore_keys_by_name() {
        let config = || json!({ "foo": 3, "rope_interleaved": true, "hidden_size": 8, "mlp_bias": null });
        let documents = documents(config(), &["foo", "rope_interleaved"]);
        let config_of = Config::of(&documents, llama()).unwrap();
        assert_eq!(config_of.count("hidden_size").unwrap(), 8);
        assert!(config_of.get("rope_interleaved").is_none());
        assert!(config_of.is_null("mlp_bias") && !config_of.is_null("hidden_size"));
        let (text, _) = refusal(config(), &["hidden_size"]);
        assert_eq!(text, "`ignore-config` cannot name `hidden_size`: `llama` reads it");
        let (text, _) = refusal(json!({ "model_type": "mixtral" }), &["model_type"]);
        assert_eq!(text, "`ignore-config` cannot name `model_type`: it says which family the weights are of");
        let (text, hint) = refusal(config(), &["fooo"]);
        assert_eq!(text, "`ignore-config` cannot name `fooo`: config.json does not have it");
        assert_eq!(hint, "did you mean `foo`?");
    }
}
