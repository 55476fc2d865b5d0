//! T5, T5 v1.1, FLAN-T5, mT5 and umT5 (Raffel et al. 2020, arXiv 1910.10683; transformers `modeling_t5.py`,
//! `modeling_umt5.py`).
//!
//! Layers normalize before each part and add to one residual stream. Scores are not scaled and carry a bias by relative
//! position, which each stack has once, and in umT5 each layer. The head is the embedding where the config ties them,
//! its input then scaled by 1 / sqrt(width). With the modules of sentence-transformers beside it, an encoder gives the
//! vector of the text, too (sentence-T5).
//!
//! In float16 the residual stream of published checkpoints overflows. So everything that is written to it (embedding,
//! `o`, `wo`) is multiplied by 2^-6, and the epsilon of every norm by 2^-12: the norms take the factor out again, and
//! results are the same in exact arithmetic.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{
    ArchError, Architecture, Config, ConfigKey, Documents, LoadOptions, Network, Tables, Tensors,
    blocks::{
        Activation, Buckets, CrossAttention, Embedding, FeedForward, Heads, KeyValueCache, LayerCache, Linear,
        PreNormLayer, RelativeBias, RmsNorm, Scale, SelfAttention, SentenceModules, layer::BIAS,
    },
    keys::{irrelevant, only, read},
    translator::{self, Entry, Exit, PARTS, Part, Pieces, Side},
};
use crate::{
    checkpoint::Weights,
    contract::{CacheForm, Notes, Task, notes::ResidualScale},
    mil::DataType,
};

/// What the residual stream is multiplied with in float16.
const RESIDUAL_SCALE: f64 = 1.0 / 64.0;
/// Distances that a table of relative positions may have.
const FARTHEST: u64 = 1 << 15;
/// Classes with both stacks, by their names without the family's; the second is the oldest name.
const BOTH_STACKS: [&str; 3] = ["ForConditionalGeneration", "WithLMHeadModel", "Model"];
/// The class that has no decoder.
const ENCODER: &str = "EncoderModel";

const KEYS: &[ConfigKey] = &[
    only("model_type", &["\"t5\"", "\"mt5\"", "\"umt5\""]),
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
    read("dense_act_fn"),
    read("is_gated_act"),
    read("tie_word_embeddings"),
    read("scale_decoder_outputs"),
    read("hidden_size"),
    read("num_attention_heads"),
    read("num_hidden_layers"),
    read("head_dim"),
    read("decoder_start_token_id"),
    read("pad_token_id"),
    read("eos_token_id"),
    irrelevant("is_encoder_decoder", "the component's `part` says which stack is meant"),
    irrelevant("is_decoder", "the component's `part` says which stack is meant"),
    irrelevant("n_positions", "positions are relative and have no end"),
    irrelevant("scalable_attention", "transformers does not read it"),
];

/// A family of T5's kind.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name in package manifests.
    name: &'static str,
    kind: &'static Kind,
}

/// What tells kinds of T5 apart.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// `model_type` in configs.
    name: &'static str,
    /// How the names of its classes start.
    stem: &'static str,
    /// `feed_forward_proj` of configs that do not have it.
    feed_forward: &'static str,
    /// `tie_word_embeddings` of configs that do not have it.
    tied: bool,
    /// Whether every layer has a table of relative positions, not the stack.
    bias_per_layer: bool,
}

const PLAIN: Kind = Kind { name: "t5", stem: "T5", feed_forward: "relu", tied: true, bias_per_layer: false };
const MULTILINGUAL: Kind =
    Kind { name: "mt5", stem: "MT5", feed_forward: "gated-gelu", tied: false, bias_per_layer: false };
const UNIMAX: Kind = Kind { name: "umt5", stem: "UMT5", feed_forward: "gated-gelu", tied: true, bias_per_layer: true };
const KINDS: [&Kind; 3] = [&PLAIN, &MULTILINGUAL, &UNIMAX];

/// T5 and FLAN-T5.
pub(super) static T5: Family = Family { name: "t5", kind: &PLAIN };
/// mT5.
pub(super) static MT5: Family = Family { name: "mt5", kind: &MULTILINGUAL };
/// umT5.
pub(super) static UMT5: Family = Family { name: "umt5", kind: &UNIMAX };

/// The first class that a config lists.
fn class(config: &Json) -> Option<&str> {
    config.get("architectures")?.get(0)?.as_str()
}

/// The class's name without the family's, if it is one that is converted.
fn known_class(class: &str) -> Option<&str> {
    let rest = KINDS.iter().find_map(|kind| class.strip_prefix(kind.stem))?;
    (rest == ENCODER || BOTH_STACKS.contains(&rest)).then_some(rest)
}

impl Architecture for Family {
    fn name(&self) -> &'static str {
        self.name
    }

    fn task(&self) -> Task {
        Task::Translation
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn detects(&self, config: &Json) -> bool {
        match config.get("model_type").and_then(Json::as_str) {
            Some(kind) => kind == self.kind.name,
            None => {
                class(config).is_some_and(|class| known_class(class).is_some() && class.starts_with(self.kind.stem))
            }
        }
    }

    fn config_keys(&self) -> Tables {
        &[KEYS]
    }

    fn component_keys(&self, part: Option<&str>) -> &'static [&'static str] {
        translator::component_keys(part)
    }

    fn documents(&self, read: &dyn Fn(&str) -> Option<Json>) -> Vec<String> {
        SentenceModules::documents(read)
    }

    fn module_files(&self, documents: &Documents, part: Option<&str>) -> Vec<Vec<String>> {
        if part == Some("encoder") { SentenceModules::weight_files(documents) } else { Vec::new() }
    }

    fn holds(&self, weights: &dyn Weights, part: Option<&str>) -> bool {
        let stack = if part == Some("encoder") { "encoder" } else { "decoder" };
        weights.info(&format!("{stack}.final_layer_norm.weight")).is_some()
    }

    fn load(
        &self,
        documents: &Documents,
        weights: &Arc<dyn Weights>,
        options: &LoadOptions,
    ) -> Result<Network, ArchError> {
        let part = Part::of(options, self.name)?;
        let config = Config::of(documents, self)?;
        let kind = self.kind(config)?;
        check_class(config, part)?;
        let sizes = Sizes::read(config, kind, options)?;
        let tensors = Tensors::new(weights.as_ref(), "", options.compute);
        let described = part == Part::Encoder && SentenceModules::are_described(documents);
        let sentence = described.then(|| SentenceModules::read(documents, &tensors, sizes.width)).transpose()?;
        let stack = if part == Part::Encoder { "encoder" } else { "decoder" };
        let reader = Reader {
            tensors: &tensors,
            sizes: &sizes,
            part,
            stack,
            sentence: sentence.as_ref().map(SentenceModules::width),
        };
        let (entry, layers, exit) = (reader.entry()?, reader.layers(options)?, reader.exit()?);
        let pieces = Pieces { entry, layers, biases: reader.biases()?, exit, sentence };
        reader.skip_the_rest();
        tensors.all_used(self.name)?;
        let mut notes = Notes::default();
        if sizes.residual != 1.0 {
            let note =
                "the residual stream is multiplied by 2^-6, which the norms take out again, so that float16 holds it"
                    .to_owned();
            notes.add(&ResidualScale(note));
        }
        Ok(translator::network(pieces, options, notes))
    }
}

impl Family {
    /// The kind that the config names, which a manifest's architecture does not change.
    fn kind(&self, config: Config<'_>) -> Result<&'static Kind, ArchError> {
        let name = config.text_or("model_type", self.kind.name)?;
        let kind = KINDS.into_iter().find(|kind| kind.name == name);
        kind.ok_or_else(|| config.refuse("model_type", KINDS.map(|kind| kind.name).join(" or ")))
    }
}

/// Refuses classes with heads that nobody converts, and a decoder of a class that has none.
fn check_class(config: Config<'_>, part: Part) -> Result<(), ArchError> {
    const KEY: &str = "architectures";
    let Some(listed) = config.get(KEY).and_then(|listed| listed.get(0)?.as_str()) else { return Ok(()) };
    match known_class(listed) {
        None => {
            Err(config.refuse(KEY, "T5ForConditionalGeneration, T5Model or T5EncoderModel, or these of mT5 or umT5"))
        }
        Some(ENCODER) if part != Part::Encoder => Err(config.refuse(KEY, "a class that has a decoder")),
        Some(_) => Ok(()),
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
    /// Whether the head is the embedding.
    tied: bool,
    /// Whether the head's input is scaled by 1 / sqrt(width).
    scaled: bool,
    /// Whether every layer has a table of relative positions.
    bias_per_layer: bool,
    /// The tokens before the first and behind the last one of a text.
    tokens: (u64, u64),
    /// What the residual stream is multiplied with.
    residual: f64,
}

impl Sizes {
    fn read(config: Config<'_>, kind: &Kind, options: &LoadOptions) -> Result<Self, ArchError> {
        let (gated, activation) = Self::activation(config, kind)?;
        let heads = config.count("num_heads")?;
        let encoder_layers = config.count("num_layers")?;
        let (buckets, farthest) = (
            config.count_or("relative_attention_num_buckets", 32)?,
            config.count_or("relative_attention_max_distance", 128)?,
        );
        if buckets < 4 || buckets % 4 != 0 {
            return Err(config.refuse("relative_attention_num_buckets", "a multiple of 4"));
        }
        if farthest <= buckets / 2 || farthest > FARTHEST {
            return Err(config
                .refuse("relative_attention_max_distance", format!("more than {}, at most {FARTHEST}", buckets / 2)));
        }
        let tied = config.flag_or("tie_word_embeddings", kind.tied)?;
        let sizes = Self {
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
            tied,
            scaled: config.flag_or("scale_decoder_outputs", tied)?,
            bias_per_layer: kind.bias_per_layer,
            tokens: (
                config.id_or("decoder_start_token_id", config.id_or("pad_token_id", 0)?)?,
                config.id_or("eos_token_id", 1)?,
            ),
            residual: if options.compute == DataType::Float16 { RESIDUAL_SCALE } else { 1.0 },
        };
        // Names that transformers has for the same keys, of which the last one written would win.
        let aliases = [
            ("hidden_size", sizes.width),
            ("num_attention_heads", heads),
            ("num_hidden_layers", encoder_layers),
            ("head_dim", sizes.heads.size),
        ];
        for (key, value) in aliases {
            if config.get(key).is_some() && config.count(key)? != value {
                return Err(config.refuse(key, format!("{value}, as T5's own key says")));
            }
        }
        Ok(sizes)
    }

    /// `relu`, or `gated-` and an activation; gated-gelu is the one with tanh. What the config says of the activation
    /// itself comes first.
    fn activation(config: Config<'_>, kind: &Kind) -> Result<(bool, Activation), ArchError> {
        let (key, own) = ("feed_forward_proj", "dense_act_fn");
        let text = config.text_or(key, kind.feed_forward)?;
        let (gated, name) = text.strip_prefix("gated-").map_or((false, text), |name| (true, name));
        let name = if (gated, name) == (true, "gelu") { "gelu_new" } else { name };
        let activation = match config.get(own) {
            None => Activation::from_name(name).ok_or_else(|| {
                config.refuse(key, format!("{}, each also with `gated-` before it", Activation::NAMES))
            })?,
            Some(_) => Activation::from_name(config.text_or(own, name)?)
                .ok_or_else(|| config.refuse(own, Activation::NAMES))?,
        };
        Ok((config.flag_or("is_gated_act", gated)?, activation))
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
    /// Channels of a text's vector, where the encoder gives one.
    sentence: Option<u64>,
}

impl Reader<'_> {
    fn side(&self) -> Side {
        let Sizes { width, heads, vocabulary, decoder_layers, tokens, .. } = *self.sizes;
        Side {
            part: self.part,
            heads,
            width,
            vocabulary,
            layers: decoder_layers,
            tokens,
            zero_blind: false,
            positions: None,
            sentence: self.sentence,
        }
    }

    /// The table of relative positions of a layer.
    fn relative(&self, layer: u64) -> Result<RelativeBias, ArchError> {
        let Sizes { buckets, farthest, heads, .. } = *self.sizes;
        let buckets = Buckets { count: buckets, farthest, bidirectional: self.part == Part::Encoder };
        let table = format!("{}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight", self.stack);
        RelativeBias::read(self.tensors, &table, buckets, heads.query)
    }

    /// The tables of all layers, where they have their own.
    fn biases(&self) -> Result<Vec<RelativeBias>, ArchError> {
        let count = if self.sizes.bias_per_layer { self.count() } else { 0 };
        (0..count).map(|layer| self.relative(layer)).collect()
    }

    /// How many layers the stack has.
    fn count(&self) -> u64 {
        if self.part == Part::Encoder { self.sizes.encoder_layers } else { self.sizes.decoder_layers }
    }

    /// The table that both stacks share; checkpoints of one stack may have it under the stack's name alone.
    fn embedding_name(&self) -> String {
        let names = ["shared".to_owned(), format!("{}.embed_tokens", self.stack)];
        names.iter().find(|name| self.tensors.has(&format!("{name}.weight"))).unwrap_or(&names[0]).clone()
    }

    fn entry(&self) -> Result<Entry, ArchError> {
        let Sizes { width, vocabulary, residual, bias_per_layer, .. } = *self.sizes;
        Ok(Entry {
            name: self.stack.to_owned(),
            side: self.side(),
            embedding: Embedding::read(self.tensors, &self.embedding_name(), vocabulary, width, residual)?,
            embedding_scale: None,
            relative: if bias_per_layer { None } else { Some(self.relative(0)?) },
            rotary: None,
        })
    }

    fn layers(&self, options: &LoadOptions) -> Result<Vec<PreNormLayer>, ArchError> {
        (0..self.count()).map(|index| self.layer(index, options.cache != CacheForm::None)).collect()
    }

    fn layer(&self, index: u64, cached: bool) -> Result<PreNormLayer, ArchError> {
        let name = format!("{}.block.{index}", self.stack);
        let norm = |place: u64| {
            RmsNorm::read(
                self.tensors,
                &name,
                &format!("layer.{place}.layer_norm"),
                self.sizes.width,
                self.sizes.epsilon(),
            )
        };
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
        let cache =
            KeyValueCache { layers: self.sizes.decoder_layers, heads: heads.key_value, size: heads.size, ring: None };
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
        Ok(FeedForward {
            gate,
            up,
            down: Linear::read_scaled(self.tensors, layer, &name("wo"), inner, width, residual)?,
            activation,
        })
    }

    fn exit(&self) -> Result<Exit, ArchError> {
        let norm = RmsNorm::read(self.tensors, self.stack, "final_layer_norm", self.sizes.width, self.sizes.epsilon())?;
        let head = if self.part == Part::Encoder { None } else { Some(self.head()?) };
        Ok(Exit { name: format!("{}_head", self.stack), side: self.side(), norm, head })
    }

    /// The head, and what its input is multiplied with.
    fn head(&self) -> Result<(Linear, Option<f32>), ArchError> {
        const NAME: &str = "lm_head";
        const WEIGHT: &str = "lm_head.weight";
        let Sizes { width, vocabulary, residual, tied, scaled, .. } = *self.sizes;
        let scale = if scaled { 1.0 / (width as f64).sqrt() } else { 1.0 };
        let factor = |scale: f64| Some(scale as f32).filter(|scale| *scale != 1.0);
        if tied {
            // The table is the residual stream's, so its factor is taken out here.
            let table = Embedding::read(self.tensors, &self.embedding_name(), vocabulary, width, residual)?;
            return Ok((Linear::new(NAME, table.table().clone(), None), factor(scale / residual)));
        }
        if !self.tensors.has(WEIGHT) {
            return Err(ArchError::NoHead { name: WEIGHT });
        }
        Ok((Linear::new(NAME, self.tensors.get_shaped(WEIGHT, &[vocabulary, width])?, None), factor(scale)))
    }

    /// Copies of the embedding, the other stack, and a table that older checkpoints have although nothing uses it.
    fn skip_the_rest(&self) {
        let other = if self.part == Part::Encoder { "decoder." } else { "encoder." };
        let unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
        let copies = ["shared.weight", "lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
        self.tensors.skip(|name| name.starts_with(other) || name == unused || copies.contains(&name));
    }
}
