//! Llama 2 and 3, and models of their shape such as SmolLM (transformers `modeling_llama.py`).

use super::{
    Family,
    settings::{Biases, Settings},
};

pub(super) const FAMILY: Family = Family {
    name: "llama",
    class: "LlamaForCausalLM",
    settings: |config| {
        let (attention, feed_forward) = (config.flag_or("attention_bias", false)?, config.flag_or("mlp_bias", false)?);
        Ok(Settings { biases: Biases { query_key_value: attention, output: attention, feed_forward }, ..Settings::read(config)? })
    },
};
