//! Axes: what may differ between the variants of a component, each with its words, its default and its part of an id.
//!
//! Order and spelling of an id: `<component>[-<shape>][-<axes not at their default>]-<precision>[-<compression>]-<target>[-<format>]`.
//! Inputs and outputs of another dtype than the default are `iofloat32`, one word, so that globs on `-float32-` mean the precision alone.

use std::{collections::BTreeMap, fmt};

use super::compression::Compression;
use crate::{
    base::Target,
    contract::{CacheForm, Chunk, ImageLayout, LinearForm, LogitsForm, words},
    manifest::release::BundleKind,
};

/// Longest side of a picture, in pixels.
pub(super) const SIZE_LIMIT: u32 = 65_536;
/// Longest sequence or cache, in tokens.
pub(super) const LENGTH_LIMIT: u32 = 1 << 20;

words!(
    /// A float type of weights and arithmetic, or of inputs and outputs.
    Precision {
        /// 16 bit.
        #[default]
        Float16 = "float16",
        /// 32 bit.
        Float32 = "float32",
    }
);
words!(
    /// What a build writes.
    Format {
        /// A Core ML package.
        #[default]
        MlPackage = "mlpackage",
        /// A compiled Core ML model, ready for an app bundle.
        MlModelC = "mlmodelc",
        /// An ONNX model, which has no deployment target.
        Onnx = "onnx",
    }
);
words!(
    /// The axes of variants, in the order of ids.
    Axis {
        /// Picture size.
        #[default]
        Size = "size",
        /// Input length in tokens.
        Sequence = "sequence",
        /// Input length of the encoder side of a decoder.
        EncoderSequence = "encoder-sequence",
        /// Length of the cache.
        Context = "context",
        /// Order of picture dimensions.
        Layout = "layout",
        /// Form of matrix products.
        Linear = "linear",
        /// Place of the cache.
        Cache = "cache",
        /// Rows of logits.
        Logits = "logits",
        /// Dtype of inputs and outputs.
        IoPrecision = "io-precision",
        /// Dtype of weights and arithmetic.
        Precision = "precision",
        /// Compression of weights.
        Compress = "compress",
        /// Deployment target.
        Target = "target",
        /// Bundle format.
        Format = "format",
    }
);

impl Axis {
    /// The key in [`Variant::axes`](super::release::Variant::axes).
    pub fn label(self) -> &'static str {
        if self == Self::Compress { "compression" } else { self.name() }
    }

    /// The axis of that key.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|axis| axis.label() == label)
    }

    /// Whether it is a size of inputs.
    pub fn is_length(self) -> bool {
        matches!(self, Self::Size | Self::Sequence | Self::EncoderSequence | Self::Context)
    }

    /// The value that ids and names leave out.
    pub fn omitted(self) -> Option<&'static str> {
        match self {
            Self::Layout => Some(ImageLayout::default().name()),
            Self::Linear => Some(LinearForm::default().name()),
            Self::Cache => Some(CacheForm::default().name()),
            Self::Logits => Some(LogitsForm::default().name()),
            Self::Compress => Some("none"),
            _ => None,
        }
    }
}

impl Format {
    /// The bundle kind that it becomes.
    pub fn kind(self) -> BundleKind {
        match self {
            Self::MlPackage => BundleKind::MlPackage,
            Self::MlModelC => BundleKind::MlModelC,
            Self::Onnx => BundleKind::Onnx,
        }
    }
}

/// The key of a release's axes that says which run of layers a variant holds.
pub const CHUNK: &str = "chunk";
/// The key of a release's axes that says how many runs there are.
pub const CHUNKS: &str = "chunks";

/// How a variant was made: its axes in a release without lengths and chunks, which bundles of one model need not share.
pub fn making(axes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_length = |label: &str| [CHUNK, CHUNKS].contains(&label) || Axis::from_label(label).is_some_and(Axis::is_length);
    axes.iter().filter(|(label, _)| !is_length(label)).map(|(label, value)| (label.clone(), value.clone())).collect()
}

/// The values of a making that tell it from the usual one, for names: in the order of the keys, without defaults and without the dtype of
/// inputs and outputs, which follows from the target.
pub fn distinguishing(making: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let is_told = |label: &str, value: &str| match Axis::from_label(label) {
        Some(axis) => axis != Axis::IoPrecision && axis.omitted() != Some(value),
        None => true,
    };
    making.iter().filter(move |(label, value)| is_told(label, value)).map(|(_, value)| value.as_str())
}

/// Picture size in pixels: `768`, or `768x1024` (width x height).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
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
        if self.width == self.height { write!(f, "{}", self.width) } else { write!(f, "{}x{}", self.width, self.height) }
    }
}

/// Lengths of a text model in tokens, where they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TextShape {
    /// Input length; of a decoder its own.
    pub sequence: Option<u32>,
    /// Length of the encoder side, where it differs from `sequence`.
    pub encoder_sequence: Option<u32>,
    /// Length of the cache.
    pub context: Option<u32>,
}

/// The fixed shape of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Shape {
    /// Nothing was said: the architecture has one shape.
    #[default]
    None,
    /// Of a picture model.
    Image(Size),
    /// Of a text model.
    Text(TextShape),
}

impl Shape {
    /// The part of a variant id, e.g. `768x1024` or `s64-c2048`; none where there is no shape.
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

    /// The name of a function of this shape: an identifier, e.g. `s64_c2048` or `size_768x1024`; none where there is no shape.
    pub fn function_name(&self) -> Option<String> {
        let id = self.id()?.replace('-', "_");
        Some(if matches!(self, Self::Image(_)) { format!("size_{id}") } else { id })
    }

    fn value(&self, axis: Axis) -> Option<String> {
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

/// One value of every axis that a conversion has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axes {
    /// The shape; of a multifunction bundle one per function, in the manifest's order.
    pub shapes: Vec<Shape>,
    /// Which run of layers, where they are split. Its component says it in the id.
    pub chunk: Option<Chunk>,
    /// Order of picture dimensions.
    pub layout: ImageLayout,
    /// Form of matrix products.
    pub linear: LinearForm,
    /// Place of the cache.
    pub cache: CacheForm,
    /// Rows of logits.
    pub logits: LogitsForm,
    /// Dtype of float inputs and outputs.
    pub io_precision: Precision,
    /// Dtype of weights and arithmetic.
    pub precision: Precision,
    /// Compression of weights.
    pub compression: Compression,
    /// Deployment target; none for formats that have no target.
    pub target: Option<Target>,
    /// Bundle format.
    pub format: Format,
}

impl Axes {
    /// The dtype of inputs and outputs where nothing else is said: float32 at iOS15, which has no other, else the precision.
    pub fn default_io(precision: Precision, target: Option<Target>) -> Precision {
        if target == Some(Target::Ios15) { Precision::Float32 } else { precision }
    }

    /// The value of `axis` as manifests spell it (sizes as `768` or `768x1024`); none where the variant has no such axis. Shapes of a
    /// multifunction bundle are joined with `+`.
    pub fn value(&self, axis: Axis) -> Option<String> {
        match axis {
            Axis::Size | Axis::Sequence | Axis::EncoderSequence | Axis::Context => {
                let values: Option<Vec<String>> = self.shapes.iter().map(|shape| shape.value(axis)).collect();
                values.filter(|values| !values.is_empty()).map(|values| values.join("+"))
            }
            Axis::Layout => Some(self.layout.to_string()),
            Axis::Linear => Some(self.linear.to_string()),
            Axis::Cache => Some(self.cache.to_string()),
            Axis::Logits => Some(self.logits.to_string()),
            Axis::IoPrecision => Some(self.io_precision.to_string()),
            Axis::Precision => Some(self.precision.to_string()),
            Axis::Compress => Some(self.compression.to_string()),
            Axis::Target => self.target.map(|target| target.to_string()),
            Axis::Format => Some(self.format.to_string()),
        }
    }

    /// The parts of an id between component and target.
    pub(super) fn id_parts(&self) -> Vec<String> {
        let shapes: Vec<String> = self.shapes.iter().filter_map(Shape::id).collect();
        let io_default = Self::default_io(self.precision, self.target);
        let optional = [
            (!shapes.is_empty()).then(|| shapes.join("+")),
            (self.layout != ImageLayout::default()).then(|| self.layout.to_string()),
            (self.linear != LinearForm::default()).then(|| self.linear.to_string()),
            (self.cache != CacheForm::default()).then(|| self.cache.to_string()),
            (self.logits != LogitsForm::default()).then(|| self.logits.to_string()),
            (self.io_precision != io_default).then(|| format!("io{}", self.io_precision)),
            Some(self.precision.to_string()),
            self.compression.id(),
        ];
        optional.into_iter().flatten().collect()
    }

    /// What a release manifest says about the axes: shape, precision, dtype of inputs and outputs and compression always, the rest
    /// where it fits the kind of shape or is not at its default; of split layers `chunk`, from 1 on, and `chunks`. Target and format have fields of their own.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let is_image = self.shapes.iter().any(|shape| matches!(shape, Shape::Image(_)));
        let is_text = self.shapes.iter().any(|shape| matches!(shape, Shape::Text(_)));
        let told = |axis: &Axis| match axis {
            Axis::Layout => is_image || self.layout != ImageLayout::default(),
            Axis::Linear => is_text || self.linear != LinearForm::default(),
            Axis::Cache => is_text || self.cache != CacheForm::default(),
            Axis::Logits => is_text || self.logits != LogitsForm::default(),
            Axis::Target | Axis::Format => false,
            _ => true,
        };
        let axes = Axis::ALL.iter().filter(|axis| told(axis));
        let chunk = self.chunk.into_iter().flat_map(|Chunk { number, count }| [(CHUNK, number), (CHUNKS, count)]);
        let chunk = chunk.map(|(label, number)| (label.to_owned(), number.to_string()));
        axes.filter_map(|axis| Some((axis.label().to_owned(), self.value(*axis)?))).chain(chunk).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_agree() {
        for axis in Axis::ALL {
            assert_eq!(Axis::from_name(axis.name()), Some(*axis));
        }
        assert_eq!(ImageLayout::from_name("NHWC"), None);
        assert_eq!(Precision::default().name(), "float16");
    }

    #[test]
    fn sizes_are_sane() {
        assert_eq!(Size::new(768, 1024).unwrap().to_string(), "768x1024");
        assert_eq!(Size::new(768, 768).unwrap().to_string(), "768");
        assert!(Size::new(0, 1).is_none());
        assert!(Size::new(1, 65_537).is_none());
    }

    #[test]
    fn inputs_and_outputs_are_float32_at_ios15() {
        assert_eq!(Axes::default_io(Precision::Float16, Some(Target::Ios15)), Precision::Float32);
        assert_eq!(Axes::default_io(Precision::Float16, Some(Target::Ios16)), Precision::Float16);
        assert_eq!(Axes::default_io(Precision::Float32, None), Precision::Float32);
    }
}
