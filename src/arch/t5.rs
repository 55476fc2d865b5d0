//! T5, T5 v1.1 and FLAN-T5 (Raffel et al. 2020, arXiv 1910.10683; transformers `T5ForConditionalGeneration`, `T5EncoderModel`).
//!
//! Layers normalize before each part and add to one residual stream. Scores are not scaled and carry a bias by relative position, which each
//! stack has once. The head is the embedding where the config ties them, its input then scaled by 1 / sqrt(width).
//!
//! In float16 the residual stream of published checkpoints overflows. So everything that is written to it (embedding, `o`, `wo`) is multiplied
//! by 2^-6, and the epsilon of every norm by 2^-12: the norms take the factor out again, and results are the same in exact arithmetic.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use super::{
    ArchError, Architecture, CacheForm, Config, ConfigKey, Documents, LoadOptions, Network, Tables, Tensors,
    blocks::{
        Activation, Buckets, CrossAttention, Embedding, FeedForward, Heads, KeyValueCache, LayerCache, Linear, PreNormLayer, RelativeBias,
        RmsNorm, Scale, SelfAttention, layer::BIAS,
    },
    keys::{irrelevant, only, read},
    translator::{self, Entry, Exit, PARTS, Part, Side},
};
use crate::{checkpoint::Weights, mil::DataType};

const NAME: &str = "t5";
/// What the residual stream is multiplied with in float16.
const RESIDUAL_SCALE: f64 = 1.0 / 64.0;
/// Distances that a table of relative positions may have.
const FARTHEST: u64 = 1 << 15;

const KEYS: &[ConfigKey] = &[
    only("model_type", &["\"t5\""]),
    read("vocab_size"),
    read("d_model"),
    read("d_kv"),
    read("d_ff"),
    read("num_heads"),
    read("num_layers"),
    read("num_decoder_layers"),
    read("relative_attention_num_buckets"),
    read("relative_attention_max_distance"),
    read("layer_norm_epsilon"),
    read("feed_forward_proj"),
    read("tie_word_embeddings"),
    read("decoder_start_token_id"),
    read("pad_token_id"),
    read("eos_token_id"),
    irrelevant("is_encoder_decoder", "the component's `part` says which stack is meant"),
    irrelevant("is_decoder", "the component's `part` says which stack is meant"),
    irrelevant("dense_act_fn", "follows from `feed_forward_proj`"),
    irrelevant("is_gated_act", "follows from `feed_forward_proj`"),
    irrelevant("n_positions", "positions are relative and have no end"),
];

/// T5 and FLAN-T5.
#[derive(Debug)]
pub(super) struct T5;

impl Architecture for T5 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn detects(&self, config: &Json) -> bool {
        config.get("model_type").and_then(Json::as_str) == Some(NAME)
    }

    fn config_keys(&self) -> Tables {
        &[KEYS]
    }

    fn component_keys(&self, part: Option<&str>) -> &'static [&'static str] {
        translator::component_keys(part)
    }

    fn holds(&self, weights: &dyn Weights, part: Option<&str>) -> bool {
        let stack = if part == Some("encoder") { "encoder" } else { "decoder" };
        weights.info(&format!("{stack}.final_layer_norm.weight")).is_some()
    }

    fn load(&self, documents: &Documents, weights: &Arc<dyn Weights>, options: &LoadOptions) -> Result<Network, ArchError> {
        let part = Part::of(options, NAME)?;
        let sizes = Sizes::read(Config::of(documents, self)?, options)?;
        let tensors = Tensors::new(weights.as_ref(), "", options.compute);
        let reader = Reader { tensors: &tensors, sizes: &sizes, part, stack: if part == Part::Encoder { "encoder" } else { "decoder" } };
        let (entry, layers, exit) = (reader.entry()?, reader.layers(options)?, reader.exit()?);
        reader.skip_the_rest();
        tensors.all_used(NAME)?;
        let mut notes = BTreeMap::new();
        if sizes.residual != 1.0 {
            let note = "the residual stream is multiplied by 2^-6, which the norms take out again, so that float16 holds it".to_owned();
            notes.insert("residual-scale".to_owned(), note);
        }
        Ok(translator::network(entry, layers, exit, options, notes))
    }
}

#[derive(Debug)]
struct Sizes {
    width: u64,
    heads: Heads,
    inner: u64,
    encoder_layers: u64,
    decoder_layers: u64,
    vocabulary: u64,
    buckets: u64,
    farthest: u64,
    epsilon: f64,
    activation: Activation,
    gated: bool,
    tied: bool,
    /// The tokens before the first and behind the last one of a text.
    tokens: (u64, u64),
    /// What the residual stream is multiplied with.
    residual: f64,
}

impl Sizes {
    fn read(config: Config<'_>, options: &LoadOptions) -> Result<Self, ArchError> {
        let (gated, activation) = Self::activation(config)?;
        let heads = config.count("num_heads")?;
        let encoder_layers = config.count("num_layers")?;
        let (buckets, farthest) =
            (config.count_or("relative_attention_num_buckets", 32)?, config.count_or("relative_attention_max_distance", 128)?);
        if buckets < 4 || buckets % 4 != 0 {
            return Err(config.refuse("relative_attention_num_buckets", "a multiple of 4"));
        }
        if farthest <= buckets / 2 || farthest > FARTHEST {
            return Err(config.refuse("relative_attention_max_distance", format!("more than {}, at most {FARTHEST}", buckets / 2)));
        }
        Ok(Self {
            width: config.count("d_model")?,
            heads: Heads { query: heads, key_value: heads, size: config.count("d_kv")? },
            inner: config.count("d_ff")?,
            encoder_layers,
            decoder_layers: match config.get("num_decoder_layers").and_then(Json::as_u64) {
                Some(0) => 0,
                _ => config.count_or("num_decoder_layers", encoder_layers)?,
            },
            vocabulary: config.count("vocab_size")?,
            buckets,
            farthest,
            epsilon: config.positive_or("layer_norm_epsilon", 1e-6)?,
            activation,
            gated,
            tied: config.flag_or("tie_word_embeddings", true)?,
            tokens: (config.id_or("decoder_start_token_id", config.id_or("pad_token_id", 0)?)?, config.id_or("eos_token_id", 1)?),
            residual: if options.compute == DataType::Float16 { RESIDUAL_SCALE } else { 1.0 },
        })
    }

    /// `relu`, or `gated-` and an activation; gated-gelu is the one with tanh.
    fn activation(config: Config<'_>) -> Result<(bool, Activation), ArchError> {
        let key = "feed_forward_proj";
        let text = config.text_or(key, "relu")?;
        let (gated, name) = text.strip_prefix("gated-").map_or((false, text), |name| (true, name));
        let activation = if (gated, name) == (true, "gelu") { Some(Activation::GeluTanh) } else { Activation::from_name(name) };
        let activation =
            activation.ok_or_else(|| config.refuse(key, format!("{}, each also with `gated-` before it", Activation::NAMES)))?;
        Ok((gated, activation))
    }

    /// The epsilon of norms over the residual stream.
    fn epsilon(&self) -> f64 {
        self.epsilon * self.residual * self.residual
    }
}

/// Reads one part.
struct Reader<'a> {
    tensors: &'a Tensors<'a>,
    sizes: &'a Sizes,
    part: Part,
    stack: &'static str,
}

impl Reader<'_> {
    fn side(&self) -> Side {
        let Sizes { width, heads, vocabulary, decoder_layers, tokens, .. } = *self.sizes;
        Side { part: self.part, heads, width, vocabulary, layers: decoder_layers, tokens, zero_blind: false, positions: None }
    }

    /// The table that both stacks share; checkpoints of one stack may have it under the stack's name alone.
    fn embedding_name(&self) -> String {
        let names = ["shared".to_owned(), format!("{}.embed_tokens", self.stack)];
        names.iter().find(|name| self.tensors.has(&format!("{name}.weight"))).unwrap_or(&names[0]).clone()
    }

    fn entry(&self) -> Result<Entry, ArchError> {
        let Sizes { width, vocabulary, buckets, farthest, residual, heads, .. } = *self.sizes;
        let buckets = Buckets { count: buckets, farthest, bidirectional: self.part == Part::Encoder };
        let table = format!("{}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", self.stack);
        Ok(Entry {
            name: self.stack.to_owned(),
            side: self.side(),
            embedding: Embedding::read(self.tensors, &self.embedding_name(), vocabulary, width, residual)?,
            embedding_scale: None,
            relative: Some(RelativeBias::read(self.tensors, &table, buckets, heads.query)?),
            rotary: None,
        })
    }

    fn layers(&self, options: &LoadOptions) -> Result<Vec<PreNormLayer>, ArchError> {
        let count = if self.part == Part::Encoder { self.sizes.encoder_layers } else { self.sizes.decoder_layers };
        (0..count).map(|index| self.layer(index, options.cache != CacheForm::None)).collect()
    }

    fn layer(&self, index: u64, cached: bool) -> Result<PreNormLayer, ArchError> {
        let name = format!("{}.block.{index}", self.stack);
        let norm =
            |place: u64| RmsNorm::read(self.tensors, &name, &format!("layer.{place}.layer_norm"), self.sizes.width, self.sizes.epsilon());
        let decoder = self.part != Part::Encoder;
        let cross = decoder.then(|| Ok::<_, ArchError>((norm(1)?, self.cross(&name, index, cached)?))).transpose()?;
        let feed_forward = if decoder { 2 } else { 1 };
        Ok(PreNormLayer {
            attention: (norm(0)?, self.attention(&name, index, cached)?),
            cross,
            feed_forward: (norm(feed_forward)?, self.feed_forward(&name, feed_forward)?),
            name,
        })
    }

    fn product(&self, layer: &str, name: &str) -> Result<Linear, ArchError> {
        let Sizes { width, heads, .. } = *self.sizes;
        Linear::read(self.tensors, layer, name, width, heads.query * heads.size)
    }

    fn output(&self, layer: &str, name: &str) -> Result<Linear, ArchError> {
        let Sizes { width, heads, residual, .. } = *self.sizes;
        Linear::read_scaled(self.tensors, layer, name, heads.query * heads.size, width, residual)
    }

    fn attention(&self, layer: &str, index: u64, cached: bool) -> Result<SelfAttention, ArchError> {
        let heads = self.sizes.heads;
        let product = |name: &str| self.product(layer, &format!("layer.0.SelfAttention.{name}"));
        let cache = KeyValueCache { layers: self.sizes.decoder_layers, heads: heads.key_value, size: heads.size, ring: None };
        Ok(SelfAttention {
            heads,
            inputs: [product("q")?, product("k")?, product("v")?],
            output: self.output(layer, "layer.0.SelfAttention.o")?,
            head_norms: None,
            rotary: false,
            scale: Scale::One,
            bias: BIAS,
            cache: cached.then_some(LayerCache { cache, layer: index }),
        })
    }

    fn cross(&self, layer: &str, index: u64, cached: bool) -> Result<CrossAttention, ArchError> {
        let product = |name: &str| self.product(layer, &format!("layer.1.EncDecAttention.{name}"));
        Ok(CrossAttention {
            heads: self.sizes.heads,
            query: product("q")?,
            key_value: [product("k")?, product("v")?],
            output: self.output(layer, "layer.1.EncDecAttention.o")?,
            scale: Scale::One,
            made_before: cached.then_some(index),
        })
    }

    fn feed_forward(&self, layer: &str, place: u64) -> Result<FeedForward, ArchError> {
        let Sizes { width, inner, residual, activation, gated, .. } = *self.sizes;
        let name = |name: &str| format!("layer.{place}.DenseReluDense.{name}");
        let up = |part: &str| Linear::read(self.tensors, layer, &name(part), width, inner);
        let (gate, up) = if gated { (Some(up("wi_0")?), up("wi_1")?) } else { (None, up("wi")?) };
        Ok(FeedForward { gate, up, down: Linear::read_scaled(self.tensors, layer, &name("wo"), inner, width, residual)?, activation })
    }

    fn exit(&self) -> Result<Exit, ArchError> {
        let Sizes { width, vocabulary, residual, tied, .. } = *self.sizes;
        let norm = RmsNorm::read(self.tensors, self.stack, "final_layer_norm", width, self.sizes.epsilon())?;
        let head = match (self.part, tied) {
            (Part::Encoder, _) => None,
            (_, false) => {
                let weight = self.tensors.get_shaped("lm_head.weight", &[vocabulary, width])?;
                Some((Linear::new("lm_head", weight, None), None))
            }
            // The table is the residual stream's, so its factor is taken out here.
            (_, true) => {
                let table = Embedding::read(self.tensors, &self.embedding_name(), vocabulary, width, residual)?;
                let scale = 1.0 / ((width as f64).sqrt() * residual);
                Some((Linear::new("lm_head", table.table().clone(), None), Some(scale as f32)))
            }
        };
        Ok(Exit { name: format!("{}_head", self.stack), side: self.side(), norm, head })
    }

    /// Copies of the embedding, the other stack, and a table that older checkpoints have although nothing uses it.
    fn skip_the_rest(&self) {
        let other = if self.part == Part::Encoder { "decoder." } else { "encoder." };
        let unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
        let copies = ["shared.weight", "lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
        self.tensors.skip(|name| name.starts_with(other) || name == unused || copies.contains(&name));
    }
}
