//! What encoder-decoders share: the features of their parts, and the stages around their layers.
//!
//! Parts: `encoder`; `decoder`; `cross`, which makes the keys and values of a cached decoder's attention to the
//! encoder, once per text. From iOS18 on a cached decoder's bundle has it as its function `cross`; before, bundles have
//! one function, and it is a component of its own.

use std::sync::Arc;

use super::{
    ArchError, Feature, Flow, Form, Interface, Interfaces, LoadOptions, Network, Stage, TextShape,
    blocks::{
        CrossAttention, Embedding, Heads, KeyValueCache, Linear, Positions, PreNormLayer, RelativeBias, RmsNorm,
        Rotary, SentenceModules, causal_bias, from_layout, key_positions,
        layer::{BIAS, COS, CROSS_BIAS, CROSS_KEYS, CROSS_SEEING, CROSS_VALUES, ENCODED, HIDDEN, SEEING, SIN},
        padding_bias, seeing, stricter, to_layout,
    },
};
use crate::{
    contract::{
        CacheForm, LogitsForm, Notes, features,
        notes::{self, EndTokens, StartToken},
    },
    mil::{Builder, Constant, DataType, Var},
};

pub(super) const PARTS: &[&str] = &["encoder", "decoder", "cross"];
/// The mask of attention to itself in the flow, for layers that add a bias of their own.
const MASK: &str = "own_mask";

/// The keys of a component that mean something for a part.
pub(super) fn component_keys(part: Option<&str>) -> &'static [&'static str] {
    match part {
        Some("decoder") => &["sequence", "encoder-sequence", "context", "cache", "logits", "linear", "attention"],
        Some("cross") => &["sequence", "encoder-sequence", "linear"],
        _ => &["sequence", "linear", "attention"],
    }
}

/// A part of an encoder-decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Encoder,
    Decoder,
    Cross,
}

impl Part {
    pub(super) fn of(options: &LoadOptions, architecture: &'static str) -> Result<Self, ArchError> {
        let part = match options.part.as_deref() {
            Some("encoder") => Self::Encoder,
            Some("decoder") => Self::Decoder,
            Some("cross") => Self::Cross,
            found => return Err(ArchError::Part { architecture, parts: PARTS, found: found.map(str::to_owned) }),
        };
        match options.cache {
            CacheForm::None => Ok(part),
            _ if part == Self::Decoder => Ok(part),
            _ => {
                let why = "only a decoder has a cache of earlier tokens".to_owned();
                Err(ArchError::Form {
                    axis: "cache",
                    found: format!("of part `{}`", options.part.as_deref().unwrap_or_default()),
                    why,
                })
            }
        }
    }
}

/// How a part is put together, beside its layers.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub part: Part,
    pub heads: Heads,
    pub width: u64,
    pub vocabulary: u64,
    /// Of the decoder.
    pub layers: u64,
    /// The tokens before the first and behind the last one of a text.
    pub tokens: (u64, u64),
    /// Queries without keys give zeros.
    pub zero_blind: bool,
    /// Longest sequence or context, where a table ends.
    pub positions: Option<u64>,
    /// Channels of a text's vector, where an encoder gives one.
    pub sentence: Option<u64>,
}

impl Side {
    fn cache(&self) -> KeyValueCache {
        KeyValueCache { layers: self.layers, heads: self.heads.key_value, size: self.heads.size, ring: None }
    }

    fn check(&self, form: &Form) -> Result<TextShape, ArchError> {
        let text = form.text()?;
        let (axis, longest) =
            if text.context > text.sequence { ("context", text.context) } else { ("sequence", text.sequence) };
        match self.positions {
            Some(positions) if longest > positions => Err(ArchError::Form {
                axis,
                found: longest.to_string(),
                why: format!("this model has {positions} positions"),
            }),
            _ => Ok(text),
        }
    }

    fn cross_caches(&self, text: TextShape) -> [Feature; 2] {
        let shape = [self.layers, 1, self.heads.key_value, text.encoder_sequence, self.heads.size];
        [
            Feature::float(CROSS_KEYS, "keys of attention to the encoder, as `cross` makes them", &shape),
            Feature::float(CROSS_VALUES, "values of attention to the encoder, as `cross` makes them", &shape),
        ]
    }

    fn encoded(&self, text: TextShape) -> Feature {
        Feature::float(
            features::ENCODER_HIDDEN_STATES,
            "what the encoder gives",
            &[1, text.encoder_sequence, self.width],
        )
    }

    fn encoder(&self, form: &Form, stages: usize) -> Result<Interface, ArchError> {
        let length = self.check(form)?.sequence;
        let inputs = vec![
            Feature::int32(features::INPUT_IDS, "tokens of the text, padded behind", &[1, length]),
            Feature::int32(features::ATTENTION_MASK, "1 for tokens of the text, 0 for padding", &[1, length]),
        ];
        let tokens = if self.sentence.is_some() { features::LAST_HIDDEN_STATE } else { features::HIDDEN_STATES };
        let mut outputs = vec![Feature::float(tokens, "a vector for every token", &[1, length, self.width])];
        outputs.extend(
            self.sentence
                .map(|width| Feature::float(features::SENTENCE_EMBEDDING, "one vector for the text", &[1, width])),
        );
        Ok(Interface::main(inputs, outputs, stages))
    }

    /// The positions of the call's tokens, and how many keys they may see.
    fn places(&self, flow: &Flow, form: &Form) -> Result<(Positions, u64), ArchError> {
        let text = form.text()?;
        Ok(match form.cache {
            CacheForm::None => (Positions::FromStart(text.sequence), text.sequence),
            _ => (Positions::From { first: flow.get(features::POSITION), count: text.sequence }, text.context),
        })
    }

    fn cross(&self, form: &Form, name: &str, stages: std::ops::Range<usize>) -> Result<Interface, ArchError> {
        let text = form.text()?;
        let outputs = self.cross_caches(text).to_vec();
        Ok(Interface { name: name.to_owned(), inputs: vec![self.encoded(text)], states: Vec::new(), outputs, stages })
    }

    fn decoder(&self, form: &Form, stages: usize) -> Result<Interface, ArchError> {
        let text = self.check(form)?;
        let length = text.sequence;
        let mask = Feature::int32(
            features::ENCODER_ATTENTION_MASK,
            "1 for tokens of the text, 0 for padding",
            &[1, text.encoder_sequence],
        );
        let mut inputs =
            vec![Feature::int32(features::DECODER_INPUT_IDS, "tokens so far, padded behind", &[1, length])];
        if form.cache == CacheForm::None {
            inputs.push(Feature::int32(features::DECODER_ATTENTION_MASK, "1 for tokens, 0 for padding", &[1, length]));
            inputs.extend([self.encoded(text), mask]);
        } else {
            inputs[0].description = "the next tokens, padded behind".to_owned();
            inputs.push(Feature::int32(features::POSITION, "number of tokens before these", &[1]));
            inputs.push(mask);
            inputs.extend(self.cross_caches(text));
            if form.logits == LogitsForm::Last && length > 1 {
                let why =
                    "a cached decoder does not know which of several tokens are padding: use sequence = 1, or logits = \
                     \"all\"".to_owned();
                return Err(ArchError::Form { axis: "logits", found: "last".to_owned(), why });
            }
        }
        let rows = if form.logits == LogitsForm::Last { 1 } else { length };
        let outputs = vec![Feature::float(features::LOGITS, "scores of every next token", &[1, rows, self.vocabulary])];
        let mut interface = Interface::main(inputs, outputs, stages);
        self.cache().declare(&mut interface, form, text.context);
        Ok(interface)
    }

    /// The functions of the part, whose stages are `stages`; `cross` behind them where the bundle has it.
    pub(super) fn interfaces(self, stages: usize, has_cross: bool) -> Interfaces {
        Box::new(move |form| match self.part {
            Part::Encoder => Ok(vec![self.encoder(form, stages)?]),
            Part::Cross => Ok(vec![self.cross(form, features::MAIN_FUNCTION, 0..stages)?]),
            Part::Decoder => {
                let cross =
                    has_cross.then(|| self.cross(form, features::CROSS_FUNCTION, stages..stages + 1)).transpose()?;
                Ok(std::iter::once(self.decoder(form, stages)?).chain(cross).collect())
            }
        })
    }
}

/// The pieces of a part.
#[derive(Debug)]
pub(super) struct Pieces {
    pub entry: Entry,
    pub layers: Vec<PreNormLayer>,
    /// The bias by position that each layer adds to its scores, where they do not share that of the entry.
    pub biases: Vec<RelativeBias>,
    pub exit: Exit,
    /// What makes an encoder's vector of the text.
    pub sentence: Option<SentenceModules>,
}

/// A part's network: entry, layers, exit; a decoder's keys and values of attention to the encoder.
pub(super) fn network(pieces: Pieces, options: &LoadOptions, mut notes: Notes) -> Network {
    let Pieces { entry, layers, biases, exit, sentence } = pieces;
    let side = entry.side.clone();
    if let Some(sentence) = &sentence {
        notes.add(&notes::Pooling(sentence.describe()));
    }
    if side.part == Part::Decoder {
        notes.add(&StartToken(side.tokens.0));
        notes.add(&EndTokens(vec![side.tokens.1]));
    }
    let description = match side.part {
        Part::Encoder if sentence.is_some() => "Sentence encoder: makes a vector from a text",
        Part::Encoder => "Encoder: makes a vector for every token of a text",
        Part::Decoder => "Decoder: scores the next token of a translation",
        Part::Cross => "Keys and values of a decoder's attention to an encoded text",
    };
    let cross = layers.iter().filter_map(|layer| Some((layer.name.clone(), layer.cross.as_ref()?.1.clone()))).collect();
    let cross = CrossProjection { layers: cross };
    let is_cached = options.cache != CacheForm::None;
    let mut stages: Vec<Box<dyn Stage>> = Vec::new();
    if side.part != Part::Cross {
        stages.push(Box::new(entry));
        let mut biases = biases.into_iter();
        for layer in layers {
            stages.push(match biases.next() {
                Some(relative) => Box::new(BiasedLayer { relative, side: side.clone(), layer }),
                None => Box::new(layer),
            });
        }
        stages.push(Box::new(exit));
        stages.extend(sentence.map(|sentence| Box::new(sentence) as Box<dyn Stage>));
    }
    let count = if side.part == Part::Cross { 1 } else { stages.len() };
    if side.part == Part::Cross || side.part == Part::Decoder && (!is_cached || options.several_functions) {
        stages.push(Box::new(cross));
    }
    let interfaces = side.interfaces(count, is_cached && options.several_functions);
    Network { description: description.to_owned(), interfaces, stages, compute: options.compute, notes }
}

/// What stands before the layers: embeddings, masks, positions.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub side: Side,
    pub embedding: Embedding,
    /// What embeddings are multiplied with in the program.
    pub embedding_scale: Option<f32>,
    pub relative: Option<RelativeBias>,
    pub rotary: Option<Rotary>,
}

impl Entry {
    fn compute(&self) -> DataType {
        self.embedding.table().dtype()
    }

    fn embed(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let ids =
            flow.get(if self.side.part == Part::Encoder { features::INPUT_IDS } else { features::DECODER_INPUT_IDS });
        let mut x = self.embedding.build(builder, ids)?;
        if let Some(scale) = self.embedding_scale {
            x = builder.mul("embedding_scaled", x, scale)?;
        }
        flow.put(HIDDEN, to_layout(builder, "embedded", x, form)?);
        Ok(())
    }

    /// The mask of attention to itself, with the bias of positions.
    fn own_bias(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let (positions, keys) = self.side.places(flow, form)?;
        let mut mask = None;
        if self.side.part == Part::Decoder {
            mask = Some(causal_bias(builder, "causal", positions, key_positions(keys), self.compute())?);
        }
        let name =
            if self.side.part == Part::Encoder { features::ATTENTION_MASK } else { features::DECODER_ATTENTION_MASK };
        if flow.has(name) {
            let padding = padding_bias(builder, "padding", flow.get(name), self.compute())?;
            mask = Some(match mask {
                Some(causal) => stricter(builder, "mask", causal, padding)?,
                None => padding,
            });
            if self.side.zero_blind {
                flow.put(SEEING, seeing(builder, SEEING, mask.unwrap_or(padding), form)?);
            }
        }
        if let Some(mask) = mask {
            flow.put(MASK, mask);
        }
        let relative =
            self.relative.as_ref().map(|relative| relative.build(builder, "relative", positions, keys)).transpose()?;
        let bias = match (mask, relative) {
            (Some(mask), Some(relative)) => Some(builder.add("bias_sum", relative, mask)?),
            (one, other) => one.or(other),
        };
        if let Some(bias) = bias {
            flow.put(BIAS, self.side.heads.bias(builder, "bias", bias, form)?);
        }
        Ok(())
    }

    fn cross_bias(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let mask =
            padding_bias(builder, "encoder_padding", flow.get(features::ENCODER_ATTENTION_MASK), self.compute())?;
        if self.side.zero_blind {
            flow.put(CROSS_SEEING, seeing(builder, CROSS_SEEING, mask, form)?);
        }
        flow.put(CROSS_BIAS, self.side.heads.bias(builder, "cross_bias", mask, form)?);
        if flow.has(features::ENCODER_HIDDEN_STATES) {
            flow.put(ENCODED, to_layout(builder, ENCODED, flow.get(features::ENCODER_HIDDEN_STATES), form)?);
        }
        Ok(())
    }
}

impl Stage for Entry {
    fn name(&self) -> &str {
        &self.name
    }

    fn constants(&self) -> Vec<Constant> {
        let relative = self.relative.iter().flat_map(RelativeBias::constants);
        let rotary = self.rotary.iter().flat_map(Rotary::constants);
        std::iter::once(Arc::clone(self.embedding.table())).chain(relative).chain(rotary).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        self.embed(builder, flow, form)?;
        self.own_bias(builder, flow, form)?;
        if let Some(rotary) = &self.rotary {
            let rows = rotary.rows(builder, self.side.places(flow, form)?.0, form)?;
            flow.put(COS, rows.cos);
            flow.put(SIN, rows.sin);
        }
        if self.side.part == Part::Decoder {
            self.cross_bias(builder, flow, form)?;
            if form.cache != CacheForm::None {
                self.side.cache().enter(builder, flow, flow.get(features::POSITION), form.text()?.sequence, form)?;
            }
        }
        Ok(())
    }
}

/// A layer with a bias by position of its own.
#[derive(Debug)]
struct BiasedLayer {
    relative: RelativeBias,
    side: Side,
    layer: PreNormLayer,
}

impl Stage for BiasedLayer {
    fn name(&self) -> &str {
        self.layer.name()
    }

    fn constants(&self) -> Vec<Constant> {
        self.relative.constants().into_iter().chain(self.layer.constants()).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let (positions, keys) = self.side.places(flow, form)?;
        let mut bias = self.relative.build(builder, "relative", positions, keys)?;
        if flow.has(MASK) {
            bias = builder.add("bias_sum", bias, flow.get(MASK))?;
        }
        flow.put(BIAS, self.side.heads.bias(builder, "bias", bias, form)?);
        self.layer.build(builder, flow, form)
    }
}

/// The last norm, and of a decoder the head.
#[derive(Debug)]
pub(super) struct Exit {
    pub name: String,
    pub side: Side,
    pub norm: RmsNorm,
    /// The head, and what its input is multiplied with.
    pub head: Option<(Linear, Option<f32>)>,
}

impl Exit {
    /// Of [1, sequence, width], or [1, width, 1, sequence]: the last row that the mask keeps.
    fn last_row(builder: &mut Builder, flow: &Flow, x: Var, form: &Form) -> Result<Var, ArchError> {
        if !flow.has(features::DECODER_ATTENTION_MASK) {
            return Ok(x);
        }
        let count = builder.reduce_sum("token_count", flow.get(features::DECODER_ATTENTION_MASK), &[1], false)?;
        let last = builder.sub("last", count, 1)?;
        let last = builder.maximum("last_or_first", last, 0)?;
        let axis = if builder.shape(x).len() == 3 { 1 } else { 3 };
        debug_assert_eq!(builder.shape(x)[axis], form.text()?.sequence);
        Ok(builder.gather("last_row", x, last, axis as i32)?)
    }
}

impl Stage for Exit {
    fn name(&self) -> &str {
        &self.name
    }

    fn constants(&self) -> Vec<Constant> {
        let head = self.head.iter().flat_map(|(head, _)| head.constants());
        self.norm.constants().into_iter().chain(head).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let mut x = flow.get(HIDDEN);
        let Some((head, scale)) = &self.head else {
            let normed = self.norm.build(builder, x, form)?;
            if self.side.sentence.is_some() {
                flow.put(HIDDEN, normed);
                return Ok(());
            }
            flow.put(features::HIDDEN_STATES, from_layout(builder, "states", normed, form)?);
            return Ok(());
        };
        if form.logits == LogitsForm::Last {
            x = Self::last_row(builder, flow, x, form)?;
        }
        x = self.norm.build(builder, x, form)?;
        if let Some(scale) = scale {
            x = builder.mul("head_scaled", x, *scale)?;
        }
        let logits = head.build(builder, x, form)?;
        flow.put(features::LOGITS, from_layout(builder, "scores", logits, form)?);
        self.side.cache().leave(builder, flow, form)
    }
}

/// Makes the keys and values of a cached decoder's attention to the encoder. An uncached decoder makes them layer by
/// layer and only lists their constants here, so that both kinds have the same weight file.
#[derive(Debug)]
pub(super) struct CrossProjection {
    pub layers: Vec<(String, CrossAttention)>,
}

impl Stage for CrossProjection {
    fn name(&self) -> &str {
        "cross"
    }

    fn constants(&self) -> Vec<Constant> {
        self.layers.iter().flat_map(|(_, cross)| cross.key_value.iter().flat_map(Linear::constants)).collect()
    }

    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError> {
        let encoded = to_layout(builder, ENCODED, flow.get(features::ENCODER_HIDDEN_STATES), form)?;
        for (index, name) in [CROSS_KEYS, CROSS_VALUES].into_iter().enumerate() {
            let mut parts = Vec::with_capacity(self.layers.len());
            for (layer, cross) in &self.layers {
                parts.push(builder.scope(layer.as_str(), |builder| {
                    let heads = &cross.heads;
                    let all = cross.key_value[index].build(builder, encoded, form)?;
                    let split = heads.split(builder, "heads", all, heads.key_value, form)?;
                    heads.tokens_first(builder, "rows", split, form)
                })?);
            }
            flow.put(name, builder.stack(name, &parts, 0)?);
        }
        Ok(())
    }
}
