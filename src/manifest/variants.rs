//! The product of a component's axes: every variant with its id, minus what `exclude` leaves out, or the first combination that
//! cannot be built.

use std::collections::{BTreeMap, HashSet};

use super::{
    axes::{Attention, Axes, Axis, Cache, Format, Layout, Linear, Logits, Precision, Shape, TextShape},
    component::{Component, ComponentKind, Conversion, Exclusion},
    compression::Compression,
    error::{self, ManifestError, Problem},
    release::BundleKind,
};
use crate::base::{RelativePath, Target};

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
        let path = format!("{}{}", self.id, self.kind.extension());
        !path.contains('/') && path.parse::<RelativePath>().is_ok()
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

    /// The kind of a bundle called `file_name`: by its extension, else plain files.
    pub fn of_file_name(file_name: &str) -> Self {
        let extended = [Self::MlPackage, Self::MlModelC, Self::AiModel, Self::Onnx];
        extended.into_iter().find(|kind| file_name.len() > kind.extension().len() && file_name.ends_with(kind.extension())).unwrap_or(Self::Files)
    }

    fn id_suffix(self) -> Option<&'static str> {
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
        Ok(drafts.into_iter().map(Draft::axes).filter(|axes| seen.insert(axes.clone())).collect())
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
    layout: Layout,
    linear: Linear,
    cache: Cache,
    logits: Logits,
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
        Axes { shapes: vec![self.shape], layout, linear, cache, logits, io_precision, precision, compression, target, format }
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
    if axes.format == Format::Onnx {
        return conversion.multifunction.then(|| Conflict {
            axes: vec![(Axis::Format, axes.format.to_string())],
            reason: "`multifunction` bundles are Core ML's".to_owned(),
            first_target: None,
        });
    }
    let target = axes.target?;
    let value = |axis: Axis| axes.value(axis).map(|value| (axis, value));
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
    let io = (axes.io_precision == Precision::Float16).then(|| clash(&[Axis::IoPrecision], Target::Ios16, "float16 inputs and outputs".to_owned()));
    let compressed = axes.compression.first_target().map(|first| clash(&[Axis::Compress], first, axes.compression.describe()));
    let states = (axes.cache == Cache::State).then(|| clash(&[Axis::Cache], Target::Ios18, "states".to_owned()));
    let fused = (conversion.attention == Attention::Fused).then(|| clash(&[], Target::Ios18, "fused attention operators".to_owned()));
    let functions = conversion.multifunction.then(|| clash(&[], Target::Ios18, "`multifunction` bundles".to_owned()));
    [io, compressed, states, fused, functions].into_iter().flatten().flatten().next()
}
