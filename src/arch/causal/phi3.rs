//! Phi-3 and 4: queries, keys and values are rows of one tensor, gate and up of another (transformers `modeling_phi3.py`).

use super::{Family, settings::Settings};

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    class: "Phi3ForCausalLM",
    settings: |config| Settings { fused: true, ..Settings::read(config)? }.sliding_everywhere(config),
};
