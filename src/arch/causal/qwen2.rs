//! Qwen2 and 2.5: Llama with biases of queries, keys and values (transformers `modeling_qwen2.py`).

use super::{
    Family,
    rope::USUAL,
    settings::{ALL_TURNED, Biases, Defaults, KEYS, Settings, WINDOWS},
};
use crate::arch::{ConfigKey, keys::only};

const OWN: &[ConfigKey] =
    &[only("mlp_bias", &["false"]), only("lm_head_bias", &["false"]), only("qkv_bias", &["true"])];

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    backbone: "Qwen2Model",
    keys: &[OWN, KEYS, ALL_TURNED, WINDOWS, super::kind!("qwen2")],
    defaults: Defaults {
        epsilon: 1e-6,
        positions: 32_768,
        key_value_heads: Some(32),
        head_size: None,
        end: None,
        rope: USUAL,
    },
    settings: |config, settings| {
        let biases = Biases { query_key_value: true, ..Biases::default() };
        Settings { biases, ..settings }.sliding_above(config)
    },
};
