//! Qwen2 and 2.5: Llama with biases of queries, keys and values (transformers `modeling_qwen2.py`).

use super::{
    Family,
    settings::{Biases, Settings},
};

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    settings: |config| {
        let biases = Biases { query_key_value: true, ..Biases::default() };
        Settings { biases, ..Settings::read(config)? }.sliding_above(config)
    },
};
