//! Compression of weights: spelling in manifests and ids, and the first target that supports each kind.
//!
//! The rules per target are those of Core ML's operator sets as coremltools 9 applies them: nothing at iOS15, 8 bit
//! affine weights and lookup tables per tensor from iOS16, everything finer (4 bit integers, blocks, groups, 3 bit
//! tables) from iOS18.

use std::{fmt, str::FromStr};

use crate::base::Target;

/// A text that is no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a compression: expected `none`, `linear:int8`, `linear:int4:block=32`, `palettize:4`, \
     `palettize:4:group=16`, `prune:0.5` or the like"
)]
pub struct CompressionError {
    text: String,
}

/// Integer type of linearly quantized weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integer {
    /// 8 bit, symmetric around zero.
    Int8,
    /// 8 bit with a zero point.
    Uint8,
    /// 4 bit, symmetric around zero.
    Int4,
    /// 4 bit with a zero point.
    Uint4,
}

impl Integer {
    const ALL: [(Integer, &'static str); 4] =
        [(Integer::Int8, "int8"), (Integer::Uint8, "uint8"), (Integer::Int4, "int4"), (Integer::Uint4, "uint4")];

    /// `int8` and so on.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// 8 or 4.
    pub fn bits(self) -> u8 {
        if matches!(self, Self::Int8 | Self::Uint8) { 8 } else { 4 }
    }
}

/// A compression of weights. [`Display`](fmt::Display) is the canonical text of manifests, [`Compression::id`] the part
/// of a variant id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Compression {
    /// Weights as they are.
    #[default]
    None,
    /// `linear:int8`: integers and a scale per output channel, or per block of input channels.
    Linear {
        /// Type of the integers.
        integer: Integer,
        /// Input channels that share a scale; none: all of an output channel.
        block: Option<u32>,
    },
    /// `palettize:4`: indices into a table of 2^bits values per tensor, or per group of channels.
    Palettize {
        /// 1, 2, 3, 4, 6 or 8.
        bits: u8,
        /// Channels that share a table; none: the whole tensor.
        group: Option<u32>,
    },
    /// `prune:0.5`: the smallest weights are zero and not stored.
    Prune {
        /// Share of zeros in percent, 1 to 99.
        percent: u8,
    },
}

impl Compression {
    /// The lowest target whose operators express it; `None` if every target does.
    pub fn first_target(&self) -> Option<Target> {
        match self {
            Self::None => None,
            Self::Linear { integer, block: None } if integer.bits() == 8 => Some(Target::Ios16),
            Self::Palettize { bits, group: None } if *bits != 3 => Some(Target::Ios16),
            Self::Prune { .. } => Some(Target::Ios16),
            Self::Linear { .. } | Self::Palettize { .. } => Some(Target::Ios18),
        }
    }

    /// The part of a variant id, e.g. `palettize4-group16`; `None` for [`Compression::None`], which ids omit.
    pub fn id(&self) -> Option<String> {
        let option = |name: &str, value: &Option<u32>| value.map_or(String::new(), |value| format!("-{name}{value}"));
        match self {
            Self::None => None,
            Self::Linear { integer, block } => Some(format!("linear-{}{}", integer.name(), option("block", block))),
            Self::Palettize { bits, group } => Some(format!("palettize{bits}{}", option("group", group))),
            Self::Prune { percent } => Some(format!("prune{percent}")),
        }
    }

    /// Reads the spelling of ids, which file names also have.
    pub fn from_id(text: &str) -> Option<Self> {
        let canonical = match text
            .strip_prefix("linear-")
            .map(|rest| ("linear:", rest))
            .or_else(|| Some(("palettize:", text.strip_prefix("palettize")?)))
        {
            Some((kind, rest)) => {
                format!("{kind}{}", rest.replacen("-block", ":block=", 1).replacen("-group", ":group=", 1))
            }
            None => format!("prune:0.{:0>2}", text.strip_prefix("prune")?),
        };
        canonical.parse().ok().filter(|parsed: &Self| parsed.id().as_deref() == Some(text))
    }

    /// A description for messages, in the plural.
    pub(in crate::manifest) fn describe(&self) -> String {
        match self {
            Self::None => "weights without compression".to_owned(),
            Self::Linear { integer, block: None } => format!("{} bit linear weights", integer.bits()),
            Self::Linear { integer, block: Some(_) } => format!("{} bit linear weights per block", integer.bits()),
            Self::Palettize { bits, group: None } => format!("{bits} bit palettized weights"),
            Self::Palettize { bits, group: Some(_) } => format!("{bits} bit palettized weights per group of channels"),
            Self::Prune { .. } => "sparse weights".to_owned(),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = |name: &str, value: &Option<u32>| value.map_or(String::new(), |value| format!(":{name}={value}"));
        match self {
            Self::None => f.write_str("none"),
            Self::Linear { integer, block } => write!(f, "linear:{}{}", integer.name(), option("block", block)),
            Self::Palettize { bits, group } => write!(f, "palettize:{bits}{}", option("group", group)),
            Self::Prune { percent } => f.write_str(format!("prune:0.{percent:02}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Compression {
    type Err = CompressionError;
    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let mut parts = text.split(':');
        let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("none"), None, None, None) => Some(Self::None),
            (Some("linear"), Some(integer), block, None) => linear(integer, block),
            (Some("palettize"), Some(bits), group, None) => palettize(bits, group),
            (Some("prune"), Some(share), None, None) => percent(share).map(|percent| Self::Prune { percent }),
            _ => None,
        };
        parsed.ok_or_else(|| CompressionError { text: text.chars().take(80).collect() })
    }
}

fn linear(integer: &str, block: Option<&str>) -> Option<Compression> {
    let (integer, _) = *Integer::ALL.iter().find(|(_, name)| *name == integer)?;
    Some(Compression::Linear { integer, block: option("block=", block)? })
}

fn palettize(bits: &str, group: Option<&str>) -> Option<Compression> {
    let bits = ["1", "2", "3", "4", "6", "8"].contains(&bits).then(|| bits.parse().ok())??;
    Some(Compression::Palettize { bits, group: option("group=", group)? })
}

/// `None`: malformed; `Some(None)`: not there.
fn option(prefix: &str, text: Option<&str>) -> Option<Option<u32>> {
    let Some(text) = text else { return Some(None) };
    let digits = text.strip_prefix(prefix)?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    let value: u32 = plain.then(|| digits.parse().ok())??;
    (2..=65536).contains(&value).then_some(Some(value))
}

/// `0.5` and `0.50` are 50; more than two digits would not fit in an id.
fn percent(text: &str) -> Option<u8> {
    let digits = text
        .strip_prefix("0.")
        .filter(|digits| (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let value: u8 = format!("{digits:0<2}").parse().ok()?;
    (value > 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_ids_and_first_targets() {
        for (text, canonical, id, first) in [
            ("none", "none", None, None),
            ("linear:int8", "linear:int8", Some("linear-int8"), Some(Target::Ios16)),
            ("linear:uint8", "linear:uint8", Some("linear-uint8"), Some(Target::Ios16)),
            ("linear:int8:block=32", "linear:int8:block=32", Some("linear-int8-block32"), Some(Target::Ios18)),
            ("linear:int4", "linear:int4", Some("linear-int4"), Some(Target::Ios18)),
            ("linear:int4:block=32", "linear:int4:block=32", Some("linear-int4-block32"), Some(Target::Ios18)),
            ("palettize:2", "palettize:2", Some("palettize2"), Some(Target::Ios16)),
            ("palettize:3", "palettize:3", Some("palettize3"), Some(Target::Ios18)),
            ("palettize:4:group=16", "palettize:4:group=16", Some("palettize4-group16"), Some(Target::Ios18)),
            ("prune:0.5", "prune:0.5", Some("prune50"), Some(Target::Ios16)),
            ("prune:0.50", "prune:0.5", Some("prune50"), Some(Target::Ios16)),
            ("prune:0.05", "prune:0.05", Some("prune5"), Some(Target::Ios16)),
        ] {
            let compression: Compression = text.parse().unwrap();
            assert_eq!(compression.to_string(), canonical, "{text}");
            assert_eq!(compression.id().as_deref(), id, "{text}");
            assert_eq!(compression.first_target(), first, "{text}");
            assert_eq!(canonical.parse(), Ok(compression), "{text}");
            assert_eq!(id.map(|id| Compression::from_id(id).unwrap()), id.map(|_| compression), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_what_is_expected() {
        for bad in [
            "",
            "None",
            "linear",
            "linear:int2",
            "linear:int4:block=0",
            "linear:int4:block=+8",
            "linear:int4:group=8",
            "linear:int8:block=8:x",
            "palettize:5",
            "palettize:04",
            "prune:1",
            "prune:0.0",
            "prune:0.125",
        ] {
            assert!(bad.parse::<Compression>().is_err(), "{bad}");
        }
        assert!(Compression::from_id("palettize5").is_none());
        assert!(Compression::from_id("prune050").is_none());
        assert!(
            "palettize:5"
                .parse::<Compression>()
                .unwrap_err()
                .to_string()
                .starts_with("`palettize:5` is not a compression: expected `none`")
        );
    }
}
