//! Phi-3 and 4: queries, keys and values are rows of one tensor, gate and up of another (transformers
//! `modeling_phi3.py`).
//!
//! Published configs come with Python code of their own, whose keys stand at values that the code of transformers has
//! built in.

use super::{
    Family,
    rope::RopeRules,
    settings::{Defaults, KEYS, NO_BIASES, Settings},
};
use crate::arch::{
    ConfigKey,
    keys::{only, read},
};

const OWN: &[ConfigKey] = &[
    read("sliding_window"),
    read("layer_types"),
    read("partial_rotary_factor"),
    only("full_attn_mod", &["1"]),
    only("interpolate_factor", &["1"]),
];
/// Earlier configs call longrope `su`, and `yarn` by mistake.
const ROPE: RopeRules = RopeRules { partial: true, longrope: &["su", "yarn"], original: Some(4096) };

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    class: "Phi3ForCausalLM",
    backbone: "Phi3Model",
    keys: &[OWN, KEYS, NO_BIASES, super::kind!("phi3")],
    defaults: Defaults {
        epsilon: 1e-5,
        positions: 4096,
        key_value_heads: None,
        head_size: None,
        end: Some(32_000),
        rope: ROPE,
    },
    settings: |config, settings| Settings { fused: true, ..settings }.sliding_everywhere(config, None),
};
