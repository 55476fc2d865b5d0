//! Sizes of inputs: the fixed shape that a program has.

use std::fmt;

use super::Axis;

/// Longest side of a picture, in pixels.
pub(in crate::manifest) const SIZE_LIMIT: u32 = 65_536;
/// Longest sequence or cache, in tokens.
pub(in crate::manifest) const LENGTH_LIMIT: u32 = 1 << 20;

/// Picture size in pixels: `768`, or `768x1024` (width x height).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// Pixels per row.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Size {
    /// A size of 1 to 65536 pixels on either side.
    pub fn new(width: u32, height: u32) -> Option<Self> {
        let fits = |side| (1..=SIZE_LIMIT).contains(&side);
        (fits(width) && fits(height)).then_some(Self { width, height })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.width == self.height {
            write!(f, "{}", self.width)
        } else {
            write!(f, "{}x{}", self.width, self.height)
        }
    }
}

/// Lengths of a text model in tokens, as far as the manifest gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TextShape {
    /// Input length; of a decoder its own.
    pub sequence: Option<u32>,
    /// Input length of the encoder, where it differs from `sequence`.
    pub encoder_sequence: Option<u32>,
    /// Length of the cache.
    pub context: Option<u32>,
}

/// The fixed shape of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Shape {
    /// The manifest gives none: the architecture has one shape.
    #[default]
    None,
    /// Shape of a picture model.
    Image(Size),
    /// Shape of a text model.
    Text(TextShape),
}

impl Shape {
    /// The shape with these sizes. A size makes a picture model, whatever else is given.
    pub(in crate::manifest) fn new(
        size: Option<Size>,
        sequence: Option<u32>,
        encoder: Option<u32>,
        context: Option<u32>,
    ) -> Self {
        let text =
            TextShape { sequence, encoder_sequence: encoder.filter(|length| Some(*length) != sequence), context };
        match size {
            Some(size) => Self::Image(size),
            None if text == TextShape::default() => Self::None,
            None => Self::Text(text),
        }
    }

    /// The part of a variant id, e.g. `768x1024` or `s64-c2048`; `None` where there is no shape.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Image(size) => Some(size.to_string()),
            Self::Text(text) => {
                let part = |prefix: &str, length: Option<u32>| length.map(|length| format!("{prefix}{length}"));
                let parts = [part("s", text.sequence), part("e", text.encoder_sequence), part("c", text.context)];
                Some(parts.into_iter().flatten().collect::<Vec<_>>().join("-"))
            }
        }
    }

    /// The name of a function of this shape: an identifier, e.g. `s64_c2048` or `size_768x1024`; `None` where there is
    /// no shape.
    pub fn function_name(&self) -> Option<String> {
        let id = self.id()?.replace('-', "_");
        Some(if matches!(self, Self::Image(_)) { format!("size_{id}") } else { id })
    }

    /// The value of one of its axes, as manifests spell it.
    pub(super) fn value(&self, axis: Axis) -> Option<String> {
        let number = |length: Option<u32>| length.map(|length| length.to_string());
        match (self, axis) {
            (Self::Image(size), Axis::Size) => Some(size.to_string()),
            (Self::Text(text), Axis::Sequence) => number(text.sequence),
            (Self::Text(text), Axis::EncoderSequence) => number(text.encoder_sequence.or(text.sequence)),
            (Self::Text(text), Axis::Context) => number(text.context),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_sane() {
        assert_eq!(Size::new(768, 1024).unwrap().to_string(), "768x1024");
        assert_eq!(Size::new(768, 768).unwrap().to_string(), "768");
        assert!(Size::new(0, 1).is_none());
        assert!(Size::new(1, 65_537).is_none());
    }
}
