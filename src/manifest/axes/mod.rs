//! Axes: what may differ between the variants of a component. [`axes!`] is the one table of them; adding an axis is one
//! entry there, and the [`AxisValue`](value::AxisValue) of its type where that is a new one.
//!
//! An id is `<component>[-<sizes>][-<axes that differ from their
//! default>]-<precision>[-<compression>]-<target>[-<format>]`. Inputs and outputs of another dtype than usual are one
//! word, `iofloat32`, so that globs on `-float32-` match the precision alone.

mod compression;
mod format;
mod shape;
pub(super) mod value;

use std::collections::BTreeMap;

pub use compression::{Compression, CompressionError, Integer};
pub use format::{Format, Precision};
pub(super) use shape::SIZE_LIMIT;
pub use shape::{Shape, Size, TextShape};

use self::value::AxisValue;
use super::{error::ManifestError, reader::Item};
use crate::{
    base::Target,
    contract::{CacheForm, Chunk, ImageLayout, LinearForm, LogitsForm, words},
};

/// What is known of an axis, apart from the type of its values.
#[derive(Debug)]
struct AxisRule {
    /// The key in [`Variant::axes`](super::release::Variant::axes).
    label: &'static str,
    /// How a value stands in variant ids.
    id: IdPart,
    /// Which releases list it.
    listed: Listed,
    /// Who reads it.
    honoured: Honoured,
    /// The first target that has a value, and what needs it, in the plural.
    needs: fn(&str) -> Option<(Target, String)>,
}

/// How a value stands in variant ids.
#[derive(Debug, Clone, Copy)]
enum IdPart {
    /// Behind this prefix, with the other sizes of its shape.
    Size(&'static str),
    /// As it is, except for this value.
    Unless(&'static str),
    /// Behind `io`, except for the usual dtype of the precision and target.
    InputsAndOutputs,
    /// As it is.
    Always,
    /// As [`Compression::id`] spells it.
    Compression,
    /// At the end, where the id of every variant has it.
    AtEnd,
}

/// Which releases list an axis.
#[derive(Debug, Clone, Copy)]
enum Listed {
    Always,
    /// Those of picture models; others where it is not at its default.
    ForPictures,
    /// Those of text models; others where it is not at its default.
    ForTexts,
    /// None: the variant has a field for it.
    AsField,
}

/// Who reads an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Honoured {
    /// Every conversion.
    ByAll,
    /// Architectures that name the key in `component_keys`.
    ByArchitectures,
}

macro_rules! axes {
    (
        sizes { $($(#[$size_doc:meta])* $size:ident = $size_name:literal, $size_field:ident: $size_type:ty, $size_rule:expr;)+ }
        choices { $($(#[$doc:meta])* $axis:ident = $name:literal, $field:ident: $type:ty, $rule:expr;)+ }
    ) => {
        words!(
            /// The axes of variants, in the order of ids.
            Axis { #[default] $($(#[$size_doc])* $size = $size_name,)+ $($(#[$doc])* $axis = $name,)+ }
        );

        impl Axis {
            fn rule(self) -> &'static AxisRule {
                match self {
                    $(Self::$size => &const { $size_rule },)+
                    $(Self::$axis => &const { $rule },)+
                }
            }

            /// Reads one value of a manifest; gives it as manifests spell it.
            pub(super) fn read(self, item: &Item<'_>) -> Result<String, ManifestError> {
                let text = match self {
                    $(Self::$size => <$size_type>::read(item)?.text(),)+
                    $(Self::$axis => <$type>::read(item)?.text(),)+
                };
                Ok(text.unwrap_or_default())
            }

            /// Reads a part of a file's name; gives it as manifests spell it.
            pub(super) fn read_file_name(self, text: &str) -> Option<String> {
                match self {
                    $(Self::$size => <$size_type>::from_file_name(text)?.text(),)+
                    $(Self::$axis => <$type>::from_file_name(text)?.text(),)+
                }
            }
        }

        /// The values of every axis that a component asks for: never empty, without duplicates, in the manifest's
        /// order. An axis that the manifest does not name has its default value alone.
        #[derive(Debug, Clone)]
        pub struct AxisLists {
            $($(#[$size_doc])* pub $size_field: Vec<$size_type>,)+
            $($(#[$doc])* pub $field: Vec<$type>,)+
        }

        /// One value of every axis that a conversion has.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct Axes {
            /// The shape; of a multifunction bundle one per function, in the manifest's order.
            pub shapes: Vec<Shape>,
            /// Which run of layers, where they are split. The component's name says it in ids.
            pub chunk: Option<Chunk>,
            $($(#[$doc])* pub $field: $type,)+
        }

        impl AxisLists {
            /// Reads all lists; `take` gives the value of a key.
            pub(super) fn read<'t>(mut take: impl FnMut(&'static str) -> Option<Item<'t>>) -> Result<Self, ManifestError> {
                Ok(Self {
                    $($size_field: values(take($size_name))?,)+
                    $($field: values(take($name))?,)+
                })
            }

            /// How many combinations there are.
            pub(super) fn count(&self) -> u128 {
                let lengths = [$(self.$size_field.len(),)+ $(self.$field.len(),)+];
                lengths.iter().fold(1, |product, length| product.saturating_mul(*length as u128))
            }

            /// The product of all lists, one shape each; the first axis varies slowest.
            pub(super) fn combinations(&self, chunk: Option<Chunk>) -> Vec<Axes> {
                let mut all: Vec<Axes> = self.shapes().into_iter().map(|shape| Axes::with_defaults(shape, chunk)).collect();
                $(all = all.iter().flat_map(|axes| self.$field.iter().map(|value| Axes { $field: *value, ..axes.clone() })).collect();)+
                all
            }
        }

        impl Axes {
            fn with_defaults(shape: Shape, chunk: Option<Chunk>) -> Self {
                Self { shapes: vec![shape], chunk, $($field: <$type>::default(),)+ }
            }

            /// The value of `axis` as manifests spell it (sizes as `768` or `768x1024`); `None` where the variant has
            /// no such axis. The sizes of a multifunction bundle are joined with `+`.
            pub fn value(&self, axis: Axis) -> Option<String> {
                match axis {
                    $(Axis::$size => self.sizes(axis),)+
                    $(Axis::$axis => self.$field.text(),)+
                }
            }
        }
    };
}

const fn size(label: &'static str, prefix: &'static str) -> AxisRule {
    let (listed, honoured) = (Listed::Always, Honoured::ByArchitectures);
    AxisRule { label, id: IdPart::Size(prefix), listed, honoured, needs: |_| None }
}

const fn form(label: &'static str, default: &'static str, listed: Listed) -> AxisRule {
    AxisRule { label, id: IdPart::Unless(default), listed, honoured: Honoured::ByArchitectures, needs: |_| None }
}

const fn common(label: &'static str, id: IdPart, listed: Listed) -> AxisRule {
    AxisRule { label, id, listed, honoured: Honoured::ByAll, needs: |_| None }
}

axes! {
    sizes {
        /// Picture size.
        Size = "size", size: Option<Size>, size("size", "");
        /// Input length in tokens.
        Sequence = "sequence", sequence: Option<u32>, size("sequence", "s");
        /// Input length of the encoder that a decoder attends to; where it is not given, as `sequence`.
        EncoderSequence = "encoder-sequence", encoder_sequence: Option<u32>, size("encoder-sequence", "e");
        /// Length of the cache.
        Context = "context", context: Option<u32>, size("context", "c");
    }
    choices {
        /// Order of picture dimensions.
        Layout = "layout", layout: ImageLayout, form("layout", ImageLayout::NAMES[0], Listed::ForPictures);
        /// Operator of matrix products.
        Linear = "linear", linear: LinearForm, form("linear", LinearForm::NAMES[0], Listed::ForTexts);
        /// Where the cache is kept.
        Cache = "cache", cache: CacheForm, AxisRule { needs: cache_needs, ..form("cache", CacheForm::NAMES[0], Listed::ForTexts) };
        /// Rows of logits.
        Logits = "logits", logits: LogitsForm, form("logits", LogitsForm::NAMES[0], Listed::ForTexts);
        /// Dtype of inputs and outputs; `None` in lists: the usual one of precision and target.
        IoPrecision = "io-precision", io_precision: Option<Precision>,
            AxisRule { needs: io_needs, ..common("io-precision", IdPart::InputsAndOutputs, Listed::Always) };
        /// Dtype of weights and arithmetic.
        Precision = "precision", precision: Precision, common("precision", IdPart::Always, Listed::Always);
        /// Compression of weights.
        Compress = "compress", compression: Compression,
            AxisRule { needs: compression_needs, ..common("compression", IdPart::Compression, Listed::Always) };
        /// Deployment target; `None` for formats that have no target.
        Target = "target", target: Option<Target>, common("target", IdPart::AtEnd, Listed::AsField);
        /// Bundle format.
        Format = "format", format: Format, common("format", IdPart::AtEnd, Listed::AsField);
    }
}

fn cache_needs(value: &str) -> Option<(Target, String)> {
    (value == CacheForm::State.name()).then(|| (Target::Ios18, "states".to_owned()))
}

fn io_needs(value: &str) -> Option<(Target, String)> {
    (value == Precision::Float16.name()).then(|| (Target::Ios16, "float16 inputs and outputs".to_owned()))
}

fn compression_needs(value: &str) -> Option<(Target, String)> {
    let compression: Compression = value.parse().ok()?;
    Some((compression.first_target()?, compression.describe()))
}

/// One value or a list of them; the default alone where the manifest has none.
fn values<T: AxisValue>(item: Option<Item<'_>>) -> Result<Vec<T>, ManifestError> {
    item.map_or_else(|| Ok(vec![T::default()]), |item| item.one_or_list(T::read))
}

/// The key of a release's axes that says which run of layers a variant holds.
pub const CHUNK: &str = "chunk";
/// The key of a release's axes that says how many runs there are.
pub const CHUNKS: &str = "chunks";

impl Axis {
    /// The key in [`Variant::axes`](super::release::Variant::axes).
    pub fn label(self) -> &'static str {
        self.rule().label
    }

    /// The axis of that key.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|axis| axis.label() == label)
    }

    /// Whether it is a size of inputs or caches.
    pub fn is_size(self) -> bool {
        matches!(self.rule().id, IdPart::Size(_))
    }

    /// Whether the architecture decides if the key means something.
    pub(super) fn is_for_architectures(self) -> bool {
        self.rule().honoured == Honoured::ByArchitectures
    }

    /// The first target that has the value, and what needs it, in the plural; `None` where every target has it.
    pub(super) fn needs(self, value: &str) -> Option<(Target, String)> {
        (self.rule().needs)(value)
    }

    /// The value that ids and names leave out.
    fn omitted(self) -> Option<&'static str> {
        match self.rule().id {
            IdPart::Unless(default) => Some(default),
            IdPart::Compression => Some("none"),
            _ => None,
        }
    }

    /// The part of an id that a value makes; `usual` is the dtype of inputs and outputs that ids leave out.
    fn id_part(self, value: &str, usual: &str) -> Option<String> {
        match self.rule().id {
            IdPart::Size(prefix) => Some(format!("{prefix}{value}")),
            IdPart::Unless(default) => (value != default).then(|| value.to_owned()),
            IdPart::InputsAndOutputs => (value != usual).then(|| format!("io{value}")),
            IdPart::Always => Some(value.to_owned()),
            IdPart::Compression => value.parse::<Compression>().ok()?.id(),
            IdPart::AtEnd => None,
        }
    }
}

/// The dtype of inputs and outputs where the manifest does not name one: float32 at iOS15, which has no other, else the
/// precision.
fn usual_io(precision: Precision, target: Option<Target>) -> Precision {
    if target == Some(Target::Ios15) { Precision::Float32 } else { precision }
}

/// The parts of an id that values of axes make, in the order of all ids; target and format follow behind them.
pub(super) fn id_parts(value: impl Fn(Axis) -> Option<String>, target: Option<Target>) -> Vec<String> {
    let precision = value(Axis::Precision).and_then(|name| Precision::from_name(&name));
    let usual = precision.map_or("", |precision| usual_io(precision, target).name());
    Axis::ALL.iter().filter_map(|axis| axis.id_part(&value(*axis)?, usual)).collect()
}

/// How a variant was made: its axes in a release without sizes and chunks, which bundles of one model need not share.
pub fn making(axes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_size = |label: &str| [CHUNK, CHUNKS].contains(&label) || Axis::from_label(label).is_some_and(Axis::is_size);
    axes.iter().filter(|(label, _)| !is_size(label)).map(|(label, value)| (label.clone(), value.clone())).collect()
}

/// The values of a making that tell it from the usual one, for names: in the order of the keys, without defaults and
/// without the dtype of inputs and outputs, which follows from the target.
pub fn distinguishing(making: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let is_told = |label: &str, value: &str| match Axis::from_label(label) {
        Some(axis) => axis != Axis::IoPrecision && axis.omitted() != Some(value),
        None => true,
    };
    making.iter().filter(move |(label, value)| is_told(label, value)).map(|(_, value)| value.as_str())
}

impl AxisLists {
    /// The longest of the lengths that an axis lists; `None` where it lists none.
    pub fn longest(&self, axis: Axis) -> Option<u32> {
        let lengths = match axis {
            Axis::Sequence => &self.sequence,
            Axis::EncoderSequence => &self.encoder_sequence,
            Axis::Context => &self.context,
            _ => return None,
        };
        lengths.iter().copied().flatten().max()
    }

    /// The product of the sizes.
    fn shapes(&self) -> Vec<Shape> {
        let Self { size, sequence, encoder_sequence, context, .. } = self;
        let mut shapes = Vec::new();
        for &size in size {
            for &sequence in sequence {
                for &encoder in encoder_sequence {
                    shapes.extend(context.iter().map(|&context| Shape::new(size, sequence, encoder, context)));
                }
            }
        }
        shapes
    }
}

impl Axes {
    /// Fills in what the manifest leaves open. Formats without a target have none.
    pub(super) fn resolved(mut self) -> Self {
        self.target = self.target.filter(|_| self.format != Format::Onnx);
        self.io_precision = Some(self.io_precision());
        self
    }

    /// Dtype of inputs and outputs.
    pub fn io_precision(&self) -> Precision {
        self.io_precision.unwrap_or_else(|| usual_io(self.precision, self.target))
    }

    fn sizes(&self, axis: Axis) -> Option<String> {
        let values: Option<Vec<String>> = self.shapes.iter().map(|shape| shape.value(axis)).collect();
        values.filter(|values| !values.is_empty()).map(|values| values.join("+"))
    }

    /// The parts of an id between component and target.
    pub(super) fn id_parts(&self) -> Vec<String> {
        let shapes: Vec<String> = self.shapes.iter().filter_map(Shape::id).collect();
        let shape = (!shapes.is_empty()).then(|| shapes.join("+"));
        let choices = id_parts(|axis| self.value(axis).filter(|_| !axis.is_size()), self.target);
        shape.into_iter().chain(choices).collect()
    }

    /// What a release manifest lists: the axes that fit the kind of model or differ from their default; of split layers
    /// `chunk`, from 1 on, and `chunks`. Target and format are fields of their own.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let listed = Axis::ALL.iter().filter_map(|axis| {
            let value = self.value(*axis)?;
            self.lists(*axis, &value).then(|| (axis.label().to_owned(), value))
        });
        let chunk = self.chunk.into_iter().flat_map(|Chunk { number, count }| [(CHUNK, number), (CHUNKS, count)]);
        listed.chain(chunk.map(|(label, number)| (label.to_owned(), number.to_string()))).collect()
    }

    fn lists(&self, axis: Axis, value: &str) -> bool {
        let differs = axis.omitted() != Some(value);
        match axis.rule().listed {
            Listed::Always => true,
            Listed::ForPictures => differs || self.shapes.iter().any(|shape| matches!(shape, Shape::Image(_))),
            Listed::ForTexts => differs || self.shapes.iter().any(|shape| matches!(shape, Shape::Text(_))),
            Listed::AsField => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_lead_back_to_their_axis() {
        for axis in Axis::ALL {
            assert_eq!(Axis::from_name(axis.name()), Some(*axis));
            assert_eq!(Axis::from_label(axis.label()), Some(*axis));
        }
        assert_eq!(ImageLayout::from_name("NHWC"), None);
        assert_eq!(Precision::default().name(), "float16");
    }

    #[test]
    fn what_ids_leave_out_is_the_default() {
        let axes = Axes::with_defaults(Shape::None, None);
        for axis in Axis::ALL.iter().filter(|axis| axis.omitted().is_some()) {
            assert_eq!(axes.value(*axis).as_deref(), axis.omitted(), "{axis}");
        }
    }

    #[test]
    fn inputs_and_outputs_are_float32_at_ios15() {
        assert_eq!(usual_io(Precision::Float16, Some(Target::Ios15)), Precision::Float32);
        assert_eq!(usual_io(Precision::Float16, Some(Target::Ios16)), Precision::Float16);
        assert_eq!(usual_io(Precision::Float32, None), Precision::Float32);
    }

    #[test]
    fn names_tell_only_what_is_unusual() {
        let axes = [
            ("linear", "conv"),
            ("cache", "none"),
            ("precision", "float16"),
            ("compression", "none"),
            ("sequence", "64"),
            ("new", "x"),
        ];
        let axes = axes.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
        assert_eq!(distinguishing(&making(&axes)).collect::<Vec<_>>(), ["conv", "x", "float16"]);
    }
}
