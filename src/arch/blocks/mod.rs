//! Pieces that several architectures share.

mod activation;
mod attention;
mod cache;
mod conv;
mod embedding;
mod feed_forward;
mod group_norm;
pub mod layer;
mod linear;
mod mask;
mod norm;
mod positions;
mod relative_bias;
mod rotary;
mod sentence;

pub use activation::Activation;
pub use attention::{Attention, Heads, Scale, turned_bias};
pub use cache::{KeyValueCache, LayerCache};
pub use conv::Conv2d;
pub use embedding::{Embedding, from_layout, to_layout};
pub use feed_forward::FeedForward;
pub use group_norm::GroupNorm;
pub use layer::{CrossAttention, PostNormLayer, PreNormLayer, SelfAttention};
pub use linear::Linear;
pub use mask::{causal_bias, key_positions, padding_bias, seeing, stricter, window_bias};
pub use norm::{LayerNorm, RmsNorm};
pub use positions::Positions;
pub use relative_bias::{Buckets, RelativeBias};
pub use rotary::{Rotary, RotaryRows};
pub use sentence::SentenceModules;
