//! The product of a component's axes: every variant with its id, minus what `exclude` leaves out, or the first combination that
//! cannot be built.

use std::collections::{BTreeMap, HashSet};

use super::{
    axes::{Axes, Axis, Format, Precision, Shape, TextShape},
    component::{Component, ComponentKind, Conversion, Exclusion},
    compression::Compression,
    error::{self, ManifestError, Problem},
    release::BundleKind,
};
use crate::{
    base::{RelativePath, Target, name_key},
    contract::{AttentionForm, CacheForm, ImageLayout, LinearForm, LogitsForm},
};

/// More combinations of one component are a mistake.
const LIMIT: usize = 10_000;

/// A variant that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantPlan {
    /// Its id, e.g. `decoder-768-float16-ios18`.
    pub id: String,
    /// The id without its target: the name when placed for a deployment floor.
    pub name: String,
    /// The component it belongs to.
    pub component: String,
    /// Lowest OS that may load it; none where any may.
    pub target: Option<Target>,
    /// What kind of tree it is.
    pub kind: BundleKind,
    /// What it is made from.
    pub content: Content,
}

/// What a variant is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The component's checkpoint, converted for these axes.
    Converted(Axes),
    /// A bundle made elsewhere.
    Imported {
        /// Its path, as it was found.
        path: String,
        /// What pattern and manifest say about it, spelled as [`Axes::value`] does.
        axes: BTreeMap<Axis, String>,
    },
    /// The component's plain files.
    Files,
}

impl VariantPlan {
    /// The variant of these axes: the one place where ids of conversions are made.
    pub fn converted(component: &str, axes: Axes) -> Self {
        let (target, kind) = (axes.target, axes.format.kind());
        let parts = std::iter::once(component.to_owned()).chain(axes.id_parts()).collect();
        Self::named(component, parts, target, kind, Content::Converted(axes))
    }

    /// Adds target and format to the parts of an id.
    pub(super) fn named(component: &str, parts: Vec<String>, target: Option<Target>, kind: BundleKind, content: Content) -> Self {
        let format = kind.id_suffix().map(str::to_owned);
        let join = |target: Option<String>| parts.iter().cloned().chain(target).chain(format.clone()).collect::<Vec<_>>().join("-");
        Self { id: join(target.map(Target::id)), name: join(None), component: component.to_owned(), target, kind, content }
    }

    /// The values of its axes as a release manifest has them.
    pub fn axes_map(&self) -> BTreeMap<String, String> {
        match &self.content {
            Content::Converted(axes) => axes.labels(),
            Content::Imported { axes, .. } => axes
                .iter()
                .filter(|(axis, _)| **axis != Axis::Target)
                .map(|(axis, value)| (axis.label().to_owned(), value.clone()))
                .collect(),
            Content::Files => BTreeMap::new(),
        }
    }

    /// In words, for messages about ids that clash.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Converted(_) => format!("a variant of component `{}`", self.component),
            Content::Imported { path, .. } => format!("`{path}` of component `{}`", self.component),
            Content::Files => format!("the files of component `{}`", self.component),
        }
    }

    /// Whether id and extension make a safe file name.
    pub(super) fn is_file_name(&self) -> bool {
        self.kind.is_file_name(&self.id)
    }
}

impl BundleKind {
    /// The extension of a placed bundle, with its dot; empty for plain files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::MlPackage => ".mlpackage",
            Self::MlModelC => ".mlmodelc",
            Self::AiModel => ".aimodel",
            Self::Onnx => ".onnx",
            Self::Files => "",
        }
    }

    /// What a variant of that id or name is called as a file: with the extension of its kind, which takes the place of the format in the name,
    /// e.g. `decoder-768-ios18.mlmodelc` for `decoder-768-ios18-mlmodelc`.
    pub fn file_name(self, name: &str) -> String {
        let stem = self.id_suffix().and_then(|suffix| name.strip_suffix(suffix)?.strip_suffix('-')).filter(|stem| !stem.is_empty());
        format!("{}{}", stem.unwrap_or(name), self.extension())
    }

    /// Whether an id or name makes a safe file name, which does not begin as those of mlreg's own files do.
    pub(super) fn is_file_name(self, name: &str) -> bool {
        let is_safe = |file: &str| !file.contains('/') && file.parse::<RelativePath>().is_ok() && !name_key(file).starts_with('.');
        !name.is_empty() && is_safe(&self.file_name(name)) && is_safe(&format!("{name}{}", self.extension()))
    }

    /// The kind of a bundle called `file_name`: by its extension, else plain files.
    pub fn of_file_name(file_name: &str) -> Self {
        let extended = [Self::MlPackage, Self::MlModelC, Self::AiModel, Self::Onnx];
        extended
            .into_iter()
            .find(|kind| file_name.len() > kind.extension().len() && file_name.ends_with(kind.extension()))
            .unwrap_or(Self::Files)
    }

    /// What ids say of the kind.
    pub(super) fn id_suffix(self) -> Option<&'static str> {
        match self {
            Self::MlPackage | Self::Files => None,
            other => Some(&other.extension()[1..]),
        }
    }
}

impl Component {
    /// Every variant, in the order of the lists in the manifest (the first axis of an id varies slowest). None for imports, which
    /// depend on what is found.
    ///
    /// # Errors
    /// For combinations that cannot be built (the hint has the `exclude` line), exclusions without effect, and ids that are no file names.
    pub fn variants(&self) -> Result<Vec<VariantPlan>, ManifestError> {
        let plans = match &self.kind {
            ComponentKind::Checkpoint(conversion) => self.converted(conversion)?,
            ComponentKind::Import(_) => Vec::new(),
            ComponentKind::Files(_) => {
                vec![VariantPlan::named(&self.name, vec![self.name.clone()], None, BundleKind::Files, Content::Files)]
            }
        };
        match plans.iter().find(|plan| !plan.is_file_name()) {
            Some(plan) => Err(self.error(Problem::Id { component: self.name.clone(), id: plan.id.chars().take(300).collect() })),
            None => Ok(plans),
        }
    }

    fn converted(&self, conversion: &Conversion) -> Result<Vec<VariantPlan>, ManifestError> {
        let all = self.combinations(conversion)?;
        if let Some(unused) = conversion.exclude.iter().find(|exclusion| !all.iter().any(|axes| exclusion.matches(axes))) {
            let entry = error::entry(unused.axes.iter().map(|(axis, values)| (*axis, values.as_slice())));
            return Err(self.error_at(Some(unused.place), Problem::ExcludesNothing { component: self.name.clone(), entry }));
        }
        let kept: Vec<Axes> = all.into_iter().filter(|axes| !conversion.exclude.iter().any(|exclusion| exclusion.matches(axes))).collect();
        if kept.is_empty() {
            return Err(self.error_at(conversion.places.get("exclude").copied(), Problem::NothingLeft { component: self.name.clone() }));
        }
        if let Some(conflict) = kept.iter().find_map(|axes| conflict(conversion, axes)) {
            return Err(self.impossible(conversion, conflict));
        }
        let kept = if conversion.multifunction { join_shapes(kept) } else { kept };
        Ok(kept.into_iter().map(|axes| VariantPlan::converted(&self.name, axes)).collect())
    }

    fn impossible(&self, conversion: &Conversion, conflict: Conflict) -> ManifestError {
        let place = conflict.axes.iter().find_map(|(axis, _)| conversion.places.get(axis.name()).copied());
        let Conflict { axes, reason, first_target } = conflict;
        self.error_at(place, Problem::Impossible { component: self.name.clone(), conflict: axes, reason, first_target })
    }

    /// The product of all lists, one shape each.
    fn combinations(&self, conversion: &Conversion) -> Result<Vec<Axes>, ManifestError> {
        let shapes = shapes(conversion);
        let io_precisions = or_none(&conversion.io_precisions);
        let targets = or_none(&conversion.targets);
        let lengths = [
            shapes.len(),
            conversion.layouts.len(),
            conversion.linears.len(),
            conversion.caches.len(),
            conversion.logits.len(),
            io_precisions.len(),
            conversion.precisions.len(),
            conversion.compressions.len(),
            targets.len(),
            conversion.formats.len(),
        ];
        let found = lengths.iter().fold(1_u128, |product, length| product.saturating_mul(*length as u128));
        if found > LIMIT as u128 {
            return Err(self.error(Problem::TooMany { component: self.name.clone(), found, limit: LIMIT }));
        }
        let mut drafts = vec![Draft::default()];
        expand(&mut drafts, &shapes, |draft, value| draft.shape = value);
        expand(&mut drafts, &conversion.layouts, |draft, value| draft.layout = value);
        expand(&mut drafts, &conversion.linears, |draft, value| draft.linear = value);
        expand(&mut drafts, &conversion.caches, |draft, value| draft.cache = value);
        expand(&mut drafts, &conversion.logits, |draft, value| draft.logits = value);
        expand(&mut drafts, &io_precisions, |draft, value| draft.io_precision = value);
        expand(&mut drafts, &conversion.precisions, |draft, value| draft.precision = value);
        expand(&mut drafts, &conversion.compressions, |draft, value| draft.compression = value);
        expand(&mut drafts, &targets, |draft, value| draft.target = value);
        expand(&mut drafts, &conversion.formats, |draft, value| draft.format = value);
        // Formats without a target come once, however many targets there are.
        let mut seen = HashSet::new();
        let axes = |draft: Draft| Axes { chunk: conversion.chunk, ..draft.axes() };
        Ok(drafts.into_iter().map(axes).filter(|axes| seen.insert(axes.clone())).collect())
    }
}

impl Exclusion {
    /// Whether `axes` has one of the values on every axis named.
    pub fn matches(&self, axes: &Axes) -> bool {
        self.axes.iter().all(|(axis, values)| axes.value(*axis).is_some_and(|value| values.contains(&value)))
    }
}

/// A combination on its way.
#[derive(Debug, Clone, Copy, Default)]
struct Draft {
    shape: Shape,
    layout: ImageLayout,
    linear: LinearForm,
    cache: CacheForm,
    logits: LogitsForm,
    io_precision: Option<Precision>,
    precision: Precision,
    compression: Compression,
    target: Option<Target>,
    format: Format,
}

impl Draft {
    fn axes(self) -> Axes {
        let Self { layout, linear, cache, logits, precision, compression, format, .. } = self;
        let target = self.target.filter(|_| format != Format::Onnx);
        let io_precision = self.io_precision.unwrap_or(Axes::default_io(precision, target));
        Axes { shapes: vec![self.shape], chunk: None, layout, linear, cache, logits, io_precision, precision, compression, target, format }
    }
}

fn expand<T: Copy>(drafts: &mut Vec<Draft>, values: &[T], set: impl Fn(&mut Draft, T)) {
    let product = drafts.iter().flat_map(|draft| values.iter().map(|value| (*draft, *value)));
    *drafts = product
        .map(|(mut draft, value)| {
            set(&mut draft, value);
            draft
        })
        .collect();
}

fn or_none<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() }
}

fn shapes(conversion: &Conversion) -> Vec<Shape> {
    if !conversion.sizes.is_empty() {
        return conversion.sizes.iter().copied().map(Shape::Image).collect();
    }
    let mut shapes = Vec::new();
    for sequence in or_none(&conversion.sequences) {
        for encoder_sequence in or_none(&conversion.encoder_sequences) {
            for context in or_none(&conversion.contexts) {
                let text = TextShape { sequence, encoder_sequence: encoder_sequence.filter(|length| Some(*length) != sequence), context };
                shapes.push(if text == TextShape::default() { Shape::None } else { Shape::Text(text) });
            }
        }
    }
    shapes
}

/// One bundle for all combinations that differ in shape alone; the first shape stays the first function.
fn join_shapes(combinations: Vec<Axes>) -> Vec<Axes> {
    let mut joined: Vec<Axes> = Vec::new();
    for axes in combinations {
        let same = |other: &&mut Axes| Axes { shapes: Vec::new(), ..(**other).clone() } == Axes { shapes: Vec::new(), ..axes.clone() };
        match joined.iter_mut().find(same) {
            Some(other) => other.shapes.extend(axes.shapes),
            None => joined.push(axes),
        }
    }
    joined
}

/// Values that cannot stand together.
struct Conflict {
    axes: Vec<(Axis, String)>,
    reason: String,
    first_target: Option<Target>,
}

/// The first rule of Core ML that `axes` breaks.
fn conflict(conversion: &Conversion, axes: &Axes) -> Option<Conflict> {
    let value = |axis: Axis| axes.value(axis).map(|value| (axis, value));
    if axes.format == Format::Onnx {
        let fail = |with: &[Axis], reason: &str| {
            let axes = with.iter().copied().chain([Axis::Format]).filter_map(value).collect();
            Some(Conflict { axes, reason: reason.to_owned(), first_target: None })
        };
        return match axes.cache {
            _ if conversion.multifunction => fail(&[], "only Core ML has `multifunction` bundles"),
            CacheForm::State => fail(&[Axis::Cache], "only Core ML has states"),
            _ => None,
        };
    }
    let target = axes.target?;
    let clash = |with: &[Axis], first: Target, what: String| {
        (target < first).then(|| Conflict {
            axes: with.iter().copied().chain([Axis::Target]).filter_map(value).collect(),
            reason: format!("{what} need {first}"),
            first_target: Some(first),
        })
    };
    if target.opset().is_none() {
        let axes = value(Axis::Target).into_iter().collect();
        return Some(Conflict { axes, reason: format!("no Core ML operator set is known for {target}"), first_target: None });
    }
    let io = (axes.io_precision == Precision::Float16)
        .then(|| clash(&[Axis::IoPrecision], Target::Ios16, "float16 inputs and outputs".to_owned()));
    let compressed = axes.compression.first_target().map(|first| clash(&[Axis::Compress], first, axes.compression.describe()));
    let states = (axes.cache == CacheForm::State).then(|| clash(&[Axis::Cache], Target::Ios18, "states".to_owned()));
    let fused = (conversion.attention == AttentionForm::Fused).then(|| clash(&[], Target::Ios18, "fused attention operators".to_owned()));
    let functions = conversion.multifunction.then(|| clash(&[], Target::Ios18, "`multifunction` bundles".to_owned()));
    [io, compressed, states, fused, functions].into_iter().flatten().flatten().next()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::PackageManifest;

    fn component(keys: &str) -> Component {
        let text = format!("[package]\nname = \"x\"\nversion = \"1.0.0\"\n[[component]]\n{keys}");
        PackageManifest::parse(&text, "x.toml").unwrap().components.remove(0)
    }

    fn ids(keys: &str) -> Vec<String> {
        component(keys).variants().unwrap().into_iter().map(|plan| plan.id).collect()
    }

    /// Text and hint.
    fn error(keys: &str) -> (String, Option<String>) {
        let error = component(keys).variants().unwrap_err();
        (error.to_string(), error.hint())
    }

    const DECODER: &str = "name = \"decoder\"\ncheckpoint = \"x\"\n";
    const LM: &str = "name = \"lm\"\ncheckpoint = \"x\"\n";

    #[test]
    fn ids_follow_the_contract() {
        for (start, keys, expected) in [
            (DECODER, "size = 768\ntarget = \"iOS18\"", &["decoder-768-float16-ios18"][..]),
            (DECODER, "size = [[768, 1024]]\nlayout = \"nhwc\"\ntarget = \"iOS15\"", &["decoder-768x1024-nhwc-float16-ios15"]),
            (DECODER, "size = [[768, 768]]\ntarget = \"iOS18\"", &["decoder-768-float16-ios18"]),
            (DECODER, "size = 768\ntarget = \"iOS18\"\nformat = \"mlmodelc\"", &["decoder-768-float16-ios18-mlmodelc"]),
            (
                LM,
                "sequence = 64\ncontext = 2048\ncache = \"state\"\nlinear = \"conv\"\ncompress = \"palettize:4:group=16\"\ntarget = \"iOS18\"",
                &["lm-s64-c2048-conv-state-float16-palettize4-group16-ios18"],
            ),
            (DECODER, "target = \"iOS26\"", &["decoder-float16-ios26"]),
            (
                LM,
                "sequence = 128\nencoder-sequence = [128, 512]\ntarget = \"iOS15\"",
                &["lm-s128-float16-ios15", "lm-s128-e512-float16-ios15"],
            ),
            (
                LM,
                "sequence = 1\ncontext = 8\ncache = [\"none\", \"state\", \"inputs\"]\nlogits = \"last\"\ntarget = \"iOS18\"",
                &["lm-s1-c8-last-float16-ios18", "lm-s1-c8-state-last-float16-ios18", "lm-s1-c8-inputs-last-float16-ios18"],
            ),
            (
                DECODER,
                "io-precision = [\"float32\", \"float16\"]\nprecision = [\"float16\", \"float32\"]\ntarget = \"iOS16\"",
                &["decoder-iofloat32-float16-ios16", "decoder-float32-ios16", "decoder-float16-ios16", "decoder-iofloat16-float32-ios16"],
            ),
            (
                DECODER,
                "io-precision = \"float32\"\ntarget = [\"iOS15\", \"iOS16\"]",
                &["decoder-float16-ios15", "decoder-iofloat32-float16-ios16"],
            ),
            (
                LM,
                "compress = [\"linear:int8\", \"linear:int4:block=32\", \"prune:0.5\"]\ntarget = \"iOS18\"",
                &["lm-float16-linear-int8-ios18", "lm-float16-linear-int4-block32-ios18", "lm-float16-prune50-ios18"],
            ),
            (
                DECODER,
                "size = [7, 8]\ntarget = [\"iOS15\", \"iOS18\"]",
                &["decoder-7-float16-ios15", "decoder-7-float16-ios18", "decoder-8-float16-ios15", "decoder-8-float16-ios18"],
            ),
            ("name = \"tokenizer\"\nfiles = \"tokenizer.json\"\n", "", &["tokenizer"]),
        ] {
            assert_eq!(ids(&format!("{start}{keys}")), expected, "{keys}");
        }
    }

    #[test]
    fn the_name_is_the_id_without_its_target() {
        let keys = format!("{DECODER}size = 768\ntarget = [\"iOS15\", \"iOS18\"]\nformat = [\"mlpackage\", \"mlmodelc\"]");
        let names: Vec<String> = component(&keys).variants().unwrap().into_iter().map(|plan| plan.name).collect();
        assert_eq!(names, ["decoder-768-float16", "decoder-768-float16-mlmodelc"].repeat(2));
    }

    #[test]
    fn formats_without_a_target_come_once() {
        let keys = format!("{DECODER}size = 768\ntarget = [\"iOS15\", \"iOS18\"]\nformat = [\"mlpackage\", \"onnx\"]");
        let plans = component(&keys).variants().unwrap();
        let ids: Vec<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
        assert_eq!(ids, ["decoder-768-float16-ios15", "decoder-768-float16-onnx", "decoder-768-float16-ios18"]);
        assert_eq!((plans[1].target, plans[1].kind), (None, BundleKind::Onnx));
        assert_eq!(self::ids(&format!("{DECODER}format = \"onnx\"")), ["decoder-float16-onnx"]);
    }

    #[test]
    fn multifunction_bundles_join_their_shapes() {
        let keys = format!("{LM}sequence = [64, 1]\ncontext = 8\ncache = \"state\"\nmultifunction = true\ntarget = [\"iOS18\", \"iOS26\"]");
        let plans = component(&keys).variants().unwrap();
        let ids: Vec<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
        assert_eq!(ids, ["lm-s64-c8+s1-c8-state-float16-ios18", "lm-s64-c8+s1-c8-state-float16-ios26"]);
        assert_eq!(plans[0].axes_map()["sequence"], "64+1");
        let error = error(&format!("{DECODER}size = [7, 8]\nmultifunction = true\ntarget = [\"iOS15\", \"iOS18\"]"));
        assert_eq!(error.0, "x.toml:9:10: component `decoder`: `target = \"iOS15\"` cannot be built: `multifunction` bundles need iOS18");
        assert_eq!(error.1.unwrap(), "`exclude = [{ target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it");
    }

    #[test]
    fn axes_that_fit_are_told() {
        let map = |keys: &str| {
            let plan = component(keys).variants().unwrap().remove(0);
            plan.axes_map().into_iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            map(&format!("{DECODER}size = [[768, 1024]]\nlayout = \"nhwc\"\ntarget = \"iOS15\"")),
            "compression=none io-precision=float32 layout=nhwc precision=float16 size=768x1024"
        );
        assert_eq!(
            map(&format!("{LM}sequence = 64\ncompress = \"palettize:4:group=16\"\ntarget = \"iOS18\"")),
            "cache=none compression=palettize:4:group=16 encoder-sequence=64 io-precision=float16 linear=linear logits=all precision=float16 \
             sequence=64"
        );
        assert_eq!(map("name = \"tokenizer\"\nfiles = \"x\""), "");
    }

    #[test]
    fn impossible_combinations_name_the_way_out() {
        let both = "target = [\"iOS15\", \"iOS18\"]";
        for (start, keys, message, hint) in [
            (
                DECODER,
                "compress = [\"none\", \"linear:int8\"]",
                "x.toml:7:12: component `decoder`: `compress = \"linear:int8\"` with `target = \"iOS15\"` cannot be built: 8 bit linear weights need iOS16",
                "`exclude = [{ compress = \"linear:int8\", target = \"iOS15\" }]` leaves it out; `target = \"iOS16\"` has it",
            ),
            (
                DECODER,
                "compress = \"palettize:2:group=16\"",
                "x.toml:7:12: component `decoder`: `compress = \"palettize:2:group=16\"` with `target = \"iOS15\"` cannot be built: \
                 2 bit palettized weights per group of channels need iOS18",
                "`exclude = [{ compress = \"palettize:2:group=16\", target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it",
            ),
            (
                DECODER,
                "io-precision = \"float16\"",
                "x.toml:7:16: component `decoder`: `io-precision = \"float16\"` with `target = \"iOS15\"` cannot be built: \
                 float16 inputs and outputs need iOS16",
                "`exclude = [{ io-precision = \"float16\", target = \"iOS15\" }]` leaves it out; `target = \"iOS16\"` has it",
            ),
            (
                LM,
                "cache = \"state\"\ncontext = 8",
                "x.toml:7:9: component `lm`: `cache = \"state\"` with `target = \"iOS15\"` cannot be built: states need iOS18",
                "`exclude = [{ cache = \"state\", target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it",
            ),
            (
                LM,
                "attention = \"fused\"",
                "x.toml:8:10: component `lm`: `target = \"iOS15\"` cannot be built: fused attention operators need iOS18",
                "`exclude = [{ target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it",
            ),
        ] {
            let (found, found_hint) = error(&format!("{start}{keys}\n{both}"));
            assert_eq!(found, message);
            assert_eq!(found_hint.unwrap(), hint);
            // The way out is one: with the line that the hint prints, the rest can be built.
            let line = hint.split('`').nth(1).unwrap();
            assert!(!ids(&format!("{start}{keys}\n{both}\n{line}")).is_empty(), "{line}");
        }
        let states = error(&format!("{LM}cache = \"state\"\ncontext = 8\nformat = \"onnx\""));
        assert_eq!(
            states.0,
            "x.toml:7:9: component `lm`: `cache = \"state\"` with `format = \"onnx\"` cannot be built: only Core ML has states"
        );
        assert_eq!(states.1.unwrap(), "`exclude = [{ cache = \"state\", format = \"onnx\" }]` leaves it out");
        let error = error(&format!("{DECODER}target = \"iOS27\""));
        assert_eq!(
            error.0,
            "x.toml:7:10: component `decoder`: `target = \"iOS27\"` cannot be built: no Core ML operator set is known for iOS27"
        );
    }

    #[test]
    fn exclusions_leave_out_and_have_an_effect() {
        let axes = "size = [7, [7, 8]]\nprecision = [\"float16\", \"float32\"]\ntarget = \"iOS18\"\n";
        let with = |exclude: &str| format!("{DECODER}{axes}exclude = {exclude}");
        assert_eq!(ids(&with("[{ size = [[7, 8]], precision = \"float32\" }]")).len(), 3);
        assert_eq!(ids(&with("[{ size = 7 }, { precision = \"float32\" }]")), ["decoder-7x8-float16-ios18"]);
        assert_eq!(
            error(&with("[{ size = 7 }, { size = [[8, 7]], target = [\"iOS18\", \"iOS17\"] }]")).0,
            "x.toml:10:26: component `decoder`: `exclude` has { size = [[8, 7]], target = [\"iOS18\", \"iOS17\"] }, which matches no combination"
        );
        assert_eq!(error(&with("[{ target = \"iOS18\" }]")).0, "x.toml:10:11: component `decoder`: `exclude` leaves no combination");
    }

    #[test]
    fn too_many_and_too_long() {
        let list = |count: usize| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let keys = format!("{LM}sequence = [{}]\ncontext = [{}]\ncache = \"inputs\"\ntarget = \"iOS18\"", list(200), list(51));
        assert_eq!(error(&keys).0, "x.toml:4:1: component `lm` has 10200 combinations: expected at most 10000");
        let keys = format!("{LM}sequence = [{}]\ntarget = \"iOS18\"\nmultifunction = true", list(100));
        assert!(error(&keys).0.ends_with("cannot be a file name"), "{}", error(&keys).0);
    }

    #[test]
    fn kinds_come_from_file_names() {
        for (name, kind) in [
            ("a.mlpackage", BundleKind::MlPackage),
            ("a.mlmodelc", BundleKind::MlModelC),
            ("a.aimodel", BundleKind::AiModel),
            ("a.onnx", BundleKind::Onnx),
            (".onnx", BundleKind::Files),
            ("vocab", BundleKind::Files),
        ] {
            assert_eq!(BundleKind::of_file_name(name), kind, "{name}");
        }
    }

    fn some(values: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(values, 1..=values.len())
    }

    proptest! {
        #[test]
        fn an_id_never_changes_because_another_value_joins(
            sizes in some(&["7", "[7, 8]", "9"]),
            layouts in some(&["\"nchw\"", "\"nhwc\""]),
            precisions in some(&["\"float16\"", "\"float32\""]),
            compressions in some(&["\"none\"", "\"palettize:4\"", "\"prune:0.5\""]),
            targets in some(&["\"iOS16\"", "\"iOS18\""]),
            formats in some(&["\"mlpackage\"", "\"mlmodelc\"", "\"onnx\""]),
        ) {
            let keys = |lists: [&[&str]; 6]| {
                let axes = ["size", "layout", "precision", "compress", "target", "format"];
                let lines = axes.iter().zip(lists).map(|(axis, values)| format!("{axis} = [{}]\n", values.join(", ")));
                format!("{DECODER}{}", lines.collect::<String>())
            };
            let all = ids(&keys([&sizes, &layouts, &precisions, &compressions, &targets, &formats]));
            prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
            let mut alone = Vec::new();
            for format in &formats {
                for target in &targets {
                    alone.extend(ids(&keys([&sizes, &layouts, &precisions, &compressions, &[target], &[format]])));
                }
            }
            alone.sort_unstable();
            alone.dedup();
            let mut all = all;
            all.sort_unstable();
            prop_assert_eq!(all, alone);
        }
    }
}
