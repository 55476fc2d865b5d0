//! EXAONE 4.0: norms behind each part and over every head; sliding layers with rotary positions between global ones without (LG AI Research
//! 2025; transformers `modeling_exaone4.py`).
//!
//! Rotary positions are everywhere where the config has no window.

use serde_json::Value as Json;

use super::{
    Family,
    settings::{LayerKind, NormPlace, Settings},
};
use crate::arch::{ArchError, Config};

pub(super) const FAMILY: Family = Family {
    name: "exaone4",
    class: "Exaone4ForCausalLM",
    settings: |config| {
        let mut settings = Settings { norms: NormPlace::Behind, head_norms: true, ..Settings::read(config)? };
        settings.window = config.get("sliding_window").map(|_| config.count("sliding_window")).transpose()?;
        let sliding = match settings.layer_types(config)? {
            Some(types) => types,
            None => pattern(config, settings.layers.len(), settings.window)?,
        };
        let has_window = settings.window.is_some();
        let kind = |sliding: bool| LayerKind { sliding: sliding && has_window, rotary: sliding || !has_window };
        settings.layers = sliding.into_iter().map(kind).collect();
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
