//! Frequencies of rotary positions as configs describe them: `rope_theta`, `partial_rotary_factor` and a scaling,
//! beside each other or in one table `rope_parameters` (transformers' `modeling_rope_utils.py`: default, linear,
//! llama3, yarn, longrope, dynamic).
//!
//! Scalings that depend on the length of a text are settled by the longest length of the component: longrope has two
//! lists of factors, dynamic changes nothing up to the length that the model was trained for and is refused beyond it,
//! where frequencies would change with every call.

use serde_json::Value as Json;

use crate::arch::{ArchError, Config, blocks::Rotary};

const KNOWN: &str = "default, linear, llama3, yarn, longrope or dynamic";
const PART: &str = "partial_rotary_factor";
const ORIGINAL: &str = "original_max_position_embeddings";
const THETA: &str = "rope_theta";

/// What tells the rotary positions of one family from another's.
#[derive(Debug)]
pub(super) struct RopeRules {
    /// Whether a part of a head's channels may be turned alone.
    pub partial: bool,
    /// Names of longrope beside its own.
    pub longrope: &'static [&'static str],
    /// `original_max_position_embeddings` of configs that do not have the key anywhere.
    pub original: Option<u64>,
}

/// The rules of most families.
pub(super) const USUAL: RopeRules = RopeRules { partial: false, longrope: &["su"], original: None };

/// One frequency per pair of channels, and what cosines and sines are multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    frequencies: Vec<f64>,
    /// What cosines and sines are multiplied with.
    pub magnitude: f64,
    beyond: Beyond,
}

/// What happens when the component is longer than a length.
#[derive(Debug, Clone, PartialEq)]
enum Beyond {
    /// Nothing.
    Same,
    /// Other frequencies count.
    Other(u64, Vec<f64>),
    /// Frequencies would change with the length of every call.
    Refused(u64),
}

impl Rope {
    /// Reads the config of a model whose heads have `size` channels, and which was trained for `positions`.
    ///
    /// # Errors
    /// When the scaling is unknown, a key of it is missing or unknown, or two places contradict each other.
    pub(super) fn read(config: Config<'_>, size: u64, positions: u64, rules: &RopeRules) -> Result<Self, ArchError> {
        let empty = Json::Null;
        let scaling = table(config, &empty)?;
        let theta = either(config, scaling, THETA, 10_000.0)?;
        let part = either(config, scaling, PART, 1.0)?;
        let turned = (size as f64 * part) as u64;
        if part > 1.0 || !turned.is_multiple_of(2) || (part != 1.0 && !rules.partial) {
            let place = if scaling.get(PART).is_some() { scaling } else { config };
            let all = if rules.partial { format!("a part of {size} channels that is even") } else { "1".to_owned() };
            return Err(place.refuse(PART, all));
        }
        let plain = Rotary::frequencies(theta, turned);
        let kind = kind(scaling)?;
        let name = if rules.longrope.contains(&kind) { "longrope" } else { kind };
        let keys: &[&str] = match name {
            "default" => &[],
            "linear" | "dynamic" => &["factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor", ORIGINAL],
            "yarn" => &[
                "factor",
                "beta_fast",
                "beta_slow",
                "truncate",
                "attention_factor",
                "mscale",
                "mscale_all_dim",
                ORIGINAL,
                "finetuned",
            ],
            "longrope" => &["factor", "short_factor", "long_factor", "attention_factor", ORIGINAL],
            _ => {
                return Err(
                    scaling.refuse(if scaling.get("rope_type").is_some() { "rope_type" } else { "type" }, KNOWN)
                );
            }
        };
        let common = ["rope_type", "type", THETA, PART];
        if let Some(unknown) = scaling.names().find(|name| !keys.contains(name) && !common.contains(name)) {
            return Err(scaling.refuse(unknown, format!("no such key beside the type {kind}")));
        }
        match name {
            "linear" => linear(scaling, &plain),
            "dynamic" => {
                required(scaling, "factor")?;
                Ok(Self { frequencies: plain, magnitude: 1.0, beyond: Beyond::Refused(positions) })
            }
            "llama3" => llama3(scaling, &plain),
            "yarn" => yarn(scaling, positions, &plain, theta),
            "longrope" => longrope(config, scaling, positions, rules, &plain),
            _ => Ok(Self::same(plain, 1.0)),
        }
    }

    fn same(frequencies: Vec<f64>, magnitude: f64) -> Self {
        Self { frequencies, magnitude, beyond: Beyond::Same }
    }

    /// The frequencies for texts of up to `length` tokens.
    ///
    /// # Errors
    /// When they would change from call to call.
    pub(super) fn frequencies(&self, length: u64) -> Result<&[f64], ArchError> {
        match &self.beyond {
            Beyond::Other(original, long) if length > *original => Ok(long),
            Beyond::Refused(most) if length > *most => {
                let why = format!(
                    "its dynamic rotary scaling changes with every text of more than {most} tokens, which a fixed \
                     table cannot follow"
                );
                Err(ArchError::Form { axis: "length", found: length.to_string(), why })
            }
            _ => Ok(&self.frequencies),
        }
    }

    /// Which of two lists of factors texts of up to `length` tokens have, as a sentence.
    pub(super) fn note(&self, length: u64) -> Option<String> {
        match &self.beyond {
            Beyond::Other(original, _) if length > *original => Some(format!(
                "rotary positions have the long list of factors, for texts of up to {length} tokens; transformers \
                 takes the short list for texts \
                 of up to {original}, whose numbers differ here"
            )),
            Beyond::Other(original, _) => {
                Some(format!("rotary positions have the short list of factors, for texts of up to {original} tokens"))
            }
            Beyond::Same | Beyond::Refused(_) => None,
        }
    }
}

/// The table of a scaling; `rope_parameters` is the newer name.
fn table<'a>(config: Config<'a>, empty: &'a Json) -> Result<Config<'a>, ArchError> {
    let [new, old] = ["rope_parameters", "rope_scaling"].map(|key| config.get(key).map(|table| (key, table)));
    for (key, table) in [new, old].into_iter().flatten() {
        if !table.is_object() {
            return Err(config.refuse(key, "a table"));
        }
    }
    if let (Some((_, new)), Some((key, old))) = (new, old)
        && new != old
    {
        return Err(config.refuse(key, "what `rope_parameters` says"));
    }
    Ok(new.or(old).map_or(Config::new(empty, ""), |(key, table)| Config::new(table, key)))
}

/// A number that stands in the config or in the table of the scaling.
fn either(config: Config<'_>, scaling: Config<'_>, key: &str, default: f64) -> Result<f64, ArchError> {
    let (outside, inside) = (config.positive_or(key, default)?, scaling.positive_or(key, default)?);
    match (config.get(key), scaling.get(key)) {
        (Some(_), Some(_)) if outside != inside => {
            Err(scaling.refuse(key, format!("{outside}, which stands in config.json itself")))
        }
        (Some(_), _) => Ok(outside),
        _ => Ok(inside),
    }
}

/// The name of the scaling, which older configs have under `type`.
fn kind(scaling: Config<'_>) -> Result<&str, ArchError> {
    let (new, old) = (scaling.text_or("rope_type", "")?, scaling.text_or("type", "")?);
    match (new, old) {
        ("", "") if scaling.get("factor").is_some() => Err(scaling.refuse("rope_type", KNOWN)),
        ("", "") => Ok("default"),
        ("", kind) | (kind, "") => Ok(kind),
        (new, old) if new == old => Ok(new),
        (new, _) => Err(scaling.refuse("type", format!("{new}, which is the `rope_type` beside it"))),
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
    Ok(Rope::same(plain.iter().map(|f| f / factor).collect(), 1.0))
}

/// Waves longer than the old context are stretched, short ones are kept, those between are mixed.
fn llama3(scaling: Config<'_>, plain: &[f64]) -> Result<Rope, ArchError> {
    let factor = required(scaling, "factor")?;
    let (low, high) = (required(scaling, "low_freq_factor")?, required(scaling, "high_freq_factor")?);
    let old = required(scaling, ORIGINAL)?;
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
    Ok(Rope::same(plain.iter().map(scaled).collect(), 1.0))
}

/// YaRN (Peng et al. 2023, arXiv 2309.00071).
fn yarn(scaling: Config<'_>, positions: u64, plain: &[f64], theta: f64) -> Result<Rope, ArchError> {
    let factor = required(scaling, "factor")?;
    let (fast, slow) = (scaling.positive_or("beta_fast", 32.0)?, scaling.positive_or("beta_slow", 1.0)?);
    let old = scaling.count_or(ORIGINAL, positions)? as f64;
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
    Ok(Rope::same(plain.iter().enumerate().map(mixed).collect(), magnitude))
}

/// LongRoPE (Ding et al. 2024, arXiv 2402.13753): a factor for every frequency, from one list or the other.
fn longrope(
    config: Config<'_>,
    scaling: Config<'_>,
    positions: u64,
    rules: &RopeRules,
    plain: &[f64],
) -> Result<Rope, ArchError> {
    let divided = |key: &str| {
        let refused = || {
            scaling
                .refuse(key, format!("a list of {} numbers above 0, one for each turned pair of channels", plain.len()))
        };
        let list =
            scaling.get(key).and_then(Json::as_array).filter(|list| list.len() == plain.len()).ok_or_else(refused)?;
        let factor =
            |value: &Json| value.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0).ok_or_else(refused);
        plain.iter().zip(list).map(|(f, value)| Ok(f / factor(value)?)).collect::<Result<Vec<f64>, ArchError>>()
    };
    let (short, long) = (divided("short_factor")?, divided("long_factor")?);
    let count = |place: Config<'_>| place.get(ORIGINAL).map(|_| place.count(ORIGINAL)).transpose();
    let ratio = |original: u64| positions as f64 / original as f64;
    let (original, stretch) = match (count(config)?, count(scaling)?, rules.original) {
        (Some(original), ..) | (None, None, Some(original)) => (original, ratio(original)),
        (None, Some(original), _) => (original, scaling.positive_or("factor", ratio(original))?),
        (None, None, None) => (positions, required(scaling, "factor")?),
    };
    let magnitude = match scaling.get("attention_factor") {
        Some(_) => scaling.positive_or("attention_factor", 1.0)?,
        None if stretch <= 1.0 => 1.0,
        None => (1.0 + libm::log(stretch) / libm::log(original as f64)).sqrt(),
    };
    Ok(Rope { frequencies: short, magnitude, beyond: Beyond::Other(original, long) })
}
