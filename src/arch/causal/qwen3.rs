//! Qwen3: Llama with norms over the channels of every head's queries and keys (transformers `modeling_qwen3.py`).

use super::{
    Family,
    rope::USUAL,
    settings::{ALL_TURNED, Biases, Defaults, KEYS, Settings, WINDOWS},
};
use crate::arch::{
    ConfigKey,
    keys::{only, read},
};

const OWN: &[ConfigKey] = &[read("attention_bias"), only("mlp_bias", &["false"]), only("lm_head_bias", &["false"])];

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    backbone: "Qwen3Model",
    keys: &[OWN, KEYS, ALL_TURNED, WINDOWS, super::kind!("qwen3")],
    // Heads need not add up to the width here.
    defaults: Defaults {
        epsilon: 1e-6,
        positions: 32_768,
        key_value_heads: Some(32),
        head_size: Some(128),
        end: None,
        rope: USUAL,
    },
    settings: |config, settings| {
        let attention = config.flag_or("attention_bias", false)?;
        let biases = Biases { query_key_value: attention, output: attention, feed_forward: false };
        Settings { biases, head_norms: true, ..settings }.sliding_above(config)
    },
};
