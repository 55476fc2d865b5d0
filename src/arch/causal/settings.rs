//! What tells one causal language model from another, and the keys of configs that most families share (transformers' names).

use serde_json::Value as Json;

use super::rope::Rope;
use crate::arch::{
    ArchError, Config,
    blocks::{Activation, Heads},
};

/// Where a layer's norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormPlace {
    /// Before each part: `input_layernorm`, `post_attention_layernorm`.
    Before,
    /// Behind each part: `post_attention_layernorm`, `post_feedforward_layernorm`.
    Behind,
}

/// Which products have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Biases {
    pub query_key_value: bool,
    pub output: bool,
    pub feed_forward: bool,
}

/// How one layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerKind {
    /// Only to the window.
    pub sliding: bool,
    /// With rotary positions.
    pub rotary: bool,
}

/// A model.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub width: u64,
    pub heads: Heads,
    pub inner: u64,
    pub vocabulary: u64,
    /// Whether the head is the embedding.
    pub tied: bool,
    pub epsilon: f64,
    pub activation: Activation,
    pub rope: Rope,
    pub norms: NormPlace,
    /// Whether every head's queries and keys are normalized.
    pub head_norms: bool,
    pub biases: Biases,
    /// Whether queries, keys and values are rows of one tensor, and gate and up of another.
    pub fused: bool,
    /// How many tokens a sliding layer sees, its own included.
    pub window: Option<u64>,
    pub layers: Vec<LayerKind>,
}

impl Settings {
    /// Reads what families share: no biases, norms before each part, every layer with rotary positions and without a window.
    ///
    /// # Errors
    /// When a key is missing or holds something else than models have.
    pub(super) fn read(config: Config<'_>) -> Result<Self, ArchError> {
        let (width, query) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        let key_value = config.count_or("num_key_value_heads", query)?;
        if !query.is_multiple_of(key_value) {
            return Err(config.refuse("num_key_value_heads", format!("a divisor of num_attention_heads, which is {query}")));
        }
        let size = match config.get("head_dim") {
            Some(_) => config.count("head_dim")?,
            None if width.is_multiple_of(query) => width / query,
            None => return Err(config.refuse("num_attention_heads", format!("a divisor of hidden_size, which is {width}, or a head_dim"))),
        };
        let name = config.text_or("hidden_act", "silu")?;
        let activation = Activation::from_name(name).ok_or_else(|| config.refuse("hidden_act", Activation::NAMES))?;
        Ok(Self {
            width,
            heads: Heads { query, key_value, size },
            inner: config.count("intermediate_size")?,
            vocabulary: config.count("vocab_size")?,
            tied: config.flag_or("tie_word_embeddings", false)?,
            epsilon: config.positive_or("rms_norm_eps", 1e-6)?,
            activation,
            rope: Rope::read(config, size)?,
            norms: NormPlace::Before,
            head_norms: false,
            biases: Biases::default(),
            fused: false,
            window: None,
            layers: vec![LayerKind { sliding: false, rotary: true }; config.count("num_hidden_layers")? as usize],
        })
    }

    /// Every layer sees the window alone, if the config has one.
    ///
    /// # Errors
    /// When it is no count.
    pub(super) fn sliding_everywhere(mut self, config: Config<'_>) -> Result<Self, ArchError> {
        self.window = config.get("sliding_window").map(|_| config.count("sliding_window")).transpose()?;
        let sliding = self.window.is_some();
        self.layers.iter_mut().for_each(|layer| layer.sliding = sliding);
        Ok(self)
    }

    /// The layers of the list `layer_types`; none where the config has no list.
    ///
    /// # Errors
    /// When it has other words, or not one per layer.
    pub(super) fn layer_types(&self, config: Config<'_>) -> Result<Option<Vec<bool>>, ArchError> {
        const KEY: &str = "layer_types";
        let expected = || config.refuse(KEY, format!("sliding_attention or full_attention for each of {} layers", self.layers.len()));
        let Some(list) = config.get(KEY) else { return Ok(None) };
        let list = list.as_array().filter(|list| list.len() == self.layers.len()).ok_or_else(expected)?;
        let kind = |kind: &Json| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(expected()),
        };
        list.iter().map(kind).collect::<Result<_, _>>().map(Some)
    }

    /// Qwen's windows: with `use_sliding_window`, the layers of `layer_types`, or those from `max_window_layers` on.
    ///
    /// # Errors
    /// When keys hold something else.
    pub(super) fn sliding_above(mut self, config: Config<'_>) -> Result<Self, ArchError> {
        if !config.flag_or("use_sliding_window", false)? {
            return Ok(self);
        }
        self.window = Some(config.count_or("sliding_window", 4096)?);
        let first = config.id_or("max_window_layers", 28)? as usize;
        let sliding = match self.layer_types(config)? {
            Some(types) => types,
            None => (0..self.layers.len()).map(|index| index >= first).collect(),
        };
        self.layers.iter_mut().zip(sliding).for_each(|(layer, sliding)| layer.sliding = sliding);
        Ok(self)
    }
}

/// The tokens that end a text: those of `generation_config.json`, else those of the config.
///
/// # Errors
/// When `eos_token_id` is neither a token nor a list of tokens.
pub(super) fn end_tokens(config: Config<'_>, generation: Option<&Json>) -> Result<Vec<u64>, ArchError> {
    const KEY: &str = "eos_token_id";
    let from = |config: Config<'_>| match config.get(KEY) {
        None => Ok(Vec::new()),
        Some(Json::Array(list)) => {
            list.iter().map(|id| id.as_u64().ok_or_else(|| config.refuse(KEY, "ids of tokens"))).collect::<Result<Vec<_>, _>>()
        }
        Some(_) => config.id_or(KEY, 0).map(|id| vec![id]),
    };
    let generated = generation.map_or(Ok(Vec::new()), |generation| from(Config::new(generation)))?;
    if generated.is_empty() { from(config) } else { Ok(generated) }
}
