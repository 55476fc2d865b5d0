//! Mistral: Llama with a window over every layer, unless the config turns it off with null (transformers
//! `modeling_mistral.py`).

use super::{
    Family,
    rope::USUAL,
    settings::{ALL_TURNED, Defaults, KEYS, NO_BIASES},
};
use crate::arch::{ConfigKey, keys::read};

const OWN: &[ConfigKey] = &[read("sliding_window"), read("layer_types")];
/// The window of configs that do not have the key.
const WINDOW: u64 = 4096;

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    class: "MistralForCausalLM",
    backbone: "MistralModel",
    keys: &[OWN, KEYS, ALL_TURNED, NO_BIASES, super::kind!("mistral")],
    defaults: Defaults {
        epsilon: 1e-6,
        positions: 4096 * 32,
        key_value_heads: Some(8),
        head_size: None,
        end: Some(2),
        rope: USUAL,
    },
    settings: |config, settings| settings.sliding_everywhere(config, Some(WINDOW)),
};
