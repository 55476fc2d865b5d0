//! From tensors to stages: names are those of transformers, for every family.

use std::ops::Range;

use super::{
    settings::{NormPlace, Settings},
    stack::{Caches, Entry, Exit, LastNorm, interfaces, sentence_interfaces},
};
use crate::{
    arch::{
        ArchError, LoadOptions, Network, Stage, Tensors,
        blocks::{
            Embedding, FeedForward, Heads, KeyValueCache, Linear, PostNormLayer, PreNormLayer, RmsNorm, Rotary, Scale,
            SelfAttention, SentenceModules,
            layer::{BIAS, WINDOW_BIAS},
        },
    },
    checkpoint::Weights,
    contract::{
        CacheForm, Chunk, Notes,
        notes::{EndTokens, LongRope, Pooling},
    },
};

pub(super) const EMBEDDING: &str = "embed_tokens";
const LAYERS: &str = "layers";
const HEAD: &str = "lm_head.weight";
/// Rings have a multiple of so many slots, which the Neural Engine wants.
const SLOTS: u64 = 32;

/// What the names of a checkpoint's tensors start with; nothing where the model was saved without a head of its own, as
/// `AutoModel` saves it.
pub(super) fn prefix(weights: &dyn Weights) -> &'static str {
    let is_there = |prefix: &str| weights.info(&format!("{prefix}{EMBEDDING}.weight")).is_some();
    if !is_there("model.") && is_there("") { "" } else { "model." }
}

/// Reads a model, or a chunk of it.
pub(super) struct Reader<'a> {
    pub tensors: &'a Tensors<'a>,
    /// What the names of all tensors but the head's start with.
    pub prefix: &'static str,
    pub settings: &'a Settings,
    pub options: &'a LoadOptions,
}

impl Reader<'_> {
    /// The whole model, as a sentence encoder.
    pub(super) fn encoder(&self, modules: SentenceModules) -> Result<Network, ArchError> {
        let count = self.settings.layers.len() as u64;
        let (_, mut stages) = self.trunk(Chunk::WHOLE.layers(count), true)?;
        stages.push(Box::new(LastNorm { norm: self.norm()? }));
        self.tensors.skip(|name| name == HEAD);
        let notes = self.notes().with(&Pooling(modules.describe()));
        let interfaces = sentence_interfaces(self.settings.width, modules.width(), stages.len() + 1);
        stages.push(Box::new(modules));
        let description = "Sentence encoder: makes a vector from a text".to_owned();
        Ok(Network { description, interfaces, stages, compute: self.options.compute, notes })
    }

    /// Entry and layers of a run, and its caches.
    fn trunk(&self, own: Range<u64>, is_first: bool) -> Result<(Caches, Vec<Box<dyn Stage>>), ArchError> {
        let caches = self.caches(own.clone());
        let layers = &self.settings.layers[own.start as usize..own.end as usize];
        let entry = Entry {
            settings: self.settings.clone(),
            layers: layers.to_vec(),
            embedding: is_first.then(|| self.embedding()).transpose()?,
            rotary: if layers.iter().any(|layer| layer.rotary) { self.rotary()? } else { None },
            compute: self.options.compute,
            caches,
        };
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(entry)];
        let mut places = (0, 0);
        for index in own {
            stages.push(self.layer(index, caches, &mut places)?);
        }
        Ok((caches, stages))
    }

    pub(super) fn network(&self, ends: &[u64]) -> Result<Network, ArchError> {
        let count = self.settings.layers.len() as u64;
        let chunk = self.options.chunk.unwrap_or(Chunk::WHOLE);
        if u64::from(chunk.count) > count {
            let why = format!("this model has {count} layers");
            return Err(ArchError::Form { axis: "chunks", found: chunk.count.to_string(), why });
        }
        let own = chunk.layers(count);
        if self.options.window_cache && !self.settings.layers.iter().any(|layer| layer.sliding) {
            let why = "no layer of this model has a window".to_owned();
            return Err(ArchError::Form { axis: "window-cache", found: "true".to_owned(), why });
        }
        let (caches, mut stages) = self.trunk(own, chunk.is_first())?;
        let exit = Exit { head: chunk.is_last().then(|| self.head()).transpose()?, caches };
        stages.push(Box::new(exit));
        self.skip_the_rest(chunk, count);
        let interfaces = interfaces(self.settings.width, self.settings.vocabulary, chunk, caches, stages.len());
        let mut notes = self.notes();
        if !ends.is_empty() {
            notes.add(&EndTokens(ends.to_vec()));
        }
        if let Some(chunk) = &self.options.chunk {
            notes.add(chunk);
        }
        let description = match self.options.chunk {
            None => "Language model: scores the next token of a text".to_owned(),
            Some(Chunk { number, count }) => format!("Language model, part {number} of {count}"),
        };
        Ok(Network { description, interfaces, stages, compute: self.options.compute, notes })
    }

    /// The caches of the layers `own`.
    fn caches(&self, own: Range<u64>) -> Caches {
        let Heads { key_value: heads, size, .. } = self.settings.heads;
        let cache = |layers: usize, ring| KeyValueCache { layers: layers as u64, heads, size, ring };
        let ring = match (self.options.window_cache, self.settings.window) {
            (true, Some(window)) => Some((window + self.options.longest.max(1) - 1).next_multiple_of(SLOTS)),
            _ => None,
        };
        let layers = &self.settings.layers[own.start as usize..own.end as usize];
        let in_ring = layers.iter().filter(|layer| layer.sliding && ring.is_some()).count();
        Caches { all: cache(layers.len() - in_ring, None), ring: ring.map(|ring| cache(in_ring, Some(ring))) }
    }

    fn embedding(&self) -> Result<Embedding, ArchError> {
        Embedding::read(
            self.tensors,
            &format!("{}{EMBEDDING}", self.prefix),
            self.settings.vocabulary,
            self.settings.width,
            1.0,
        )
    }

    fn rotary(&self) -> Result<Option<Rotary>, ArchError> {
        let (rope, positions) = (&self.settings.rope, self.options.positions);
        Ok(Rotary::new(rope.frequencies(positions)?, positions, rope.magnitude, self.options.compute))
    }

    /// The last norm.
    fn norm(&self) -> Result<RmsNorm, ArchError> {
        let Settings { width, epsilon, .. } = *self.settings;
        RmsNorm::read(self.tensors, self.prefix.trim_end_matches('.'), "norm", width, epsilon)
    }

    /// The last norm and the head, which in tied models is the embedding.
    fn head(&self) -> Result<(RmsNorm, Linear), ArchError> {
        let Settings { width, vocabulary, tied, .. } = *self.settings;
        let norm = self.norm()?;
        let weight = match tied {
            true => self.embedding()?.table().clone(),
            false if !self.tensors.has(HEAD) => return Err(ArchError::NoHead { name: HEAD }),
            false => self.tensors.get_shaped(HEAD, &[vocabulary, width])?,
        };
        Ok((norm, Linear::new("lm_head", weight, None)))
    }

    fn layer(&self, index: u64, caches: Caches, places: &mut (u64, u64)) -> Result<Box<dyn Stage>, ArchError> {
        let name = format!("{}{LAYERS}.{index}", self.prefix);
        let norm = |part: &str| RmsNorm::read(self.tensors, &name, part, self.settings.width, self.settings.epsilon);
        let attention = self.attention(&name, index, caches, places)?;
        let feed_forward = self.feed_forward(&name)?;
        Ok(match self.settings.norms {
            NormPlace::Before => Box::new(PreNormLayer {
                attention: (norm("input_layernorm")?, attention),
                cross: None,
                feed_forward: (norm("post_attention_layernorm")?, feed_forward),
                name,
            }),
            NormPlace::Behind => Box::new(PostNormLayer {
                attention: (attention, norm("post_attention_layernorm")?),
                feed_forward: (feed_forward, norm("post_feedforward_layernorm")?),
                name,
            }),
        })
    }

    fn attention(
        &self,
        layer: &str,
        index: u64,
        caches: Caches,
        places: &mut (u64, u64),
    ) -> Result<SelfAttention, ArchError> {
        let Settings { width, heads, biases, fused, .. } = *self.settings;
        let kind = self.settings.layers[index as usize];
        let [query, key_value] = [heads.query, heads.key_value].map(|count| count * heads.size);
        let name = |part: &str| format!("self_attn.{part}");
        let inputs = if fused {
            let rows = [("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)];
            self.rows(layer, &name("qkv_proj"), width, rows.map(|(part, rows)| (name(part), rows)))?
        } else {
            [("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)]
                .map(|(part, rows)| self.linear(layer, &name(part), width, rows, biases.query_key_value))
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?
        };
        let inputs = <[Linear; 3]>::try_from(inputs).expect("three products were made");
        let output = self.linear(layer, &name("o_proj"), query, width, biases.output)?;
        let norm = |part: &str| RmsNorm::read(self.tensors, layer, &name(part), heads.size, self.settings.epsilon);
        let head_norms =
            self.settings.head_norms.then(|| Ok::<_, ArchError>([norm("q_norm")?, norm("k_norm")?])).transpose()?;
        let bias = if kind.sliding { WINDOW_BIAS } else { BIAS };
        let cache = (self.options.cache != CacheForm::None).then(|| caches.take(kind.sliding, places));
        Ok(SelfAttention {
            heads,
            inputs,
            output,
            head_norms,
            rotary: kind.rotary,
            scale: Scale::InverseRoot,
            bias,
            cache,
        })
    }

    fn feed_forward(&self, layer: &str) -> Result<FeedForward, ArchError> {
        let Settings { width, inner, biases, activation, .. } = *self.settings;
        let linear =
            |part: &str, input, output| self.linear(layer, &format!("mlp.{part}"), input, output, biases.feed_forward);
        let (gate, up) = if self.settings.fused {
            let names = ["mlp.gate_proj", "mlp.up_proj"].map(|name| (name.to_owned(), inner));
            let mut both = self.rows(layer, "mlp.gate_up_proj", width, names)?.into_iter();
            (both.next(), both.next())
        } else {
            (Some(linear("gate_proj", width, inner)?), Some(linear("up_proj", width, inner)?))
        };
        let up = up.expect("two products were made");
        Ok(FeedForward { gate, up, down: linear("down_proj", inner, width)?, activation })
    }

    fn linear(&self, layer: &str, name: &str, input: u64, output: u64, bias: bool) -> Result<Linear, ArchError> {
        let weight = self.tensors.get_shaped(&format!("{layer}.{name}.weight"), &[output, input])?;
        let bias = bias.then(|| self.tensors.get_shaped(&format!("{layer}.{name}.bias"), &[output])).transpose()?;
        Ok(Linear::new(name, weight, bias))
    }

    /// Products whose weights are rows of one tensor.
    fn rows<const N: usize>(
        &self,
        layer: &str,
        name: &str,
        input: u64,
        parts: [(String, u64); N],
    ) -> Result<Vec<Linear>, ArchError> {
        let total = parts.iter().map(|(_, rows)| rows).sum();
        let all = self.tensors.get_shaped(&format!("{layer}.{name}.weight"), &[total, input])?;
        let mut first = 0;
        let take = |(part, rows): (String, u64)| {
            let weight = all.slice(0, first, rows).expect("the rows add up to the tensor");
            first += rows;
            Linear::new(&part, weight, None)
        };
        Ok(parts.into_iter().map(take).collect())
    }

    /// Notes of every bundle, whatever its part and chunk.
    fn notes(&self) -> Notes {
        let note = self.settings.rope.note(self.options.positions);
        note.map_or_else(Notes::default, |note| Notes::default().with(&LongRope(note)))
    }

    /// What other chunks have, and the copy of a tied head.
    fn skip_the_rest(&self, chunk: Chunk, count: u64) {
        let own = chunk.layers(count);
        let [norm, embedding] = ["norm", EMBEDDING].map(|name| format!("{}{name}.weight", self.prefix));
        let elsewhere = |name: &str| match name.strip_prefix(&format!("{}{LAYERS}.", self.prefix)) {
            Some(rest) => rest
                .split('.')
                .next()
                .and_then(|index| index.parse().ok())
                .is_some_and(|index| index < count && !own.contains(&index)),
            None if name == HEAD => self.settings.tied || !chunk.is_last(),
            None if name == norm => !chunk.is_last(),
            None => name == embedding && !chunk.is_first() && !(chunk.is_last() && self.settings.tied),
        };
        self.tensors.skip(elsewhere);
    }
}
