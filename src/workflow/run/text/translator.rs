//! An encoder and a decoder: the text is encoded once, a cached decoder's keys and values of attention to it are made once, then every token is a call.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{
    TextRunError,
    choice::{Candidate, Chosen, Encoder, fitting, has, length},
    sentences::padded,
};
use crate::{
    eval::Mode,
    manifest::release::{Feature, Interface},
    ops,
    text::{Limits, NextToken, Tokenizer},
    workflow::{Context, Error, bundles::Bundle},
};

const CACHES: [&str; 2] = ["key_cache", "value_cache"];

/// A text as the encoder takes it.
#[derive(Debug)]
pub(super) struct Source {
    pub ids: Vec<u32>,
    /// How many tokens at the end must stay when it is cut.
    tail: usize,
}

impl Source {
    /// `text </s>`; with languages `<src> <en> text </s> <tgt> <de>`.
    pub(super) fn new(tokenizer: &Tokenizer, text: &str, languages: Option<&(String, String)>) -> Result<Self, TextRunError> {
        let Some((from, to)) = languages else {
            let marks = tokenizer.id("<src>").is_some() && tokenizer.id("<tgt>").is_some();
            return if marks { Err(TextRunError::NoLanguages) } else { Ok(Self { ids: tokenizer.encode(text, true)?, tail: 1 }) };
        };
        let need = |token: &str| tokenizer.need(token);
        let mark = |language: &str| need(&format!("<{language}>"));
        let tail = [need("</s>")?, need("<tgt>")?, mark(to)?];
        let own = tokenizer.encode(text, false)?;
        let ids = [need("<src>")?, mark(from)?].into_iter().chain(own).chain(tail).collect();
        Ok(Self { ids, tail: tail.len() })
    }
}

/// A translator that was opened.
#[derive(Debug)]
pub(super) struct Translator {
    encoder: (Bundle, Interface),
    decoder: (Bundle, Interface),
    /// A bundle that makes keys and values, where the decoder has no function for it.
    cross: Option<Bundle>,
    cached: bool,
    mode: Mode,
}

/// A text that was encoded: what the decoder is given with every call.
pub(super) struct Encoded<'a> {
    translator: &'a Translator,
    inputs: BTreeMap<String, Tensor>,
}

/// What a decoder remembers. Tensors are never changed in place, so copies cost nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    tokens: Vec<i64>,
    states: BTreeMap<String, Tensor>,
    caches: BTreeMap<String, Tensor>,
}

impl Translator {
    /// Opens what fits texts of `wanted` tokens best.
    pub(super) fn open(context: &Context, chosen: &Chosen, wanted: usize, mode: Mode) -> Result<Self, Error> {
        let missing = |missing| TextRunError::Missing { package: chosen.name.clone(), missing };
        let Encoder::Tokens(encoders) = &chosen.encoder else { unreachable!("text was asked for") };
        let encoded = |candidate: &Candidate| length(&candidate.interface.inputs, "encoder_attention_mask", 1);
        let tokens = |candidate: &Candidate| length(&candidate.interface.inputs, "decoder_input_ids", 1);
        let cross_of = |decoder: &Candidate| {
            let fits = |cross: &&Candidate| length(&cross.interface.inputs, "encoder_hidden_states", 1) == encoded(decoder);
            chosen.crosses.iter().find(fits)
        };
        let is_whole = |decoder: &Candidate| !decoder.is_cached() || decoder.interface.functions.contains_key("cross");
        let mut decoders: Vec<Candidate> = chosen.decoders.iter().filter(|it| is_whole(it) || cross_of(it).is_some()).cloned().collect();
        if decoders.is_empty() {
            return Err(missing("decoder that can be run").into());
        }
        // The longest uncached one; of cached ones the one that takes the fewest tokens at once.
        decoders.sort_by_key(|decoder| {
            (!decoder.is_cached(), if decoder.is_cached() { tokens(decoder) } else { usize::MAX - tokens(decoder) })
        });
        let (cached, count) = (decoders[0].is_cached(), tokens(&decoders[0]));
        decoders.retain(|decoder| (decoder.is_cached(), tokens(decoder)) == (cached, count));
        let decoder = fitting(&decoders, wanted, encoded).ok_or_else(|| missing("decoder"))?;
        let own = |candidate: &Candidate| length(&candidate.interface.inputs, "input_ids", 1);
        let encoder = fitting(encoders, wanted.min(encoded(decoder)), own).ok_or_else(|| missing("encoder"))?;
        let cross = cross_of(decoder).filter(|_| !is_whole(decoder)).map(|cross| cross.open(context)).transpose()?;
        Ok(Self {
            encoder: (encoder.open(context)?, encoder.interface.clone()),
            decoder: (decoder.open(context)?, decoder.interface.clone()),
            cross,
            cached,
            mode,
        })
    }

    /// The bundles that are run.
    pub(super) fn names(&self) -> Vec<String> {
        [&self.encoder.0].into_iter().chain(&self.cross).chain([&self.decoder.0]).map(|bundle| bundle.name.clone()).collect()
    }

    fn inputs(&self) -> &[Feature] {
        &self.decoder.1.inputs
    }

    /// Tokens that one text may have.
    pub(super) fn most_tokens(&self) -> usize {
        let features = if self.decoder.1.states.is_empty() { self.inputs() } else { &self.decoder.1.states };
        if self.cached { length(features, CACHES[0], 3) } else { length(self.inputs(), "decoder_input_ids", 1) }
    }

    /// The tokens around a text, as the decoder's bundle notes them.
    pub(super) fn limits(&self) -> Result<Limits, TextRunError> {
        let bundle = &self.decoder.0;
        let note = |topic: &str| bundle.package.metadata().user_defined.get(&format!("dev.mlreg.{topic}"))?.parse::<u32>().ok();
        match (note("start-token"), note("end-token")) {
            (Some(start), Some(end)) => Ok(Limits { start, ends: vec![end], most: self.most_tokens() }),
            _ => Err(TextRunError::NoTokens { bundle: bundle.name.clone() }),
        }
    }

    fn run(
        &self,
        bundle: &Bundle,
        function: Option<&str>,
        inputs: BTreeMap<String, Tensor>,
        states: &mut BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>, TextRunError> {
        let interpreter = bundle.package.interpreter(ops::OPERATORS);
        let results = interpreter.run_with_states(function, inputs, states, self.mode);
        results.map_err(|source| TextRunError::Run { bundle: bundle.name.clone(), source })
    }

    /// Encodes a text; also says how many of its tokens were left out.
    pub(super) fn encode(&self, source: &Source) -> Result<(Encoded<'_>, usize), TextRunError> {
        let (encoder, interface) = &self.encoder;
        let (own, other) = (length(&interface.inputs, "input_ids", 1), length(self.inputs(), "encoder_attention_mask", 1));
        let (ids, mask, cut) = padded(&source.ids, own.min(other), source.tail);
        let tensor = |source| TextRunError::Tensor { bundle: encoder.name.clone(), source };
        let row = |mut values: Vec<i64>, length: usize| {
            values.resize(length, 0);
            Tensor::from_vec(values, (1, length), &Device::Cpu).map_err(tensor)
        };
        let inputs = BTreeMap::from([("input_ids".to_owned(), row(ids, own)?), ("attention_mask".to_owned(), row(mask.clone(), own)?)]);
        let hidden = self.run(encoder, None, inputs, &mut BTreeMap::new())?.remove("hidden_states");
        let hidden = hidden.ok_or_else(|| TextRunError::Missing { package: encoder.name.clone(), missing: "result `hidden_states`" })?;
        let kept = hidden.narrow(1, 0, own.min(other)).and_then(|it| it.pad_with_zeros(1, 0, other.saturating_sub(own))).map_err(tensor)?;
        let hidden = BTreeMap::from([("encoder_hidden_states".to_owned(), kept)]);
        let mut inputs = match (&self.cross, self.cached) {
            (_, false) => hidden,
            (Some(cross), true) => self.run(cross, None, hidden, &mut BTreeMap::new())?,
            (None, true) => self.run(&self.decoder.0, Some("cross"), hidden, &mut BTreeMap::new())?,
        };
        inputs.insert("encoder_attention_mask".to_owned(), row(mask, other)?);
        Ok((Encoded { translator: self, inputs }, cut))
    }
}

impl Encoded<'_> {
    /// What the decoder takes beside the text.
    fn call(&self, memory: &Memory) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let features = self.translator.inputs();
        let count = length(features, "decoder_input_ids", 1);
        let seen = if self.translator.cached { &memory.tokens[memory.tokens.len() - 1..] } else { &memory.tokens };
        let row = |mut values: Vec<i64>| {
            values.resize(count, 0);
            Tensor::from_vec(values, (1, count), &Device::Cpu)
        };
        let mut inputs = self.inputs.clone();
        inputs.insert("decoder_input_ids".to_owned(), row(seen.to_vec())?);
        if has(features, "decoder_attention_mask") {
            inputs.insert("decoder_attention_mask".to_owned(), row(vec![1; seen.len()])?);
        }
        if self.translator.cached {
            let position = memory.tokens.len() as i64 - 1;
            inputs.insert("position".to_owned(), Tensor::from_vec(vec![position], 1, &Device::Cpu)?);
        }
        for name in CACHES.into_iter().filter(|name| has(features, name)) {
            let shape = features.iter().find(|feature| feature.name == name).map(|feature| feature.shape.clone()).unwrap_or_default();
            let shape: Vec<usize> = shape.into_iter().map(|n| n as usize).collect();
            let cache = memory.caches.get(name).cloned().map_or_else(|| Tensor::zeros(shape, DType::F32, &Device::Cpu), Ok)?;
            inputs.insert(name.to_owned(), cache);
        }
        Ok(inputs)
    }

    /// The scores after the last token.
    fn scores(&self, memory: &Memory, logits: &Tensor) -> candle_core::Result<Vec<f32>> {
        let rows = logits.dims()[1];
        let row = if self.translator.cached || rows == 1 { 0 } else { memory.tokens.len() - 1 };
        logits.narrow(1, row, 1)?.flatten_all()?.to_vec1()
    }
}

impl NextToken for Encoded<'_> {
    type Memory = Memory;
    type Error = TextRunError;

    fn start(&self) -> Memory {
        Memory::default()
    }

    fn next(&self, memory: &mut Memory, token: u32) -> Result<Vec<f32>, TextRunError> {
        let bundle = &self.translator.decoder.0;
        let tensor = |source| TextRunError::Tensor { bundle: bundle.name.clone(), source };
        memory.tokens.push(i64::from(token));
        let inputs = self.call(memory).map_err(tensor)?;
        let mut results = self.translator.run(bundle, None, inputs, &mut memory.states)?;
        for name in CACHES {
            if let Some(cache) = results.remove(&format!("{name}_out")) {
                memory.caches.insert(name.to_owned(), cache);
            }
        }
        let missing = || TextRunError::Missing { package: bundle.name.clone(), missing: "result `logits`" };
        self.scores(memory, &results.remove("logits").ok_or_else(missing)?).map_err(tensor)
    }
}
