//! Mistral: Llama with a window over every layer, where the config has one (transformers `modeling_mistral.py`).

use super::{Family, settings::Settings};

pub(super) const FAMILY: Family =
    Family { name: "mistral", class: "MistralForCausalLM", settings: |config| Settings::read(config)?.sliding_everywhere(config) };
