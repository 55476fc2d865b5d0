//! What tells one causal language model from another, and the keys of configs that most families share (transformers'
//! names).

use serde_json::Value as Json;

use super::rope::{Rope, RopeRules};
use crate::arch::{
    ArchError, Config, ConfigKey,
    blocks::{Activation, Heads},
    keys::{irrelevant, only, read},
};

/// The keys that every causal family has, unless its own table says otherwise.
pub(super) const KEYS: &[ConfigKey] = &[
    read("vocab_size"),
    read("hidden_size"),
    read("intermediate_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("num_key_value_heads"),
    read("head_dim"),
    read("hidden_act"),
    read("rms_norm_eps"),
    read("tie_word_embeddings"),
    read("max_position_embeddings"),
    read("rope_theta"),
    read("rope_scaling"),
    read("rope_parameters"),
    read("original_max_position_embeddings"),
    read("eos_token_id"),
    only("is_causal", &["true"]),
    irrelevant("is_decoder", "every layer is causal, whatever it says"),
    irrelevant("max_sequence_length", "the component's `context` or `sequence` says how long texts are"),
    irrelevant("seq_length", "the component's `context` or `sequence` says how long texts are"),
    irrelevant("use_mrope", "concerns models with pictures only"),
];
/// Of families that may have a window, and say from which layer on.
pub(super) const WINDOWS: &[ConfigKey] =
    &[read("use_sliding_window"), read("sliding_window"), read("max_window_layers"), read("layer_types")];
/// Of families whose products have no biases.
pub(super) const NO_BIASES: &[ConfigKey] =
    &[only("attention_bias", &["false"]), only("mlp_bias", &["false"]), only("lm_head_bias", &["false"])];
/// Of families that turn all channels of a head.
pub(super) const ALL_TURNED: &[ConfigKey] = &[only("partial_rotary_factor", &["1"])];

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

/// What a family's configuration class has for keys that a config leaves out.
#[derive(Debug)]
pub(super) struct Defaults {
    /// `rms_norm_eps`
    pub epsilon: f64,
    /// `max_position_embeddings`
    pub positions: u64,
    /// `num_key_value_heads`; none: as many as `num_attention_heads`.
    pub key_value_heads: Option<u64>,
    /// `head_dim`; none: what the width gives each head.
    pub head_size: Option<u64>,
    /// `eos_token_id`
    pub end: Option<u64>,
    /// How rotary positions are read.
    pub rope: RopeRules,
}

impl Settings {
    /// Reads what families share: no biases, norms before each part, every layer with rotary positions and without a
    /// window.
    ///
    /// # Errors
    /// When a key is missing or holds something else than models have.
    pub(super) fn read(config: Config<'_>, defaults: &Defaults) -> Result<Self, ArchError> {
        let (width, query) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        let key_value = match defaults.key_value_heads {
            Some(count) if !config.is_null("num_key_value_heads") => config.count_or("num_key_value_heads", count)?,
            _ => config.count_or("num_key_value_heads", query)?,
        };
        if !query.is_multiple_of(key_value) {
            return Err(
                config.refuse("num_key_value_heads", format!("a divisor of num_attention_heads, which is {query}"))
            );
        }
        let size = match (config.get("head_dim"), defaults.head_size) {
            (Some(_), _) => config.count("head_dim")?,
            (None, Some(size)) => size,
            _ if width.is_multiple_of(query) => width / query,
            _ => {
                return Err(config.refuse(
                    "num_attention_heads",
                    format!("a divisor of hidden_size, which is {width}, or a head_dim"),
                ));
            }
        };
        let positions = config.count_or("max_position_embeddings", defaults.positions)?;
        let name = config.text_or("hidden_act", "silu")?;
        let activation = Activation::from_name(name).ok_or_else(|| config.refuse("hidden_act", Activation::NAMES))?;
        Ok(Self {
            width,
            heads: Heads { query, key_value, size },
            inner: config.count("intermediate_size")?,
            vocabulary: config.count("vocab_size")?,
            tied: config.flag_or("tie_word_embeddings", false)?,
            epsilon: config.positive_or("rms_norm_eps", defaults.epsilon)?,
            activation,
            rope: Rope::read(config, size, positions, &defaults.rope)?,
            norms: NormPlace::Before,
            head_norms: false,
            biases: Biases::default(),
            fused: false,
            window: None,
            layers: vec![LayerKind { sliding: false, rotary: true }; config.count("num_hidden_layers")? as usize],
        })
    }

    /// The window: none where the key is null, `default` where it is absent.
    ///
    /// # Errors
    /// When it is no count.
    pub(super) fn window(config: Config<'_>, default: Option<u64>) -> Result<Option<u64>, ArchError> {
        const KEY: &str = "sliding_window";
        match config.get(KEY) {
            Some(_) => config.count(KEY).map(Some),
            None => Ok(default.filter(|_| !config.is_null(KEY))),
        }
    }

    /// Every layer sees the window alone, if the config has one.
    ///
    /// # Errors
    /// When it is no count, or `layer_types` says that layers differ.
    pub(super) fn sliding_everywhere(mut self, config: Config<'_>, default: Option<u64>) -> Result<Self, ArchError> {
        self.window = Self::window(config, default)?;
        let sliding = self.window.is_some();
        if self.layer_types(config)?.is_some_and(|types| types.contains(&!sliding)) {
            let kind = if sliding { "sliding_attention" } else { "full_attention" };
            return Err(config.refuse(
                "layer_types",
                format!("{kind} alone, since `sliding_window` concerns every layer of this family"),
            ));
        }
        self.layers.iter_mut().for_each(|layer| layer.sliding = sliding);
        Ok(self)
    }

    /// The layers of the list `layer_types`; none where the config has no list.
    ///
    /// # Errors
    /// When it has other words, or not one per layer.
    pub(super) fn layer_types(&self, config: Config<'_>) -> Result<Option<Vec<bool>>, ArchError> {
        const KEY: &str = "layer_types";
        let expected = || {
            config.refuse(KEY, format!("sliding_attention or full_attention for each of {} layers", self.layers.len()))
        };
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
        if config.flag_or("use_sliding_window", false)? {
            self.window = Self::window(config, Some(4096))?;
        }
        let (has_window, first) = (self.window.is_some(), config.id_or("max_window_layers", 28)? as usize);
        let sliding = match self.layer_types(config)? {
            Some(types) if !has_window && types.contains(&true) => {
                return Err(config.refuse(
                    "layer_types",
                    "full_attention alone, since `use_sliding_window` and `sliding_window` give no window",
                ));
            }
            Some(types) => types,
            None => (0..self.layers.len()).map(|index| has_window && index >= first).collect(),
        };
        self.layers.iter_mut().zip(sliding).for_each(|(layer, sliding)| layer.sliding = sliding);
        Ok(self)
    }
}

/// The tokens that end a text: those of `generation_config.json`, else those of the config, else the one of the
/// family's class.
///
/// # Errors
/// When `eos_token_id` is neither a token nor a list of tokens.
pub(super) fn end_tokens(
    config: Config<'_>,
    generation: Option<&Json>,
    default: Option<u64>,
) -> Result<Vec<u64>, ArchError> {
    const KEY: &str = "eos_token_id";
    let from = |config: Config<'_>| match config.get(KEY) {
        None => Ok(Vec::new()),
        Some(Json::Array(list)) => list
            .iter()
            .map(|id| id.as_u64().ok_or_else(|| config.refuse(KEY, "ids of tokens")))
            .collect::<Result<Vec<_>, _>>(),
        Some(_) => config.id_or(KEY, 0).map(|id| vec![id]),
    };
    let generated = generation.map_or(Ok(Vec::new()), |generation| from(Config::new(generation, "")))?;
    if !generated.is_empty() {
        return Ok(generated);
    }
    let own = from(config)?;
    if own.is_empty() && !config.is_null(KEY) { Ok(default.into_iter().collect()) } else { Ok(own) }
}
