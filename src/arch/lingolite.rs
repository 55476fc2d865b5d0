//! LingoLite: a small translator with grouped queries, rotary positions and gated feed-forward parts
//! (github.com/TSOR666/LingoLite, `MobileTranslationModel`).
//!
//! Layers normalize before each part. Embeddings are multiplied by the root of the width; the head is not, also where
//! it is the embedding. Attention to the encoder has no positions. A query that sees no key finds zeros.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{
    ArchError, Architecture, Config, ConfigKey, Documents, LoadOptions, Network, Tables, Tensors,
    blocks::{
        Activation, CrossAttention, Embedding, FeedForward, Heads, KeyValueCache, LayerCache, Linear, PreNormLayer,
        RmsNorm, Rotary, Scale, SelfAttention, layer::BIAS,
    },
    keys::{irrelevant, only, read},
    translator::{self, Entry, Exit, PARTS, Part, Pieces, Side},
};
use crate::{
    checkpoint::Weights,
    contract::{CacheForm, Notes, Task},
};

const NAME: &str = "lingolite";
const CLASS: &str = "MobileTranslationModel";
const EPSILON: f64 = 1e-6;
const THETA: f64 = 10_000.0;
/// `<s>` and `</s>`.
const TOKENS: (u64, u64) = (1, 2);
/// What compiled modules are called in their checkpoints.
const COMPILED: &str = "_orig_mod.";

const KEYS: &[ConfigKey] = &[
    only("model_type", &["\"lingolite\""]),
    read("vocab_size"),
    read("d_model"),
    read("d_ff"),
    read("n_heads"),
    read("n_kv_heads"),
    read("n_encoder_layers"),
    read("n_decoder_layers"),
    read("tie_embeddings"),
    irrelevant("max_seq_len", "rotary tables are as long as the component's longest sequence"),
];

/// LingoLite.
#[derive(Debug)]
pub(super) struct LingoLite;

impl Architecture for LingoLite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn task(&self) -> Task {
        Task::Translation
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn detects(&self, config: &Json) -> bool {
        let listed = config.get("architectures").and_then(|listed| listed.get(0)?.as_str());
        config.get("model_type").and_then(Json::as_str) == Some(NAME) || listed == Some(CLASS)
    }

    fn config_keys(&self) -> Tables {
        &[KEYS]
    }

    fn component_keys(&self, part: Option<&str>) -> &'static [&'static str] {
        translator::component_keys(part)
    }

    fn holds(&self, weights: &dyn Weights, part: Option<&str>) -> bool {
        let stack = if part == Some("encoder") { "encoder" } else { "decoder" };
        weights.names().any(|name| name.ends_with(&format!("{stack}.final_norm.weight")))
    }

    fn load(
        &self,
        documents: &Documents,
        weights: &Arc<dyn Weights>,
        options: &LoadOptions,
    ) -> Result<Network, ArchError> {
        let part = Part::of(options, NAME)?;
        let sizes = Sizes::read(Config::of(documents, self)?)?;
        let prefix = if weights.names().any(|name| name.starts_with(COMPILED)) { COMPILED } else { "" };
        let tensors = Tensors::new(weights.as_ref(), prefix, options.compute);
        let reader = Reader {
            tensors: &tensors,
            sizes: &sizes,
            part,
            stack: if part == Part::Encoder { "encoder" } else { "decoder" },
        };
        let (entry, layers, exit) = (reader.entry(options)?, reader.layers(options)?, reader.exit()?);
        reader.skip_the_rest();
        tensors.all_used(NAME)?;
        let pieces = Pieces { entry, layers, biases: Vec::new(), exit, sentence: None };
        Ok(translator::network(pieces, options, Notes::default()))
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
    tied: bool,
}

impl Sizes {
    /// The constructor's arguments, with its defaults.
    fn read(config: Config<'_>) -> Result<Self, ArchError> {
        let (width, query) = (config.count_or("d_model", 512)?, config.count_or("n_heads", 8)?);
        let key_value = config.count_or("n_kv_heads", 2)?;
        if !width.is_multiple_of(2 * query) {
            return Err(config.refuse("n_heads", format!("a number that divides half of d_model, which is {width}")));
        }
        if !query.is_multiple_of(key_value) {
            return Err(config.refuse("n_kv_heads", format!("a divisor of n_heads, which is {query}")));
        }
        Ok(Self {
            width,
            heads: Heads { query, key_value, size: width / query },
            inner: config.count_or("d_ff", 2048)?,
            encoder_layers: config.count_or("n_encoder_layers", 6)?,
            decoder_layers: config.count_or("n_decoder_layers", 6)?,
            vocabulary: config.count("vocab_size")?,
            tied: config.flag_or("tie_embeddings", true)?,
        })
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
        let Sizes { width, heads, vocabulary, decoder_layers, .. } = *self.sizes;
        Side {
            part: self.part,
            heads,
            width,
            vocabulary,
            layers: decoder_layers,
            tokens: TOKENS,
            zero_blind: true,
            positions: None,
            sentence: None,
        }
    }

    /// Both stacks have one table, which a checkpoint may hold under either name.
    fn embedding(&self) -> Result<Embedding, ArchError> {
        let names =
            [format!("{}.embedding", self.stack), "encoder.embedding".to_owned(), "decoder.embedding".to_owned()];
        let name = names.iter().find(|name| self.tensors.has(&format!("{name}.weight"))).unwrap_or(&names[0]);
        Embedding::read(self.tensors, name, self.sizes.vocabulary, self.sizes.width, 1.0)
    }

    fn entry(&self, options: &LoadOptions) -> Result<Entry, ArchError> {
        let frequencies = Rotary::frequencies(THETA, self.sizes.heads.size);
        Ok(Entry {
            name: self.stack.to_owned(),
            side: self.side(),
            embedding: self.embedding()?,
            embedding_scale: Some((self.sizes.width as f64).sqrt() as f32),
            relative: None,
            rotary: Rotary::new(&frequencies, options.positions, 1.0, options.compute),
        })
    }

    fn layers(&self, options: &LoadOptions) -> Result<Vec<PreNormLayer>, ArchError> {
        let count = if self.part == Part::Encoder { self.sizes.encoder_layers } else { self.sizes.decoder_layers };
        (0..count).map(|index| self.layer(index, options.cache != CacheForm::None)).collect()
    }

    fn layer(&self, index: u64, cached: bool) -> Result<PreNormLayer, ArchError> {
        let Sizes { width, inner, .. } = *self.sizes;
        let name = format!("{}.layers.{index}", self.stack);
        let norm = |part: &str| RmsNorm::read(self.tensors, &name, part, width, EPSILON);
        let linear = |part: &str, input: u64, output: u64| {
            Linear::read(self.tensors, &name, &format!("ffn.{part}"), input, output)
        };
        let decoder = self.part != Part::Encoder;
        let cross =
            decoder.then(|| Ok::<_, ArchError>((norm("norm2")?, self.cross(&name, index, cached)?))).transpose()?;
        let feed_forward = FeedForward {
            gate: Some(linear("gate_proj", width, inner)?),
            up: linear("up_proj", width, inner)?,
            down: linear("down_proj", inner, width)?,
            activation: Activation::Silu,
        };
        Ok(PreNormLayer {
            attention: (norm("norm1")?, self.attention(&name, index, cached)?),
            cross,
            feed_forward: (norm(if decoder { "norm3" } else { "norm2" })?, feed_forward),
            name,
        })
    }

    /// Queries, keys, values and output of an attention.
    fn products(&self, layer: &str, name: &str) -> Result<[Linear; 4], ArchError> {
        let Sizes { width, heads, .. } = *self.sizes;
        let narrow = heads.key_value * heads.size;
        let read =
            |part: &str, output: u64| Linear::read(self.tensors, layer, &format!("{name}.{part}_proj"), width, output);
        Ok([read("q", width)?, read("k", narrow)?, read("v", narrow)?, read("o", width)?])
    }

    fn attention(&self, layer: &str, index: u64, cached: bool) -> Result<SelfAttention, ArchError> {
        let heads = self.sizes.heads;
        let [query, key, value, output] = self.products(layer, "self_attn")?;
        let cache =
            KeyValueCache { layers: self.sizes.decoder_layers, heads: heads.key_value, size: heads.size, ring: None };
        let cache = cached.then_some(LayerCache { cache, layer: index });
        Ok(SelfAttention {
            heads,
            inputs: [query, key, value],
            output,
            scale: Scale::InverseRoot,
            head_norms: None,
            rotary: true,
            bias: BIAS,
            cache,
        })
    }

    fn cross(&self, layer: &str, index: u64, cached: bool) -> Result<CrossAttention, ArchError> {
        let [query, key, value, output] = self.products(layer, "cross_attn")?;
        let (heads, made_before) = (self.sizes.heads, cached.then_some(index));
        Ok(CrossAttention { heads, query, key_value: [key, value], output, scale: Scale::InverseRoot, made_before })
    }

    fn exit(&self) -> Result<Exit, ArchError> {
        let norm = RmsNorm::read(self.tensors, self.stack, "final_norm", self.sizes.width, EPSILON)?;
        let head = match (self.part, self.sizes.tied) {
            (Part::Encoder, _) => None,
            (_, true) => Some(self.embedding()?.table().clone()),
            (_, false) => {
                Some(self.tensors.get_shaped("decoder.lm_head.weight", &[self.sizes.vocabulary, self.sizes.width])?)
            }
        };
        let head = head.map(|weight| (Linear::new("lm_head", weight, None), None));
        Ok(Exit { name: format!("{}_head", self.stack), side: self.side(), norm, head })
    }

    /// The other stack, and copies of the embedding.
    fn skip_the_rest(&self) {
        let other = if self.part == Part::Encoder { "decoder." } else { "encoder." };
        let copies = ["decoder.embedding.weight", "encoder.embedding.weight", "decoder.lm_head.weight"];
        self.tensors.skip(|name| name.starts_with(other) || copies.contains(&name));
    }
}
