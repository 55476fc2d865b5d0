//! Causal language models among the bundles of a release: which of them make a whole model together, and with how many tokens each can be called.
//!
//! A form is one making (precision, compression, ...) with one length of cache. Its calls are chains with a function of one bundle, or of every
//! chunk. Encoders and decoders of translators are no such models.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde::Serialize;

use super::{
    bundles::{Bundle, Function},
    names::Scope,
};
use crate::contract::{Feature, Interface};

const IDS: &str = "input_ids";
const HIDDEN: &str = "hidden_states";
/// The same of a chunk that takes such, too.
const HIDDEN_OUT: &str = "hidden_states_out";
const LOGITS: &str = "logits";
const POSITION: &str = "position";

/// Bundles that are one model.
#[derive(Debug, Serialize)]
pub(super) struct Form {
    pub name: String,
    pub value: String,
    /// How many tokens fit; none where every layer keeps a window alone.
    pub context: Option<u64>,
    pub cached: bool,
    pub states: bool,
    /// Shortest first.
    pub calls: Vec<Call>,
    #[serde(skip)]
    order: (bool, bool, bool, Reverse<u64>),
}

/// A call of so many tokens.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    pub tokens: u64,
    pub steps: Vec<Step>,
}

/// A bundle's part in a call.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// The constant of its bundle.
    pub bundle: String,
    pub function: Option<String>,
}

/// Where a function stands in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    number: u64,
    count: u64,
}

fn find<'a>(features: &'a [Feature], name: &str) -> Option<&'a Feature> {
    features.iter().find(|feature| feature.name == name)
}

/// Component and number of a chunk.
fn chunk(bundle: &Bundle) -> Option<(&str, Place)> {
    let number = |axis: &str| bundle.axes.get(axis)?.parse().ok();
    let (family, last) = bundle.component.rsplit_once("chunk-")?;
    let number_in_name: u64 = last.parse().ok()?;
    Some((family, Place { number: number("chunk").unwrap_or(number_in_name), count: number("chunks")? }))
}

/// The family that a function belongs to, and its place there; `None` for what is no part of a causal model.
fn place<'a>(bundle: &'a Bundle, interface: &Interface) -> Option<(&'a str, Place)> {
    let is_masked = [POSITION, "attention_mask"].iter().any(|name| find(&interface.inputs, name).is_some());
    let [starts, goes_on] = [IDS, HIDDEN].map(|name| find(&interface.inputs, name).is_some());
    let [ends, hidden, hidden_out] = [LOGITS, HIDDEN, HIDDEN_OUT].map(|name| find(&interface.outputs, name).is_some());
    let hands_on = hidden || hidden_out;
    let known = [IDS, HIDDEN, POSITION, "attention_mask"];
    let is_known = |feature: &Feature| known.contains(&feature.name.as_str()) || is_cache(feature);
    if !is_masked || bundle.scores_labels || !interface.inputs.iter().all(is_known) {
        return None;
    }
    if starts && ends {
        return Some((&bundle.component, Place { number: 1, count: 1 }));
    }
    let (family, place) = chunk(bundle)?;
    let fits = if place.number == 1 { starts } else { goes_on } && if place.number == place.count { ends } else { hands_on };
    fits.then_some((family, place))
}

fn is_cache(feature: &Feature) -> bool {
    feature.name.ends_with("key_cache") || feature.name.ends_with("value_cache")
}

fn caches(interface: &Interface) -> impl Iterator<Item = &Feature> {
    interface.states.iter().chain(&interface.inputs).filter(|feature| is_cache(feature))
}

/// How many tokens a function takes.
fn tokens(interface: &Interface) -> Option<u64> {
    let feature = find(&interface.inputs, IDS).or_else(|| find(&interface.inputs, HIDDEN))?;
    feature.shape.get(1).copied().filter(|&count| count > 0)
}

/// Slots of the cache that keeps every position.
fn slots(interface: &Interface) -> Option<u64> {
    let feature = caches(interface).find(|feature| feature.name == "key_cache")?;
    feature.shape.get(3).copied()
}

/// What all calls of a form have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Making {
    family: String,
    axes: BTreeMap<String, String>,
    chunks: u64,
    slots: Option<u64>,
}

impl Making {
    fn of(bundle: &Bundle, family: &str, place: Place, interface: &Interface) -> Self {
        let lengths = ["sequence", "context", "chunk", "chunks"];
        let axes = bundle.axes.iter().filter(|(axis, _)| !lengths.contains(&axis.as_str()) && !axis.contains("sequence"));
        let axes = axes.map(|(axis, value)| (axis.clone(), value.clone())).collect();
        Self { family: family.to_owned(), axes, chunks: place.count, slots: slots(interface) }
    }

    fn name(&self) -> String {
        let family = if self.family.is_empty() { "chunks" } else { self.family.trim_end_matches('-') };
        let context = self.slots.map(|slots| format!("c{slots}"));
        let usual = ["none", "linear", "all"];
        let axes = self.axes.iter().filter(|(axis, value)| *axis != "io-precision" && !usual.contains(&value.as_str()));
        let axes = axes.map(|(_, value)| value.clone());
        let parts: Vec<String> = std::iter::once(family.to_owned()).chain(context).chain(axes).collect();
        parts.join("-")
    }
}

type Chains<'a> = BTreeMap<u64, BTreeMap<u64, (&'a Bundle, &'a Function)>>;

/// Every form, the one to prefer on a device first: caches, states, float16, long contexts.
pub(super) fn forms(bundles: &[Bundle]) -> Vec<Form> {
    let mut makings: BTreeMap<Making, Chains<'_>> = BTreeMap::new();
    for bundle in bundles {
        for function in &bundle.functions {
            let interface = &function.interface;
            let Some((family, place)) = place(bundle, interface) else { continue };
            let Some(tokens) = tokens(interface) else { continue };
            let chains = makings.entry(Making::of(bundle, family, place, interface)).or_default();
            chains.entry(tokens).or_default().entry(place.number).or_insert((bundle, function));
        }
    }
    // Chunks of which some keep windows alone have no slots to be told by.
    let lengths: Vec<Making> = makings.keys().filter(|making| making.chunks > 1 && making.slots.is_some()).cloned().collect();
    for making in lengths {
        let windows = makings.get(&Making { slots: None, ..making.clone() }).cloned().unwrap_or_default();
        for (tokens, parts) in windows {
            let chain = makings.entry(making.clone()).or_default().entry(tokens).or_default();
            for (number, part) in parts {
                chain.entry(number).or_insert(part);
            }
        }
    }
    let mut scope = Scope::with(&["all"]);
    let mut forms: Vec<Form> = makings.iter().filter_map(|(making, chains)| form(making, chains, &mut scope)).collect();
    forms.sort_by_key(|form| form.order);
    forms
}

/// `None` where no chain is whole.
fn form(making: &Making, chains: &Chains<'_>, scope: &mut Scope) -> Option<Form> {
    let whole = chains.iter().filter(|(_, parts)| parts.len() as u64 == making.chunks);
    let step = |(bundle, function): &(&Bundle, &Function)| Step { bundle: bundle.value.clone(), function: function.name.clone() };
    let calls: Vec<Call> = whole.map(|(&tokens, parts)| Call { tokens, steps: parts.values().map(step).collect() }).collect();
    let longest = calls.last()?.tokens;
    let (_, first) = chains.values().flat_map(BTreeMap::values).next()?;
    let cached = find(&first.interface.inputs, POSITION).is_some();
    let states = chains.values().flat_map(BTreeMap::values).any(|(_, function)| !function.interface.states.is_empty());
    let is_half = making.axes.get("precision").is_none_or(|precision| precision == "float16");
    Some(Form {
        name: making.name(),
        value: scope.value_name(&making.name()),
        context: if cached { making.slots } else { Some(longest) },
        cached,
        states,
        calls,
        order: (!cached, !states, !is_half, Reverse(making.slots.unwrap_or(u64::MAX))),
    })
}

/// The bundles that forms are made of, by their constants.
pub(super) fn used(forms: &[Form]) -> BTreeSet<&str> {
    forms.iter().flat_map(|form| &form.calls).flat_map(|call| &call.steps).map(|step| step.bundle.as_str()).collect()
}
