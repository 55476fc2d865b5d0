//! A language model alone: a prompt is read in long calls, then every token is a call. Bundles of several lengths,
//! functions of one bundle and chains of chunks are all calls of some number of tokens, over the same states.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use candle_core::{DType, Device, Tensor};

use super::{
    TextRunError,
    choice::Candidate,
    opened::{Opened, Runner},
};
use crate::{
    contract::{Bundle, BundleStep, LanguageForm, features, language_forms, notes::EndTokens},
    eval::{Mode, States},
    text::NextToken,
    workflow::{Context, Error},
};

/// The bundles of one language model.
#[derive(Debug)]
pub(in crate::workflow) struct LanguageBundles {
    opened: Vec<Opened>,
    /// By the tokens of a call: a step per chunk, whose bundle is an index into `opened`.
    calls: BTreeMap<usize, Vec<BundleStep>>,
    cached: bool,
    context: usize,
}

impl LanguageBundles {
    /// Opens the first whole model: caches before none, then the preferred making, states before inputs, long contexts
    /// before short ones.
    ///
    /// # Errors
    /// When no model is whole, or a bundle cannot be opened.
    pub(super) fn open(context: &Context, name: &str, candidates: &[Candidate]) -> Result<Self, Error> {
        let facts: Vec<Bundle<'_>> = candidates.iter().map(Candidate::facts).collect();
        let forms = language_forms(&facts);
        let best = forms.iter().min_by_key(|form| preference(form, candidates));
        let missing =
            || TextRunError::Missing { package: name.to_owned(), missing: "language model whose chunks are all there" };
        Self::of(context, best.ok_or_else(missing)?, candidates)
    }

    fn of(context: &Context, form: &LanguageForm, candidates: &[Candidate]) -> Result<Self, Error> {
        let used: BTreeSet<usize> = form.calls.values().flatten().map(|step| step.bundle).collect();
        let places: BTreeMap<usize, usize> = used.iter().enumerate().map(|(place, &bundle)| (bundle, place)).collect();
        let moved = |step: &BundleStep| BundleStep { bundle: places[&step.bundle], function: step.function.clone() };
        let calls = form.calls.iter().map(|(&tokens, steps)| (length(tokens), steps.iter().map(moved).collect()));
        Ok(Self {
            calls: calls.collect(),
            opened: used.iter().map(|&bundle| Opened::new(context, &candidates[bundle])).collect::<Result<_, _>>()?,
            cached: form.cached,
            context: form.context.map_or(usize::MAX, length),
        })
    }

    /// Names of the bundles that run.
    pub(in crate::workflow) fn names(&self) -> Vec<String> {
        self.opened.iter().map(|opened| opened.bundle.name.clone()).collect()
    }

    /// How many tokens fit, prompt and answer together.
    pub(in crate::workflow) fn context(&self) -> usize {
        self.context
    }

    /// Prepares interpreters for the bundles.
    pub(in crate::workflow) fn model(&self, mode: Mode) -> LanguageModel<'_> {
        LanguageModel { bundles: self, runners: self.opened.iter().map(|opened| opened.runner(mode)).collect() }
    }
}

fn length(tokens: u64) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX)
}

/// The form that is lowest is run. All bundles of a form have one order of preference.
fn preference(form: &LanguageForm, candidates: &[Candidate]) -> impl Ord + use<> {
    let order = form.calls.values().flatten().next().map(|step| candidates[step.bundle].order());
    (!form.cached, order, !form.states, Reverse(form.slots))
}

/// A language model with its interpreters.
#[derive(Debug)]
pub(in crate::workflow) struct LanguageModel<'a> {
    bundles: &'a LanguageBundles,
    runners: Vec<Runner<'a>>,
}

/// Caches of a model after the tokens of a text.
#[derive(Debug, Clone, Default)]
pub(in crate::workflow) struct Memory {
    tokens: Vec<u32>,
    /// Of each chunk.
    states: Vec<States>,
    caches: Vec<BTreeMap<String, Tensor>>,
}

impl Memory {
    /// The part of `tokens` that has not been read. Clears the memory if `tokens` does not start with the tokens in it.
    pub(super) fn rest_of<'t>(&mut self, tokens: &'t [u32]) -> &'t [u32] {
        if !tokens.starts_with(&self.tokens) {
            *self = Self::default();
        }
        &tokens[self.tokens.len()..]
    }

    /// Records tokens without reading them, for a model without a cache, which reads all of them with every call.
    pub(super) fn recall(&mut self, tokens: &[u32]) {
        self.tokens.extend(tokens);
    }
}

impl LanguageModel<'_> {
    /// Whether tokens that were read need not be read again.
    pub(super) fn reads_ahead(&self) -> bool {
        self.bundles.cached
    }

    /// The tokens that end a text, as one of the bundles notes them.
    pub(super) fn ends(&self) -> Vec<u32> {
        let note = self.runners.iter().find_map(|runner| runner.bundle().notes().get::<EndTokens>());
        note.map(|tokens| tokens.ids()).unwrap_or_default()
    }

    /// Reads `tokens` after those in the memory; returns one row of logits per token. A model without a cache reads all
    /// tokens again.
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

    /// One call: rows of logits for `tokens`, without those of padding.
    fn call(&self, memory: &mut Memory, tokens: &[u32], position: usize) -> Result<Vec<Vec<f32>>, TextRunError> {
        let calls = &self.bundles.calls;
        let (&length, steps) =
            calls.range(tokens.len()..).next().or_else(|| calls.last_key_value()).expect("a model has calls");
        memory.states.resize_with(steps.len(), States::default);
        memory.caches.resize_with(steps.len(), BTreeMap::new);
        let mut handed: Option<Tensor> = None;
        for (chunk, step) in steps.iter().enumerate() {
            let runner = &self.runners[step.bundle];
            let inputs = self.inputs(step, memory, chunk, tokens, (position, length), handed.take());
            let inputs = inputs.map_err(|source| runner.wrong_tensor(source))?;
            let mut results = runner.run(step.function.as_deref(), inputs, &mut memory.states[chunk])?;
            let given = match chunk + 1 == steps.len() {
                true => results.remove(features::LOGITS),
                false => {
                    results.remove(features::HIDDEN_STATES).or_else(|| results.remove(features::HIDDEN_STATES_OUT))
                }
            };
            handed = Some(given.ok_or_else(|| runner.missing("result `logits` or `hidden_states`"))?);
            let caches = results
                .into_iter()
                .filter_map(|(name, cache)| Some((features::input_of_updated(&name)?.to_owned(), cache)));
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
        step: &BundleStep,
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
                features::INPUT_IDS => row(tokens.iter().map(|&id| id.into()).collect())?,
                features::ATTENTION_MASK => row(vec![1; tokens.len()])?,
                features::POSITION => Tensor::from_vec(vec![position as i64], 1, &Device::Cpu)?,
                features::HIDDEN_STATES => match &handed {
                    Some(states) => states.clone(),
                    None => continue,
                },
                name => {
                    let shape: Vec<usize> = feature.shape.iter().map(|&n| n as usize).collect();
                    memory.caches[chunk]
                        .get(name)
                        .cloned()
                        .map_or_else(|| Tensor::zeros(shape, DType::F32, &Device::Cpu), Ok)?
                }
            };
            inputs.insert(feature.name.clone(), value);
        }
        Ok(inputs)
    }
}

/// A model that has read a prompt except for its last token.
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
