//! Translators: the text is encoded once, keys and values of attention to it are computed once for a cached decoder,
//! then each token is one call.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{
    TextRunError,
    choice::{Candidate, Chosen, Encoder, fitting},
    opened::{Opened, Runner},
    sentences::padded,
};
use crate::{
    contract::{
        Interface,
        features::{
            self, ATTENTION_MASK, CROSS_FUNCTION, DECODER_ATTENTION_MASK, DECODER_INPUT_IDS, ENCODER_ATTENTION_MASK,
            ENCODER_HIDDEN_STATES, HIDDEN_STATES, INPUT_IDS, KEY_CACHE, POSITION,
        },
        notes::{EndTokens, StartToken},
    },
    eval::{Mode, States},
    text::{Limits, NextToken, Tokenizer},
    workflow::{Context, Error},
};

const CACHES: [&str; 2] = [KEY_CACHE, features::VALUE_CACHE];

/// Tokens of a text for the encoder.
#[derive(Debug)]
pub(super) struct Source {
    pub ids: Vec<u32>,
    /// How many tokens at the end are never cut.
    tail: usize,
}

impl Source {
    /// Encodes `text </s>`; with languages `<src> <en> text </s> <tgt> <de>`.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        text: &str,
        languages: Option<&(String, String)>,
    ) -> Result<Self, TextRunError> {
        let Some((from, to)) = languages else {
            let marks = tokenizer.id("<src>").is_some() && tokenizer.id("<tgt>").is_some();
            return if marks {
                Err(TextRunError::NoLanguages)
            } else {
                Ok(Self { ids: tokenizer.encode(text, true)?, tail: 1 })
            };
        };
        let need = |token: &str| tokenizer.need(token);
        let mark = |language: &str| need(&format!("<{language}>"));
        let tail = [need("</s>")?, need("<tgt>")?, mark(to)?];
        let own = tokenizer.encode(text, false)?;
        let ids = [need("<src>")?, mark(from)?].into_iter().chain(own).chain(tail).collect();
        Ok(Self { ids, tail: tail.len() })
    }
}

/// The bundles of a translator.
#[derive(Debug)]
pub(super) struct TranslatorBundles {
    encoder: Opened,
    decoder: Opened,
    /// The bundle that computes keys and values of attention to the encoder, if the decoder has no function for it.
    cross: Option<Opened>,
    cached: bool,
}

/// A translator with its interpreters.
#[derive(Debug)]
pub(super) struct Translator<'a> {
    encoder: Runner<'a>,
    decoder: Runner<'a>,
    cross: Option<Runner<'a>>,
    cached: bool,
}

/// An encoded text: inputs that the decoder gets with every call.
pub(super) struct Encoded<'a> {
    translator: &'a Translator<'a>,
    inputs: BTreeMap<String, Tensor>,
}

/// State of a decoder between calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    tokens: Vec<i64>,
    states: States,
    caches: BTreeMap<String, Tensor>,
}

impl TranslatorBundles {
    /// Opens the bundles that fit texts of `wanted` tokens best.
    pub(super) fn open(context: &Context, chosen: &Chosen, wanted: usize) -> Result<Self, Error> {
        let missing = |missing| TextRunError::Missing { package: chosen.name.clone(), missing };
        let Encoder::Tokens(encoders) = &chosen.encoder else { unreachable!("text was asked for") };
        let encoded = |candidate: &Candidate| candidate.interface.input_length(ENCODER_ATTENTION_MASK, 1);
        let tokens = |candidate: &Candidate| candidate.interface.input_length(DECODER_INPUT_IDS, 1);
        let cross_of = |decoder: &Candidate| {
            let fits = |cross: &&Candidate| cross.interface.input_length(ENCODER_HIDDEN_STATES, 1) == encoded(decoder);
            chosen.crosses.iter().find(fits)
        };
        let is_whole =
            |decoder: &Candidate| !decoder.is_cached() || decoder.interface.functions.contains_key(CROSS_FUNCTION);
        let mut decoders: Vec<Candidate> =
            chosen.decoders.iter().filter(|it| is_whole(it) || cross_of(it).is_some()).cloned().collect();
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
        let own = |candidate: &Candidate| candidate.interface.input_length(INPUT_IDS, 1);
        let encoder = fitting(encoders, wanted.min(encoded(decoder)), own).ok_or_else(|| missing("encoder"))?;
        let cross =
            cross_of(decoder).filter(|_| !is_whole(decoder)).map(|cross| Opened::new(context, cross)).transpose()?;
        Ok(Self { encoder: Opened::new(context, encoder)?, decoder: Opened::new(context, decoder)?, cross, cached })
    }

    /// Names of the bundles that run.
    pub(super) fn names(&self) -> Vec<String> {
        [&self.encoder]
            .into_iter()
            .chain(&self.cross)
            .chain([&self.decoder])
            .map(|opened| opened.bundle.name.clone())
            .collect()
    }

    /// Creates the interpreters.
    pub(super) fn translator(&self, mode: Mode) -> Translator<'_> {
        let cross = self.cross.as_ref().map(|cross| cross.runner(mode));
        Translator {
            encoder: self.encoder.runner(mode),
            decoder: self.decoder.runner(mode),
            cross,
            cached: self.cached,
        }
    }
}

impl Translator<'_> {
    fn interface(&self) -> &Interface {
        self.decoder.interface()
    }

    /// Longest result, in tokens.
    pub(super) fn most_tokens(&self) -> usize {
        let slots = || self.interface().caches().find(|cache| cache.name == KEY_CACHE)?.shape.get(3).copied();
        match self.cached {
            true => slots().and_then(|slots| usize::try_from(slots).ok()).unwrap_or(0),
            false => self.interface().input_length(DECODER_INPUT_IDS, 1),
        }
    }

    /// Start and end tokens, from the notes of the decoder's bundle.
    pub(super) fn limits(&self) -> Result<Limits, TextRunError> {
        let bundle = self.decoder.bundle();
        let notes = bundle.notes();
        let start = notes.get::<StartToken>().and_then(|start| start.id());
        let ends = notes.get::<EndTokens>().map(|ends| ends.ids()).filter(|ends| !ends.is_empty());
        match (start, ends) {
            (Some(start), Some(ends)) => Ok(Limits { start, ends, most: self.most_tokens() }),
            _ => Err(TextRunError::NoTokens { bundle: bundle.name.clone() }),
        }
    }

    /// Encodes a text; also returns how many of its tokens were cut.
    pub(super) fn encode(&self, source: &Source) -> Result<(Encoded<'_>, usize), TextRunError> {
        let encoder = &self.encoder;
        let own = encoder.interface().input_length(INPUT_IDS, 1);
        let other = self.interface().input_length(ENCODER_ATTENTION_MASK, 1);
        let (ids, mask, cut) = padded(&source.ids, own.min(other), source.tail);
        let row = |mut values: Vec<i64>, length: usize| {
            values.resize(length, 0);
            Tensor::from_vec(values, (1, length), &Device::Cpu).map_err(|source| encoder.wrong_tensor(source))
        };
        let inputs = BTreeMap::from([
            (INPUT_IDS.to_owned(), row(ids, own)?),
            (ATTENTION_MASK.to_owned(), row(mask.clone(), own)?),
        ]);
        let hidden = encoder.run(None, inputs, &mut States::default())?.remove(HIDDEN_STATES);
        let hidden = hidden.ok_or_else(|| encoder.missing("result `hidden_states`"))?;
        let kept =
            hidden.narrow(1, 0, own.min(other)).and_then(|it| it.pad_with_zeros(1, 0, other.saturating_sub(own)));
        let kept = kept.map_err(|source| encoder.wrong_tensor(source))?;
        let hidden = BTreeMap::from([(ENCODER_HIDDEN_STATES.to_owned(), kept)]);
        let mut inputs = match (&self.cross, self.cached) {
            (_, false) => hidden,
            (Some(cross), true) => cross.run(None, hidden, &mut States::default())?,
            (None, true) => self.decoder.run(Some(CROSS_FUNCTION), hidden, &mut States::default())?,
        };
        inputs.insert(ENCODER_ATTENTION_MASK.to_owned(), row(mask, other)?);
        Ok((Encoded { translator: self, inputs }, cut))
    }
}

impl Encoded<'_> {
    /// All inputs of the decoder's next call.
    fn call(&self, memory: &Memory) -> candle_core::Result<BTreeMap<String, Tensor>> {
        let interface = self.translator.interface();
        let count = interface.input_length(DECODER_INPUT_IDS, 1);
        let seen = if self.translator.cached { &memory.tokens[memory.tokens.len() - 1..] } else { &memory.tokens };
        let row = |mut values: Vec<i64>| {
            values.resize(count, 0);
            Tensor::from_vec(values, (1, count), &Device::Cpu)
        };
        let mut inputs = self.inputs.clone();
        inputs.insert(DECODER_INPUT_IDS.to_owned(), row(seen.to_vec())?);
        if interface.takes(DECODER_ATTENTION_MASK) {
            inputs.insert(DECODER_ATTENTION_MASK.to_owned(), row(vec![1; seen.len()])?);
        }
        if self.translator.cached {
            let position = memory.tokens.len() as i64 - 1;
            inputs.insert(POSITION.to_owned(), Tensor::from_vec(vec![position], 1, &Device::Cpu)?);
        }
        for (name, feature) in CACHES.into_iter().filter_map(|name| Some((name, interface.input(name)?))) {
            let shape: Vec<usize> = feature.shape.iter().map(|&n| n as usize).collect();
            let cache =
                memory.caches.get(name).cloned().map_or_else(|| Tensor::zeros(shape, DType::F32, &Device::Cpu), Ok)?;
            inputs.insert(name.to_owned(), cache);
        }
        Ok(inputs)
    }

    /// The row of logits after the last token.
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
        let decoder = &self.translator.decoder;
        memory.tokens.push(i64::from(token));
        let inputs = self.call(memory).map_err(|source| decoder.wrong_tensor(source))?;
        let mut results = decoder.run(None, inputs, &mut memory.states)?;
        for name in CACHES {
            if let Some(cache) = results.remove(&features::updated(name)) {
                memory.caches.insert(name.to_owned(), cache);
            }
        }
        let logits = results.remove(features::LOGITS).ok_or_else(|| decoder.missing("result `logits`"))?;
        self.scores(memory, &logits).map_err(|source| decoder.wrong_tensor(source))
    }
}
