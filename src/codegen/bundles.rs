//! Bundles of a release as an app sees them. Variants that differ only by target or compiler are one bundle, because an
//! app has one of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::names::{Scope, literal};
use crate::{
    arch,
    contract::{self, Interface, Task},
    manifest::{
        self, CHUNKS,
        release::{BundleKind, Release, Variant},
    },
};

/// Swift names that the templates use where inputs of a bundle are parameters.
const PARAMETERS: &[&str] = &[
    "bundle",
    "function",
    "inputs",
    "model",
    "models",
    "options",
    "outputs",
    "predict",
    "results",
    "state",
    "makeState",
];

/// A bundle, with every name under which a fetch may place it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bundle {
    /// Its name without the target.
    pub name: String,
    /// Name of its Swift constant.
    pub value: String,
    /// Its names in a placed folder, without extension, as Swift literals.
    pub places: Vec<String>,
    /// Its functions. An only function has no name.
    pub functions: Vec<Function>,
    #[serde(skip)]
    pub component: String,
    /// Whether its logits score labels instead of next tokens.
    #[serde(skip)]
    pub scores_labels: bool,
    #[serde(skip)]
    pub axes: BTreeMap<String, String>,
    #[serde(skip)]
    pub interface: Interface,
}

impl Bundle {
    /// What the search for language models has to know.
    pub(super) fn facts(&self) -> contract::Bundle<'_> {
        contract::Bundle {
            component: &self.component,
            chunks: self.axes.get(CHUNKS).and_then(|count| count.parse().ok()),
            making: manifest::making(&self.axes),
            interface: &self.interface,
            scores_labels: self.scores_labels,
        }
    }
}

/// Inputs, outputs and states of one function.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Function {
    /// Name of the Swift type that wraps the function.
    pub wrapper: String,
    pub name: Option<String>,
    pub inputs: Vec<Feature>,
    pub outputs: Vec<Feature>,
    pub states: Vec<Feature>,
}

/// An input, output or state.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Feature {
    /// The name as a Swift literal.
    pub name: String,
    pub value: String,
    /// As `show` prints it.
    pub told: String,
    pub kind: &'static str,
    /// A case of `MLMultiArrayDataType`.
    pub data_type: Option<&'static str>,
    pub shape: Vec<u64>,
    pub flexible: bool,
    pub optional: bool,
    /// Outputs only: name of the property that holds its numbers as `Float`.
    pub scalars: String,
}

impl Feature {
    fn of(feature: &contract::Feature, scope: &mut Scope) -> Self {
        let data_type = match feature.dtype.as_str() {
            "float32" => Some("float32"),
            "float16" => Some("float16"),
            "float64" | "double" => Some("double"),
            "int32" => Some("int32"),
            _ => None,
        };
        let kind = match feature.dtype.as_str() {
            _ if data_type.is_some() => "array",
            "image" => "image",
            "string" => "string",
            _ => "value",
        };
        Self {
            name: literal(&feature.name),
            value: scope.value_name(&feature.name),
            told: feature.to_string().escape_default().to_string(),
            kind,
            data_type,
            shape: feature.shape.clone(),
            flexible: feature.ranges.is_some() || feature.enumerated.is_some() || feature.shape.is_empty(),
            optional: feature.optional,
            scalars: String::new(),
        }
    }

    fn all(features: &[contract::Feature]) -> Vec<Self> {
        let mut scope = Scope::with(PARAMETERS);
        let mut all: Vec<Self> = features.iter().map(|feature| Self::of(feature, &mut scope)).collect();
        for feature in &mut all {
            feature.scalars = scope.unique(format!("{}Scalars", feature.value.trim_matches('`')));
        }
        all
    }
}

impl Function {
    fn of(name: Option<&str>, interface: &Interface, wrapper: String) -> Self {
        let [inputs, outputs, states] =
            [&interface.inputs, &interface.outputs, &interface.states].map(|features| Feature::all(features));
        Self { wrapper, name: name.map(str::to_owned), inputs, outputs, states }
    }
}

/// The name that variants share if they differ only by target or compiler.
fn stem(variant: &Variant) -> &str {
    let suffix = if variant.kind == BundleKind::MlModelC { "-mlmodelc" } else { "" };
    variant.name.strip_suffix(suffix).unwrap_or(&variant.name)
}

/// Names and shapes of all features. Element types depend on the target; generated code reads them from the loaded
/// model.
fn shapes(interface: &Interface) -> impl PartialEq {
    let plain = |features: &[contract::Feature]| {
        let plain = features.iter().map(|feature| contract::Feature { dtype: String::new(), ..feature.clone() });
        plain.collect::<Vec<_>>()
    };
    let of = |one: &Interface| (plain(&one.inputs), plain(&one.outputs), plain(&one.states));
    (of(interface), interface.functions.iter().map(|(name, function)| (name.clone(), of(function))).collect::<Vec<_>>())
}

/// Every bundle with a known interface that Core ML can load, in the order of the release. `package` is the enum that
/// contains their types.
pub(super) fn bundles(release: &Release, package: &str) -> Vec<Bundle> {
    let is_model = |kind: BundleKind| matches!(kind, BundleKind::MlPackage | BundleKind::MlModelC);
    let mut groups: Vec<(&str, Vec<(&Variant, &Interface)>)> = Vec::new();
    for variant in release.variants.iter().filter(|variant| is_model(variant.kind)) {
        let Some(interface) = &variant.interface else { continue };
        match groups.iter_mut().find(|(name, _)| *name == stem(variant)) {
            Some((_, members)) => members.push((variant, interface)),
            None => groups.push((stem(variant), vec![(variant, interface)])),
        }
    }
    let (mut values, mut types) = (Scope::with(&["all"]), Scope::of_types(package));
    let mut found = Vec::new();
    for (name, mut members) in groups {
        members.sort_by_key(|(variant, _)| std::cmp::Reverse(variant.target));
        if members.iter().all(|(_, interface)| shapes(interface) == shapes(members[0].1)) {
            found.push(bundle(name, &members, &mut values, &mut types));
        } else {
            found.extend(members.iter().map(|member| bundle(&member.0.id, &[*member], &mut values, &mut types)));
        }
    }
    for bundle in &mut found {
        let architecture = release.sources.get(&bundle.component).and_then(|source| source.architecture.as_deref());
        bundle.scores_labels = architecture.and_then(arch::task) == Some(Task::TextEncoding);
    }
    found
}

/// File name of a variant's bundle, without extension.
fn placed(variant: &Variant, name: &str) -> String {
    let file = variant.kind.file_name(name);
    file.strip_suffix(variant.kind.extension()).unwrap_or(&file).to_owned()
}

/// The bundle of variants with equal interfaces. The first one describes it: that of the latest target.
fn bundle(name: &str, members: &[(&Variant, &Interface)], values: &mut Scope, types: &mut Scope) -> Bundle {
    let (first, interface) = members[0];
    let mut places: Vec<String> = Vec::new();
    let names = members.iter().map(|(variant, _)| placed(variant, &variant.name));
    for place in names.chain(members.iter().map(|(variant, _)| placed(variant, &variant.id))) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let functions = match interface.functions.is_empty() {
        true => vec![Function::of(None, interface, types.type_name(name))],
        false => {
            let named = interface.functions.iter();
            named
                .map(|(function, own)| {
                    Function::of(Some(function), own, types.type_name(&format!("{name}-{function}")))
                })
                .collect()
        }
    };
    Bundle {
        name: name.to_owned(),
        value: values.value_name(name),
        places: places.iter().map(|place| literal(place)).collect(),
        functions,
        component: first.component.clone(),
        scores_labels: false,
        axes: first.axes.clone(),
        interface: interface.clone(),
    }
}
