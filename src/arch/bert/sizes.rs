//! What the config of an encoder says.

use serde_json::Value as Json;

use crate::arch::{
    ArchError, Config,
    blocks::{Activation, Heads},
};

/// Sizes, and what else changes numbers.
#[derive(Debug)]
pub(super) struct Sizes {
    pub layers: u64,
    pub width: u64,
    heads: u64,
    pub inner: u64,
    pub vocabulary: u64,
    /// Rows of the table of positions.
    pub positions: u64,
    /// Rows of the table of types; 0 where there is none.
    pub types: u64,
    /// The id of padding, where positions count from behind it.
    pub padding: Option<u64>,
    pub epsilon: f64,
    pub activation: Activation,
}

impl Sizes {
    pub(super) fn read(config: Config<'_>, counts_from_padding: bool) -> Result<Self, ArchError> {
        let (width, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        if !width.is_multiple_of(heads) {
            return Err(config.refuse("num_attention_heads", format!("a divisor of hidden_size, which is {width}")));
        }
        let activation = Activation::from_name(config.text_or("hidden_act", "gelu")?);
        let padding = counts_from_padding.then(|| config.id_or("pad_token_id", 1)).transpose()?;
        let positions = config.count_or("max_position_embeddings", 512)?;
        if padding.is_some_and(|padding| positions < padding + 2) {
            return Err(config.refuse("max_position_embeddings", "more than pad_token_id + 1"));
        }
        Ok(Self {
            layers: config.count("num_hidden_layers")?,
            width,
            heads,
            inner: config.count("intermediate_size")?,
            vocabulary: config.count("vocab_size")?,
            positions,
            types: match config.get("type_vocab_size").and_then(Json::as_u64) {
                Some(0) => 0,
                _ => config.count_or("type_vocab_size", 2)?,
            },
            padding,
            epsilon: config.positive_or("layer_norm_eps", 1e-12)?,
            activation: activation.ok_or_else(|| config.refuse("hidden_act", Activation::NAMES))?,
        })
    }

    pub(super) fn heads(&self) -> Heads {
        Heads { query: self.heads, key_value: self.heads, size: self.width / self.heads }
    }

    /// The longest text, in tokens.
    pub(super) fn longest(&self) -> u64 {
        self.positions - self.padding.map_or(0, |padding| padding + 1)
    }

    /// Whether types are an input. RoBERTa's only one is added to every token.
    pub(super) fn takes_types(&self) -> bool {
        self.types > 0 && !(self.padding.is_some() && self.types == 1)
    }
}
