//! A language model alone: a prompt is read in long calls, then every token is a call. Bundles of several lengths, functions of one bundle and
//! chains of chunks are all calls of some number of tokens, over the same states.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};

use super::{
    TextRunError,
    choice::{Candidate, has, length},
    opened::{Opened, Runner},
};
use crate::{
    contract::Interface,
    eval::{Mode, States},
    text::NextToken,
    workflow::{Context, Error, bundles::Bundle},
};

const STATES: &str = "hidden_states";
/// The same of a chunk that takes such, too.
const STATES_OUT: &str = "hidden_states_out";
const LOGITS: &str = "logits";

/// Whether a bundle is a language model, or a chunk of one.
pub(super) fn is_language_model(interface: &Interface) -> bool {
    let takes = |name: &str| has(&interface.inputs, name);
    let masked = takes("position") || takes("attention_mask");
    masked && (takes("input_ids") && has(&interface.outputs, LOGITS) || is_later_chunk(interface) || is_first_chunk(interface))
}

/// Whether the logits of a bundle are scores of labels, which its metadata name, and not of next tokens.
pub(super) fn scores_labels(bundle: &Bundle) -> bool {
    bundle.package.metadata().user_defined.contains_key("dev.mlreg.labels")
}

/// Whether a bundle takes what a chunk before it gives.
pub(super) fn is_later_chunk(interface: &Interface) -> bool {
    has(&interface.inputs, STATES) && (has(&interface.outputs, STATES_OUT) || has(&interface.outputs, LOGITS))
}

fn is_first_chunk(interface: &Interface) -> bool {
    has(&interface.inputs, "input_ids") && has(&interface.outputs, STATES)
}

/// How many tokens a function takes.
fn tokens(interface: &Interface) -> usize {
    length(&interface.inputs, "input_ids", 1).max(length(&interface.inputs, STATES, 1))
}

/// How many tokens fit: slots of the cache, or the sequence where there is none.
fn context(interface: &Interface) -> usize {
    let features = interface.states.iter().chain(&interface.inputs);
    let slots = features.filter(|it| it.name == "key_cache").filter_map(|it| usize::try_from(*it.shape.get(3)?).ok()).max();
    let rings = || interface.states.iter().chain(&interface.inputs).any(|it| it.name.ends_with("_cache"));
    // Where every layer keeps a window alone, texts have no end.
    slots.unwrap_or_else(|| if rings() { usize::MAX } else { tokens(interface) })
}

/// A function of a bundle: the bundle's place in the list, and the function's name where it is not the default.
#[derive(Debug, Clone)]
struct Step {
    bundle: usize,
    function: Option<String>,
}

/// The bundles of one model, in one making.
#[derive(Debug)]
pub(in crate::workflow) struct LanguageBundles {
    opened: Vec<Opened>,
    /// By the tokens of a call: a step per chunk.
    calls: BTreeMap<usize, Vec<Step>>,
    cached: bool,
    context: usize,
}

/// What belongs together: of which component, where the cache is, how long it is, whether there are chunks.
type Kind<'a> = (&'a str, bool, bool, usize, bool);

fn kind(candidate: &Candidate) -> Kind<'_> {
    let interface = &candidate.interface;
    let whole = has(&interface.inputs, "input_ids") && has(&interface.outputs, LOGITS);
    let length = if candidate.is_cached() { context(interface) } else { 0 };
    (candidate.model(), candidate.is_cached(), !interface.states.is_empty(), if whole { length } else { 0 }, whole)
}

impl LanguageBundles {
    /// Opens the first kind of bundles that make a whole model, caches before others, states before inputs, long contexts before short ones.
    pub(super) fn open(context: &Context, name: &str, candidates: &[Candidate]) -> Result<Self, Error> {
        let mut kinds: Vec<(&Candidate, Kind<'_>)> = candidates.iter().map(|candidate| (candidate, kind(candidate))).collect();
        kinds.sort_by_key(|(candidate, (_, cached, states, length, _))| (!cached, candidate.order(), !states, std::cmp::Reverse(*length)));
        for (best, kind) in &kinds {
            let same = kinds.iter().filter(|(it, other)| other == kind && it.is_made_as(best)).map(|(it, _)| *it);
            if let Some(chosen) = chain(&same.collect::<Vec<_>>()) {
                return Self::of(context, chosen);
            }
        }
        Err(TextRunError::Missing { package: name.to_owned(), missing: "language model whose chunks are all there" }.into())
    }

    fn of(environment: &Context, (candidates, calls): Chain) -> Result<Self, Error> {
        let cached = candidates.first().is_some_and(Candidate::is_cached);
        let slots = candidates.iter().map(|candidate| context(&candidate.interface)).min().unwrap_or(0);
        let longest = calls.keys().last().copied().unwrap_or(0);
        let opened = candidates.iter().map(|candidate| Opened::new(environment, candidate)).collect::<Result<_, _>>()?;
        Ok(Self { opened, calls, cached, context: if cached { slots } else { longest } })
    }

    /// The bundles that are run.
    pub(in crate::workflow) fn names(&self) -> Vec<String> {
        self.opened.iter().map(|opened| opened.bundle.name.clone()).collect()
    }

    /// How many tokens fit, prompt and answer together.
    pub(in crate::workflow) fn context(&self) -> usize {
        self.context
    }

    /// Makes it ready to be run.
    pub(in crate::workflow) fn model(&self, mode: Mode) -> LanguageModel<'_> {
        LanguageModel { bundles: self, runners: self.opened.iter().map(|opened| opened.runner(mode)).collect() }
    }
}

/// Bundles, and the calls that they make by their tokens.
type Chain = (Vec<Candidate>, BTreeMap<usize, Vec<Step>>);

/// The calls that candidates of one kind and making can make; `None` where a chunk is missing.
fn chain(candidates: &[&Candidate]) -> Option<Chain> {
    let whole = candidates.iter().any(|it| has(&it.interface.inputs, "input_ids") && has(&it.interface.outputs, LOGITS));
    let mut steps: BTreeMap<usize, BTreeMap<usize, (usize, Step)>> = BTreeMap::new();
    for (bundle, candidate) in candidates.iter().enumerate() {
        let place = if whole { 1 } else { candidate.chunk()? };
        let functions = &candidate.interface.functions;
        let own = (None, &candidate.interface);
        let named = functions.iter().map(|(name, interface)| (Some(name.clone()), interface));
        for (function, interface) in named.chain((functions.is_empty()).then_some(own)) {
            let context = context(interface);
            let step = (context, Step { bundle, function });
            let slot = steps.entry(tokens(interface)).or_default().entry(place).or_insert_with(|| step.clone());
            if slot.0 < context {
                *slot = step;
            }
        }
    }
    let chunks: usize = if whole { 1 } else { candidates.iter().filter_map(|it| it.chunk()).max()? };
    let is_end = |candidate: &Candidate| has(&candidate.interface.outputs, LOGITS);
    let complete = |parts: &BTreeMap<usize, (usize, Step)>| {
        parts.len() == chunks && parts.last_key_value().is_some_and(|(_, (_, step))| is_end(candidates[step.bundle]))
    };
    steps.retain(|_, parts| complete(parts));
    let used: BTreeSet<usize> = steps.values().flat_map(|parts| parts.values().map(|(_, step)| step.bundle)).collect();
    let place: BTreeMap<usize, usize> = used.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let moved = |step: Step| Step { bundle: place[&step.bundle], function: step.function };
    let calls: BTreeMap<usize, Vec<Step>> =
        steps.into_iter().map(|(length, parts)| (length, parts.into_values().map(|(_, step)| moved(step)).collect())).collect();
    (!calls.is_empty()).then(|| (used.into_iter().map(|index| candidates[index].clone()).collect(), calls))
}

/// A language model that is ready.
#[derive(Debug)]
pub(in crate::workflow) struct LanguageModel<'a> {
    bundles: &'a LanguageBundles,
    runners: Vec<Runner<'a>>,
}

/// What a model remembers of a text.
#[derive(Debug, Clone, Default)]
pub(in crate::workflow) struct Memory {
    tokens: Vec<u32>,
    /// Of each chunk.
    states: Vec<States>,
    caches: Vec<BTreeMap<String, Tensor>>,
}

impl Memory {
    /// What is left to read of `tokens`. What is remembered is forgotten where it is no beginning of them.
    pub(super) fn rest_of<'t>(&mut self, tokens: &'t [u32]) -> &'t [u32] {
        if !tokens.starts_with(&self.tokens) {
            *self = Self::default();
        }
        &tokens[self.tokens.len()..]
    }

    /// Takes tokens as read, which a model without a cache reads with every call.
    pub(super) fn recall(&mut self, tokens: &[u32]) {
        self.tokens.extend(tokens);
    }
}

impl LanguageModel<'_> {
    /// Whether reading a prompt makes what comes after it cheaper.
    pub(super) fn reads_ahead(&self) -> bool {
        self.bundles.cached
    }

    /// The tokens that end a text, as the last bundle notes them.
    pub(super) fn ends(&self) -> Vec<u32> {
        let note = |runner: &Runner<'_>| runner.bundle().package.metadata().user_defined.get("dev.mlreg.end-token").cloned();
        let notes = self.runners.iter().find_map(note).unwrap_or_default();
        notes.split(',').filter_map(|id| id.trim().parse().ok()).collect()
    }

    /// Scores after every one of `tokens`, which stand behind what is remembered: a row per token. Without a cache everything is read again.
    pub(in crate::workflow) fn read(&self, memory: &mut Memory, tokens: &[u32]) -> Result<Vec<Vec<f32>>, TextRunError> {
        let mut rows = Vec::with_capacity(tokens.len());
        if !self.bundles.cached {
            let before = memory.tokens.len();
            memory.tokens.extend(tokens);
            let all = memory.tokens.clone();
            return self.call(memory, &all, 0).map(|rows| rows[before..].to_vec());
        }
        let mut rest = tokens;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.longest()));
            let position = memory.tokens.len();
            rows.extend(self.call(memory, now, position)?);
            memory.tokens.extend(now);
            rest = later;
        }
        Ok(rows)
    }

    fn longest(&self) -> usize {
        self.bundles.calls.keys().last().copied().unwrap_or(1)
    }

    /// One call: rows of logits of `tokens`, padding left out.
    fn call(&self, memory: &mut Memory, tokens: &[u32], position: usize) -> Result<Vec<Vec<f32>>, TextRunError> {
        let calls = &self.bundles.calls;
        let (&length, steps) = calls.range(tokens.len()..).next().or_else(|| calls.last_key_value()).expect("a model has calls");
        memory.states.resize_with(steps.len(), States::default);
        memory.caches.resize_with(steps.len(), BTreeMap::new);
        let mut handed: Option<Tensor> = None;
        for (chunk, step) in steps.iter().enumerate() {
            let runner = &self.runners[step.bundle];
            let inputs = self.inputs(step, memory, chunk, tokens, (position, length), handed.take());
            let inputs = inputs.map_err(|source| runner.wrong_tensor(source))?;
            let mut results = runner.run(step.function.as_deref(), inputs, &mut memory.states[chunk])?;
            let given = match chunk + 1 == steps.len() {
                true => results.remove(LOGITS),
                false => results.remove(STATES).or_else(|| results.remove(STATES_OUT)),
            };
            handed = Some(given.ok_or_else(|| runner.missing("result `logits` or `hidden_states`"))?);
            let caches = results.into_iter().filter_map(|(name, cache)| Some((name.strip_suffix("_out")?.to_owned(), cache)));
            memory.caches[chunk].extend(caches);
        }
        let last = &self.runners[steps[steps.len() - 1].bundle];
        let logits = handed.ok_or_else(|| last.missing("result `logits`"))?;
        let count = tokens.len().min(logits.dims()[1]);
        let rows = logits.narrow(1, 0, count).and_then(|rows| rows.squeeze(0)?.to_vec2());
        rows.map_err(|source| last.wrong_tensor(source))
    }

    fn inputs(
        &self,
        step: &Step,
        memory: &Memory,
        chunk: usize,
        tokens: &[u32],
        (position, length): (usize, usize),
        handed: Option<Tensor>,
    ) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let interface = self.runners[step.bundle].interface();
        let interface = step.function.as_ref().and_then(|name| interface.functions.get(name)).unwrap_or(interface);
        let row = |mut values: Vec<i64>| {
            values.resize(length, 0);
            Tensor::from_vec(values, (1, length), &Device::Cpu)
        };
        let mut inputs = BTreeMap::new();
        for feature in &interface.inputs {
            let value = match feature.name.as_str() {
                "input_ids" => row(tokens.iter().map(|&id| id.into()).collect())?,
                "attention_mask" => row(vec![1; tokens.len()])?,
                "position" => Tensor::from_vec(vec![position as i64], 1, &Device::Cpu)?,
                STATES => match &handed {
                    Some(states) => states.clone(),
                    None => continue,
                },
                name => {
                    let shape: Vec<usize> = feature.shape.iter().map(|&n| n as usize).collect();
                    memory.caches[chunk].get(name).cloned().map_or_else(|| Tensor::zeros(shape, DType::F32, &Device::Cpu), Ok)?
                }
            };
            inputs.insert(feature.name.clone(), value);
        }
        Ok(inputs)
    }
}

/// A model that has read all of a prompt but its last token.
pub(super) struct Prompted<'a> {
    pub model: &'a LanguageModel<'a>,
    pub memory: Memory,
}

impl NextToken for Prompted<'_> {
    type Memory = Memory;
    type Error = TextRunError;

    fn start(&self) -> Memory {
        self.memory.clone()
    }

    fn next(&self, memory: &mut Memory, token: u32) -> Result<Vec<f32>, TextRunError> {
        let mut rows = self.model.read(memory, &[token])?;
        rows.pop().ok_or_else(|| self.model.runners[0].missing("row of logits"))
    }
}
