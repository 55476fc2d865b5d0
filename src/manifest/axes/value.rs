//! Types of the values of axes: how manifests, file names and ids spell each.

use super::{
    Compression, Size,
    format::{Format, Precision},
    shape::{LENGTH_LIMIT, SIZE_LIMIT},
};
use crate::{
    base::{Target, TargetError},
    contract::{CacheForm, ImageLayout, LinearForm, LogitsForm},
    manifest::{
        error::{ManifestError, Problem},
        reader::Item,
    },
};

/// A value of an axis. Equal values have equal texts.
pub(in crate::manifest) trait AxisValue: Copy + PartialEq + Default {
    /// Reads a value of a manifest.
    ///
    /// # Errors
    /// When it is no value of the axis.
    fn read(item: &Item<'_>) -> Result<Self, ManifestError>;

    /// Reads a part of a file's name, which may be spelled as in ids.
    fn from_file_name(text: &str) -> Option<Self>;

    /// As manifests spell it; `None` where the variant has no such axis.
    fn text(&self) -> Option<String>;
}

/// Axes whose values are words.
macro_rules! word_values {
    ($($name:ident),+) => {$(
        impl AxisValue for $name {
            fn read(item: &Item<'_>) -> Result<Self, ManifestError> {
                item.word(Self::ALL, Self::name)
            }

            fn from_file_name(text: &str) -> Option<Self> {
                Self::from_name(text)
            }

            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )+};
}

word_values!(ImageLayout, LinearForm, CacheForm, LogitsForm, Precision, Format);

impl AxisValue for Compression {
    fn read(item: &Item<'_>) -> Result<Self, ManifestError> {
        let expected = "`none`, `linear:int8`, `linear:int4:block=32`, `palettize:4`, `palettize:4:group=16`, \
             `prune:0.5` or the like";
        item.parsed(expected, str::parse::<Self>)
    }

    fn from_file_name(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| Self::from_id(text))
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl AxisValue for Option<Precision> {
    fn read(item: &Item<'_>) -> Result<Self, ManifestError> {
        Precision::read(item).map(Some)
    }

    fn from_file_name(text: &str) -> Option<Self> {
        Precision::from_name(text).map(Some)
    }

    fn text(&self) -> Option<String> {
        self.map(|precision| precision.to_string())
    }
}

impl AxisValue for Option<Size> {
    fn read(item: &Item<'_>) -> Result<Self, ManifestError> {
        let (width, height) = match item.pair(SIZE_LIMIT) {
            Some(pair) => pair?,
            None => item.number(SIZE_LIMIT).map(|side| (side, side))?,
        };
        let size = Size::new(width, height)
            .ok_or_else(|| item.unexpected(format!("a whole number from 1 to {SIZE_LIMIT}")))?;
        Ok(Some(size))
    }

    fn from_file_name(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x').unwrap_or((text, text));
        Size::new(number(width)?, number(height)?).map(Some)
    }

    fn text(&self) -> Option<String> {
        self.map(|size| size.to_string())
    }
}

/// A length in tokens.
impl AxisValue for Option<u32> {
    fn read(item: &Item<'_>) -> Result<Self, ManifestError> {
        item.number(LENGTH_LIMIT).map(Some)
    }

    fn from_file_name(text: &str) -> Option<Self> {
        number(text).filter(|length| (1..=LENGTH_LIMIT).contains(length)).map(Some)
    }

    fn text(&self) -> Option<String> {
        self.map(|length| length.to_string())
    }
}

impl AxisValue for Option<Target> {
    fn read(item: &Item<'_>) -> Result<Self, ManifestError> {
        let names: Vec<String> = Target::all().map(|target| format!("`{target}`")).collect();
        let expected = format!("{}, or the same in another platform's versions, such as `macOS15`", names.join(", "));
        let text = item.text(&expected)?;
        let (key, found, nearest) = (item.key.clone(), format!("\"{text}\""), Target::meant(text));
        let target = text.parse::<Target>();
        target.map(Some).map_err(|_: TargetError| item.error(Problem::Value { key, found, expected, nearest }))
    }

    fn from_file_name(text: &str) -> Option<Self> {
        text.parse::<Target>().ok().map(Some)
    }

    fn text(&self) -> Option<String> {
        self.map(|target| target.to_string())
    }
}

/// Reads digits without sign and leading zeros, so that equal values have equal texts.
fn number(text: &str) -> Option<u32> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}
