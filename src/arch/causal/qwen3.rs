//! Qwen3: Llama with norms over the channels of every head's queries and keys (transformers `modeling_qwen3.py`).

use super::{
    Family,
    settings::{Biases, Settings},
};

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    class: "Qwen3ForCausalLM",
    settings: |config| {
        let attention = config.flag_or("attention_bias", false)?;
        let biases = Biases { query_key_value: attention, output: attention, feed_forward: false };
        let mut settings = Settings { biases, head_norms: true, ..Settings::read(config)? };
        // Heads need not add up to the width here.
        if config.get("head_dim").is_none() {
            settings.heads.size = 128;
            settings.rope = super::rope::Rope::read(config, 128)?;
        }
        settings.sliding_above(config)
    },
};
