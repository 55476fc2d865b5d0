//! Frequencies of rotary positions as configs describe them: `rope_theta`, `partial_rotary_factor` and a scaling (transformers'
//! `modeling_rope_utils.py`: default, linear, llama3, yarn).
//!
//! Scalings that depend on the length of the text (dynamic, longrope) are refused: leaving one out gives plausible nonsense.

use serde_json::Value as Json;

use crate::arch::{ArchError, Config, blocks::Rotary};

const KNOWN: &str = "default, linear, llama3 or yarn";

/// One frequency per pair of channels, and what cosines and sines are multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    pub frequencies: Vec<f64>,
    pub magnitude: f64,
}

impl Rope {
    /// Reads the config of a model whose heads have `size` channels.
    ///
    /// # Errors
    /// When the scaling is unknown, or a key of it is missing.
    pub(super) fn read(config: Config<'_>, size: u64) -> Result<Self, ArchError> {
        // Newer configs have all of it in one table.
        let nested = ["rope_parameters", "rope_scaling"].into_iter().find_map(|key| Some((key, config.get(key)?)));
        let empty = Json::Null;
        let scaling = Config::new(nested.map_or(&empty, |(_, table)| table));
        let theta = config.positive_or("rope_theta", scaling.positive_or("rope_theta", 10_000.0)?)?;
        let part = config.positive_or("partial_rotary_factor", scaling.positive_or("partial_rotary_factor", 1.0)?)?;
        let turned = (size as f64 * part) as u64;
        if part > 1.0 || !turned.is_multiple_of(2) {
            return Err(config.refuse("partial_rotary_factor", format!("a part of {size} channels that is even")));
        }
        let plain = Rotary::frequencies(theta, turned);
        let kind = scaling.text_or("rope_type", scaling.text_or("type", "default")?)?;
        match kind {
            "default" => Ok(Self { frequencies: plain, magnitude: 1.0 }),
            "linear" => linear(scaling, &plain),
            "llama3" => llama3(scaling, &plain),
            "yarn" => yarn(scaling, config, &plain, theta),
            _ => Err(scaling.refuse(if scaling.get("rope_type").is_some() { "rope_type" } else { "type" }, KNOWN)),
        }
    }
}

fn required(scaling: Config<'_>, key: &str) -> Result<f64, ArchError> {
    if scaling.get(key).is_none() {
        return Err(scaling.refuse(key, "a number above 0"));
    }
    scaling.positive_or(key, 1.0)
}

fn linear(scaling: Config<'_>, plain: &[f64]) -> Result<Rope, ArchError> {
    let factor = required(scaling, "factor")?;
    Ok(Rope { frequencies: plain.iter().map(|f| f / factor).collect(), magnitude: 1.0 })
}

/// Waves longer than the old context are stretched, short ones are kept, those between are mixed.
fn llama3(scaling: Config<'_>, plain: &[f64]) -> Result<Rope, ArchError> {
    let factor = required(scaling, "factor")?;
    let (low, high) = (required(scaling, "low_freq_factor")?, required(scaling, "high_freq_factor")?);
    let old = required(scaling, "original_max_position_embeddings")?;
    let scaled = |f: &f64| {
        let length = std::f64::consts::TAU / f;
        if length < old / high {
            *f
        } else if length > old / low {
            f / factor
        } else {
            let smooth = (old / length - low) / (high - low);
            (1.0 - smooth) * f / factor + smooth * f
        }
    };
    Ok(Rope { frequencies: plain.iter().map(scaled).collect(), magnitude: 1.0 })
}

/// YaRN (Peng et al. 2023, arXiv 2309.00071).
fn yarn(scaling: Config<'_>, config: Config<'_>, plain: &[f64], theta: f64) -> Result<Rope, ArchError> {
    let factor = required(scaling, "factor")?;
    let (fast, slow) = (scaling.positive_or("beta_fast", 32.0)?, scaling.positive_or("beta_slow", 1.0)?);
    let old = match scaling.get("original_max_position_embeddings") {
        Some(_) => scaling.count("original_max_position_embeddings")?,
        None => config.count("max_position_embeddings")?,
    } as f64;
    let size = 2.0 * plain.len() as f64;
    let rotations = |turns: f64| size * libm::log(old / (std::f64::consts::TAU * turns)) / (2.0 * libm::log(theta));
    let (mut low, mut high) = (rotations(fast), rotations(slow));
    if scaling.flag_or("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(size - 1.0));
    if low == high {
        high += 0.001;
    }
    let mixed = |(index, f): (usize, &f64)| {
        let ramp = ((index as f64 - low) / (high - low)).clamp(0.0, 1.0);
        f / factor * ramp + f * (1.0 - ramp)
    };
    let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * libm::log(factor) + 1.0 };
    let magnitude = match (scaling.get("attention_factor"), scaling.get("mscale"), scaling.get("mscale_all_dim")) {
        (Some(_), ..) => scaling.positive_or("attention_factor", 1.0)?,
        (None, Some(_), Some(_)) => scale(required(scaling, "mscale")?) / scale(required(scaling, "mscale_all_dim")?),
        _ => scale(1.0),
    };
    Ok(Rope { frequencies: plain.iter().enumerate().map(mixed).collect(), magnitude })
}
