//! Llama 2 and 3, and models of their shape such as SmolLM (transformers `modeling_llama.py`).

use super::{
    Family,
    rope::USUAL,
    settings::{ALL_TURNED, Biases, Defaults, KEYS, Settings},
};
use crate::arch::{
    ConfigKey,
    keys::{irrelevant, only, read},
};

const OWN: &[ConfigKey] = &[
    read("attention_bias"),
    read("mlp_bias"),
    irrelevant("is_llama_config", "SmolLM2 says with it what `model_type` says"),
    only("rope_interleaved", &["false"]),
    only("lm_head_bias", &["false"]),
];

pub(super) const FAMILY: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    backbone: "LlamaModel",
    keys: &[OWN, KEYS, ALL_TURNED, super::kind!("llama")],
    defaults: Defaults {
        epsilon: 1e-6,
        positions: 2048,
        key_value_heads: None,
        head_size: None,
        end: Some(2),
        rope: USUAL,
    },
    settings: |config, settings| {
        let (attention, feed_forward) = (config.flag_or("attention_bias", false)?, config.flag_or("mlp_bias", false)?);
        Ok(Settings { biases: Biases { query_key_value: attention, output: attention, feed_forward }, ..settings })
    },
};
