//! What stands around the layers: embedding, positions, masks and caches before them; the last norm and the head
//! behind.
//!
//! Chunks hand on `hidden_states`, which a chunk in the middle gives as `hidden_states_out`; each makes masks and
//! rotary rows for itself.

use std::sync::Arc;

use super::settings::{LayerKind, Settings};
use crate::{
    arch::{
        ArchError, Feature, Flow, Form, Interface, Interfaces, Stage,
        blocks::{
            Embedding, KeyValueCache, LayerCache, Linear, Positions, RmsNorm, Rotary, causal_bias, from_layout,
            key_positions,
            layer::{BIAS, COS, HIDDEN, SIN, WINDOW_BIAS},
            padding_bias, stricter, to_layout, window_bias,
        },
    },
    contract::{CacheForm, Chunk, LogitsForm, features},
    mil::{Argument, Builder, Constant, DataType, Var},
};

/// The caches of a chunk's layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caches {
    /// Of layers that keep all positions.
    pub all: KeyValueCache,
    /// Of layers that keep their window alone, if any does.
    pub ring: Option<KeyValueCache>,
}

impl Caches {
    /// The next layer's part; `places` counts the layers of both.
    pub(super) fn take(&self, sliding: bool, places: &mut (u64, u64)) -> LayerCache {
        match self.ring.filter(|_| sliding) {
            Some(cache) => {
                places.1 += 1;
                LayerCache { cache, layer: places.1 - 1 }
            }
            None => {
                places.0 += 1;
                LayerCache { cache: self.all, layer: places.0 - 1 }
            }
        }
    }

    /// Those that hold anything.
    fn used(&self) -> impl Iterator<Item = KeyValueCache> {
        std::iter::once(self.all).chain(self.ring).filter(|cache| cache.layers > 0)
    }
}

/// Says what goes in and out of a chunk.
pub(super) fn interfaces(width: u64, vocabulary: u64, chunk: Chunk, caches: Caches, stages: usize) -> Interfaces {
    Box::new(move |form| {
        let text = form.text()?;
        let length = text.sequence;
        let is_cached = form.cache != CacheForm::None;
        let mut inputs = vec![match chunk.is_first() {
            true => Feature::int32(features::INPUT_IDS, "tokens, padded behind", &[1, length]),
            false => Feature::float(features::HIDDEN_STATES, "what the chunk before gives", &[1, length, width]),
        }];
        inputs.push(match is_cached {
            true => Feature::int32(features::POSITION, "number of tokens before these", &[1]),
            false => Feature::int32(features::ATTENTION_MASK, "1 for tokens, 0 for padding", &[1, length]),
        });
        if is_cached && form.logits == LogitsForm::Last && length > 1 {
            let why =
                "a cached decoder does not know which of several tokens are padding: use sequence = 1, or logits = \
                 \"all\""
                    .to_owned();
            return Err(ArchError::Form { axis: "logits", found: "last".to_owned(), why });
        }
        let rows = if form.logits == LogitsForm::Last { 1 } else { length };
        let output = match chunk.is_last() {
            true => Feature::float(features::LOGITS, "scores of every next token", &[1, rows, vocabulary]),
            false => {
                let name = if chunk.is_first() { features::HIDDEN_STATES } else { features::HIDDEN_STATES_OUT };
                Feature::float(name, "`hidden_states` of the next chunk", &[1, length, width])
            }
        };
        let mut interface = Interface::main(inputs, vec![output], stages);
        for cache in caches.used() {
            cache.declare(&mut interface, form, text.context);
        }
        Ok(vec![interface])
    })
}

/// Says what goes in and out of a sentence encoder: `width` channels for each token, `text` for the text.
pub(super) fn sentence_interfaces(width: u64, text: u64, stages: usize) -> Interfaces {
    Box::new(move |form| {
        let length = form.text()?.sequence;
        let inputs = vec![
            Feature::int32(features::INPUT_IDS, "tokens of the text, padded behind", &[1, length]),
            Feature::int32(features::ATTENTION_MASK, "1 for tokens of the text, 0 for padding", &[1, length]),
        ];
        let outputs = vec![
            Feature::float(features::LAST_HIDDEN_STATE, "a vector for every token", &[1, length, width]),
            Feature::float(features::SENTENCE_EMBEDDING, "one vector for the text", &[1, text]),
        ];
        Ok(vec![Interface::main(inputs, outputs, stages)])
    })
}

/// The last norm of a sentence encoder.
#[derive(Debug)]
pub(super) struct LastNorm {
    pub norm: RmsNorm,
}

impl Stage for LastNorm {
    fn name(&self) -> &str {
        "last"
    }

    fn constants(&self) -> Vec<Constant> {
        self.norm.constants()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let normed = self.norm.build(builder, flow.get(HIDDEN), form)?;
        flow.put(HIDDEN, normed);
        Ok(())
    }
}

/// What stands before the layers.
#[derive(Debug)]
pub(super) struct Entry {
    pub settings: Settings,
    /// Its chunk's.
    pub layers: Vec<LayerKind>,
    /// Of the first chunk.
    pub embedding: Option<Embedding>,
    pub rotary: Option<Rotary>,
    pub compute: DataType,
    pub caches: Caches,
}

impl Entry {
    /// Attention to everything before, and what padding hides.
    fn bias(
        &self,
        builder: &mut Builder,
        flow: &Flow,
        name: &str,
        positions: Positions,
        keys: Argument,
    ) -> Result<Var, ArchError> {
        let causal = causal_bias(builder, name, positions, keys, self.compute)?;
        if !flow.has(features::ATTENTION_MASK) {
            return Ok(causal);
        }
        let padding =
            padding_bias(builder, &format!("{name}_padding"), flow.get(features::ATTENTION_MASK), self.compute)?;
        stricter(builder, &format!("{name}_padded"), causal, padding)
    }

    fn masks(
        &self,
        builder: &mut Builder,
        flow: &mut Flow,
        positions: Positions,
        form: &Form,
    ) -> Result<(), ArchError> {
        let (text, heads) = (form.text()?, &self.settings.heads);
        let keys = if form.cache == CacheForm::None { text.sequence } else { text.context };
        let causal = self.bias(builder, flow, "causal", positions, key_positions(keys))?;
        if self.layers.iter().any(|layer| !layer.sliding) {
            flow.put(BIAS, heads.bias(builder, BIAS, causal, form)?);
        }
        let Some(window) = self.settings.window.filter(|_| self.layers.iter().any(|layer| layer.sliding)) else {
            return Ok(());
        };
        let ring = self.caches.ring.filter(|_| form.cache != CacheForm::None);
        let (causal, keys) = match ring {
            None => (causal, key_positions(keys)),
            Some(ring) => {
                let slots = ring.enter_ring(builder, flow, flow.get(features::POSITION), text.sequence, form)?;
                (self.bias(builder, flow, "ring_causal", positions, slots.into())?, slots.into())
            }
        };
        let near = window_bias(builder, "window", positions, keys, window, self.compute)?;
        let both = stricter(builder, "window_causal", causal, near)?;
        flow.put(WINDOW_BIAS, heads.bias(builder, WINDOW_BIAS, both, form)?);
        Ok(())
    }
}

impl Stage for Entry {
    fn name(&self) -> &str {
        "model"
    }

    fn constants(&self) -> Vec<Constant> {
        let embedding = self.embedding.iter().map(|embedding| Arc::clone(embedding.table()));
        embedding.chain(self.rotary.iter().flat_map(Rotary::constants)).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let x = match &self.embedding {
            Some(embedding) => embedding.build(builder, flow.get(features::INPUT_IDS))?,
            None => flow.get(features::HIDDEN_STATES),
        };
        flow.put(HIDDEN, to_layout(builder, "embedded", x, form)?);
        let text = form.text()?;
        let positions = match form.cache {
            CacheForm::None => Positions::FromStart(text.sequence),
            _ => Positions::From { first: flow.get(features::POSITION), count: text.sequence },
        };
        if form.cache != CacheForm::None {
            self.caches.all.enter(builder, flow, flow.get(features::POSITION), text.sequence, form)?;
        }
        self.masks(builder, flow, positions, form)?;
        if let Some(rotary) = self.rotary.as_ref().filter(|_| self.layers.iter().any(|layer| layer.rotary)) {
            let rows = rotary.rows(builder, positions, form)?;
            flow.put(COS, rows.cos);
            flow.put(SIN, rows.sin);
        }
        Ok(())
    }
}

/// What stands behind the layers.
#[derive(Debug)]
pub(super) struct Exit {
    /// Of the last chunk.
    pub head: Option<(RmsNorm, Linear)>,
    pub caches: Caches,
}

impl Stage for Exit {
    fn name(&self) -> &str {
        "head"
    }

    fn constants(&self) -> Vec<Constant> {
        self.head.iter().flat_map(|(norm, head)| norm.constants().into_iter().chain(head.constants())).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        for cache in self.caches.used() {
            cache.leave(builder, flow, form)?;
        }
        let mut x = flow.get(HIDDEN);
        let Some((norm, head)) = &self.head else {
            let states = from_layout(builder, "states", x, form)?;
            flow.put(features::HIDDEN_STATES, states);
            flow.put(features::HIDDEN_STATES_OUT, states);
            return Ok(());
        };
        if form.logits == LogitsForm::Last && flow.has(features::ATTENTION_MASK) {
            let count = builder.reduce_sum("token_count", flow.get(features::ATTENTION_MASK), &[1], false)?;
            let last = builder.sub("last", count, 1)?;
            let last = builder.maximum("last_or_first", last, 0)?;
            let axis = if builder.shape(x).len() == 3 { 1 } else { 3 };
            x = builder.gather("last_row", x, last, axis)?;
        }
        let normed = norm.build(builder, x, form)?;
        let logits = head.build(builder, normed, form)?;
        flow.put(features::LOGITS, from_layout(builder, "scores", logits, form)?);
        Ok(())
    }
}
