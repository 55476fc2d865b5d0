//! EXAONE 4.0: norms behind each part and over every head; sliding layers with rotary positions between global ones
//! without (LG AI Research 2025; transformers `modeling_exaone4.py`).
//!
//! Rotary positions are everywhere where the config turns the window off with null.

use serde_json::Value as Json;

use super::{
    Family,
    rope::USUAL,
    settings::{ALL_TURNED, Defaults, KEYS, LayerKind, NO_BIASES, NormPlace, Settings},
};
use crate::arch::{ArchError, Config, ConfigKey, keys::read};

const OWN: &[ConfigKey] = &[read("sliding_window"), read("sliding_window_pattern"), read("layer_types")];
/// The window of configs that do not have the key.
const WINDOW: u64 = 4096;

pub(super) const FAMILY: Family = Family {
    name: "exaone4",
    class: "Exaone4ForCausalLM",
    backbone: "Exaone4Model",
    keys: &[OWN, KEYS, ALL_TURNED, NO_BIASES, super::kind!("exaone4")],
    defaults: Defaults {
        epsilon: 1e-5,
        positions: 2048,
        key_value_heads: Some(32),
        head_size: None,
        end: Some(2),
        rope: USUAL,
    },
    settings: |config, settings| {
        let mut settings = Settings { norms: NormPlace::Behind, head_norms: true, ..settings };
        settings.window = Settings::window(config, Some(WINDOW))?;
        let sliding = match settings.layer_types(config)? {
            Some(types) if settings.window.is_none() && types.contains(&true) => {
                return Err(config.refuse("layer_types", "full_attention alone, since `sliding_window` is null"));
            }
            Some(types) => types,
            None => pattern(config, settings.layers.len(), settings.window)?,
        };
        let has_window = settings.window.is_some();
        settings.layers =
            sliding.into_iter().map(|sliding| LayerKind { sliding, rotary: sliding || !has_window }).collect();
        Ok(settings)
    },
};

/// Sliding layers by `sliding_window_pattern`: one of so many is global, or the letters of its period.
fn pattern(config: Config<'_>, layers: usize, window: Option<u64>) -> Result<Vec<bool>, ArchError> {
    const KEY: &str = "sliding_window_pattern";
    if window.is_none() {
        return Ok(vec![false; layers]);
    }
    if let Some(Json::String(letters)) = config.get(KEY) {
        if letters.is_empty() || letters.chars().any(|letter| !"LG".contains(letter)) {
            return Err(config.refuse(KEY, "letters L and G, or a number"));
        }
        return Ok((0..layers).map(|index| letters.as_bytes()[index % letters.len()] == b'L').collect());
    }
    let period = config.count_or(KEY, 4)? as usize;
    Ok((0..layers).map(|index| !(index + 1).is_multiple_of(period)).collect())
}
