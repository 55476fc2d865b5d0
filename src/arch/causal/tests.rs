//! What families make of configs: defaults of transformers' classes, windows, rotary scalings, and what they refuse.

use serde_json::{Value as Json, json};

use super::{super::Documents, *};

const FAMILIES: [&Family; 6] = [&LLAMA, &MISTRAL, &QWEN2, &QWEN3, &PHI3, &EXAONE4];

/// A small config with `keys` besides.
fn config(keys: &Json) -> Json {
    let mut config = json!({
        "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 320,
        "num_hidden_layers": 4,
    });
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    config
}

fn settings(family: &Family, keys: &Json) -> Result<Settings, ArchError> {
    let documents = Documents { config: Some(config(keys)), ..Documents::default() };
    let config = Config::of(&documents, family)?;
    (family.settings)(config, Settings::read(config, &family.defaults)?)
}

fn refusal(family: &Family, keys: &Json) -> String {
    settings(family, keys).map(|_| ()).unwrap_err().to_string()
}

fn sliding(family: &Family, keys: &Json) -> (Option<u64>, Vec<bool>) {
    let settings = settings(family, keys).unwrap_or_else(|error| panic!("{}: {keys}: {error}", family.name));
    (settings.window, settings.layers.iter().map(|layer| layer.sliding).collect())
}

#[test]
fn absent_keys_have_the_defaults_of_the_reference_class() {
    for (family, epsilon, window, head, end) in [
        (&LLAMA, 1e-6, None, 16, Some(2)),
        (&MISTRAL, 1e-6, Some(4096), 16, Some(2)),
        (&QWEN2, 1e-6, None, 16, None),
        (&QWEN3, 1e-6, None, 128, None),
        (&PHI3, 1e-5, None, 16, Some(32_000)),
        (&EXAONE4, 1e-5, Some(4096), 16, Some(2)),
    ] {
        let settings = settings(family, &json!({})).unwrap();
        assert_eq!(
            (settings.epsilon, settings.window, settings.heads.size),
            (epsilon, window, head),
            "{}",
            family.name
        );
        assert!(!settings.tied && settings.rope.magnitude == 1.0, "{}", family.name);
        let documents = Documents { config: Some(config(&json!({}))), ..Documents::default() };
        let ends = settings::end_tokens(Config::of(&documents, family).unwrap(), None, family.defaults.end).unwrap();
        assert_eq!(ends.first().copied(), end, "{}", family.name);
    }
}

#[test]
fn null_turns_a_default_off() {
    let null = json!({ "sliding_window": null });
    assert_eq!(sliding(&MISTRAL, &null), (None, vec![false; 4]));
    assert_eq!(sliding(&EXAONE4, &null), (None, vec![false; 4]));
    assert_eq!(
        sliding(&QWEN2, &json!({ "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0 })).0,
        None
    );
    let documents = Documents { config: Some(config(&json!({ "eos_token_id": null }))), ..Documents::default() };
    assert!(settings::end_tokens(Config::of(&documents, &LLAMA).unwrap(), None, Some(2)).unwrap().is_empty());
}

#[test]
fn windows_are_where_the_family_has_them() {
    let types = json!(["sliding_attention", "full_attention", "sliding_attention", "full_attention"]);
    let alternating = vec![true, false, true, false];
    assert_eq!(sliding(&MISTRAL, &json!({ "sliding_window": 5 })), (Some(5), vec![true; 4]));
    assert_eq!(
        sliding(&QWEN3, &json!({ "sliding_window": 5, "use_sliding_window": true, "max_window_layers": 3 })).1,
        [false, false, false, true]
    );
    assert_eq!(
        sliding(&QWEN2, &json!({ "sliding_window": 5, "use_sliding_window": true, "layer_types": types })),
        (Some(5), alternating.clone())
    );
    assert_eq!(sliding(&QWEN2, &json!({ "sliding_window": 5 })), (None, vec![false; 4]));
    assert_eq!(sliding(&EXAONE4, &json!({ "sliding_window": 5, "layer_types": types })), (Some(5), alternating));
    assert_eq!(sliding(&EXAONE4, &json!({ "sliding_window": 5 })).1, [true, true, true, false]);
    for (family, keys) in [
        (&MISTRAL, json!({ "sliding_window": 5, "layer_types": types })),
        (&QWEN2, json!({ "layer_types": types })),
        (&EXAONE4, json!({ "sliding_window": null, "layer_types": types })),
    ] {
        assert!(refusal(family, &keys).starts_with("config.json: `layer_types` is "), "{}", family.name);
    }
}

#[test]
fn what_changes_numbers_is_read_or_refused() {
    for family in FAMILIES {
        for (key, value) in [
            ("logits_scaling", json!(8.0)),
            ("residual_multiplier", json!(0.2)),
            ("embedding_multiplier", json!(12.0)),
            ("attention_multiplier", json!(0.1)),
            ("final_logit_softcapping", json!(30.0)),
            ("attn_logit_softcapping", json!(50.0)),
            ("query_pre_attn_scalar", json!(256)),
            ("no_rope_layers", json!([1, 0])),
            ("scale_embedding", json!(true)),
            ("num_local_experts", json!(8)),
            ("is_causal", json!(false)),
            ("hidden_act", json!("quick_gelu")),
            ("rope_scaling", json!({ "rope_type": "mrope", "factor": 2.0 })),
            ("rope_scaling", json!({ "type": "linear", "factor": 2.0, "mscale": 3.0 })),
            ("rope_scaling", json!({ "factor": 2.0 })),
            ("rope_scaling", json!(4.0)),
            ("model_type", json!("gemma2")),
        ] {
            let error = refusal(family, &json!({ key: value }));
            assert!(error.starts_with(&format!("config.json: `{key}")), "{}: {error}", family.name);
        }
    }
    for (family, key, value) in [
        (&LLAMA, "sliding_window", json!(4096)),
        (&LLAMA, "partial_rotary_factor", json!(0.5)),
        (&QWEN2, "mlp_bias", json!(true)),
        (&MISTRAL, "attention_bias", json!(true)),
        (&PHI3, "full_attn_mod", json!(2)),
    ] {
        assert!(
            refusal(family, &json!({ key: value })).starts_with(&format!("config.json: `{key}` is ")),
            "{}",
            family.name
        );
    }
}

/// Keys that published configs of a family have beside those of its class.
#[test]
fn published_configs_are_read() {
    let keys = json!({
        "_name_or_path": "x", "architectures": ["X"], "torch_dtype": "bfloat16", "dtype": "float16", "transformers_version": "4.57.6", "use_cache": true,
        "bos_token_id": 1, "eos_token_id": [1, 2], "pad_token_id": 0, "unk_token_id": 0, "attention_dropout": 0.1, "initializer_range": 0.02,
        "pretraining_tp": 1, "unsloth_version": "2025.1", "unsloth_fixed": true, "auto_map": { "AutoConfig": "x" }, "_attn_implementation": "sdpa",
        "rope_scaling": null, "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": true, "is_decoder": true,
        "transformers.js_config": { "dtype": "q4" }, "quantization_config": null, "task_specific_params": { "a": 1 }, "max_length": 64,
    });
    for family in FAMILIES {
        settings(family, &keys).unwrap_or_else(|error| panic!("{}: {error}", family.name));
    }
    settings(&LLAMA, &json!({ "is_llama_config": true, "rope_interleaved": false, "max_sequence_length": 2048 }))
        .unwrap();
    settings(
        &QWEN2,
        &json!({ "use_mrope": false, "sliding_window": 131_072, "max_window_layers": 21, "use_sliding_window": false }),
    )
    .unwrap();
    let phi4 = json!({ "full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": false, "embd_pdrop": 0.0, "resid_pdrop": 0.0 });
    settings(&PHI3, &phi4).unwrap();
}

#[test]
fn newer_configs_have_rotary_positions_in_one_table() {
    let old = json!({ "rope_theta": 500_000.0, "rope_scaling": { "type": "linear", "factor": 4.0 } });
    let new = json!({ "rope_parameters": { "rope_theta": 500_000.0, "rope_type": "linear", "factor": 4.0 } });
    assert_eq!(settings(&LLAMA, &old).unwrap().rope, settings(&LLAMA, &new).unwrap().rope);
    let part = json!({ "rope_parameters": { "rope_type": "default", "partial_rotary_factor": 0.5 } });
    assert_eq!(settings(&PHI3, &part).unwrap().rope.frequencies(1).unwrap().len(), 4);
    assert!(refusal(&LLAMA, &part).contains("`rope_parameters.partial_rotary_factor` is 0.5, expected 1"));
    for keys in [
        json!({ "rope_theta": 10_000.0, "rope_parameters": { "rope_theta": 500_000.0 } }),
        json!({ "rope_scaling": { "rope_type": "linear", "type": "dynamic", "factor": 2.0 } }),
        json!({ "rope_scaling": { "type": "linear", "factor": 2.0 }, "rope_parameters": { "rope_type": "linear", "factor": 4.0 } }),
    ] {
        assert!(refusal(&LLAMA, &keys).starts_with("config.json: `rope_"), "{keys}");
    }
}

#[test]
fn longrope_is_settled_by_the_longest_length() {
    let lists = || json!({ "type": "longrope", "short_factor": [1, 2, 3, 4], "long_factor": [2, 4, 6, 8] });
    let keys = |scaling: Json| {
        json!({
            "partial_rotary_factor": 0.5, "max_position_embeddings": 128, "original_max_position_embeddings": 32, "rope_scaling": scaling,
        })
    };
    let rope = settings(&PHI3, &keys(lists())).unwrap().rope;
    assert!((rope.magnitude - (1.0 + 4f64.ln() / 32f64.ln()).sqrt()).abs() < 1e-12);
    let [short, long] = [32, 33].map(|length| rope.frequencies(length).unwrap().to_vec());
    assert_eq!((short[1] / 2.0, short[3] / 2.0), (long[1], long[3]));
    assert!(rope.note(32).unwrap().contains("the short list") && rope.note(33).unwrap().contains("the long list"));
    // Older names, the place of the original length, a factor of its own, and a magnitude that the config says.
    for name in ["su", "yarn"] {
        let mut scaling = lists();
        scaling["type"] = json!(name);
        assert_eq!(settings(&PHI3, &keys(scaling)).unwrap().rope, rope, "{name}");
    }
    let mut inside = keys(lists());
    inside.as_object_mut().unwrap().remove("original_max_position_embeddings");
    inside["rope_scaling"]["original_max_position_embeddings"] = json!(32);
    assert_eq!(settings(&PHI3, &inside).unwrap().rope, rope);
    inside["rope_scaling"]["factor"] = json!(16.0);
    assert!((settings(&PHI3, &inside).unwrap().rope.magnitude - (1.0 + 16f64.ln() / 32f64.ln()).sqrt()).abs() < 1e-12);
    inside["rope_scaling"]["attention_factor"] = json!(1.25);
    assert_eq!(settings(&PHI3, &inside).unwrap().rope.magnitude, 1.25);
    // One number for each turned pair.
    let mut wrong = keys(lists());
    wrong["rope_scaling"]["long_factor"] = json!([1, 2, 3]);
    let error = refusal(&PHI3, &wrong);
    assert!(
        error.starts_with("config.json: `rope_scaling.long_factor` is [1,2,3], expected a list of 4 numbers"),
        "{error}"
    );
    let llama = json!({ "max_position_embeddings": 64, "rope_scaling": { "type": "su", "short_factor": vec![1; 8], "long_factor": vec![2; 8] } });
    assert!(refusal(&LLAMA, &llama).contains("`rope_scaling.factor` is not there"));
}

#[test]
fn dynamic_scaling_changes_nothing_up_to_the_trained_length() {
    let keys = json!({ "max_position_embeddings": 64, "rope_scaling": { "type": "dynamic", "factor": 2.0 } });
    let rope = settings(&LLAMA, &keys).unwrap().rope;
    assert_eq!(rope.frequencies(64).unwrap(), settings(&LLAMA, &json!({})).unwrap().rope.frequencies(64).unwrap());
    let error = rope.frequencies(65).unwrap_err().to_string();
    assert!(error.starts_with("length 65 does not fit: "), "{error}");
}

/// Tables declare no key as read that no family reads.
#[test]
fn declared_keys_are_read() {
    use crate::arch::{KeyRule, keys::tests::recorded};
    for family in FAMILIES {
        recorded();
        let longrope =
            json!({ "type": "longrope", "factor": 2.0, "short_factor": vec![1; 8], "long_factor": vec![2; 8] });
        let keys = json!({ "use_sliding_window": true, "sliding_window": 8, "rope_scaling": longrope, "head_dim": 16 });
        for keys in [
            json!({ "sliding_window": 8, "use_sliding_window": true }),
            keys,
            json!({ "rope_scaling": longrope, "head_dim": 16 }),
        ] {
            // Families that have no window refuse the key; what they read before is recorded.
            let documents = Documents { config: Some(config(&keys)), ..Documents::default() };
            let Ok(config) = Config::of(&documents, family) else { continue };
            let settings = Settings::read(config, &family.defaults).unwrap();
            (family.settings)(config, settings).unwrap();
            settings::end_tokens(config, None, None).unwrap();
        }
        let read = recorded();
        let declared = family.keys.iter().copied().flatten().filter(|key| matches!(key.rule, KeyRule::Read));
        let never: Vec<&str> = declared.map(|key| key.name).filter(|name| !read.contains(*name)).collect();
        assert!(never.is_empty(), "{}: {never:?}", family.name);
    }
}

#[test]
fn backbones_are_of_their_family() {
    for family in FAMILIES {
        for class in [family.class, family.backbone] {
            assert!(family.detects(&json!({ "model_type": family.name, "architectures": [class] })), "{class}");
            assert!(family.detects(&json!({ "architectures": [class] })), "{class}");
        }
        let head = family.class.replace("CausalLM", "SequenceClassification");
        assert!(!family.detects(&json!({ "model_type": family.name, "architectures": [head] })), "{head}");
    }
}
