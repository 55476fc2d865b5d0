//! What operators share: element type lists, defaults, and whole families of near-equal operators.

pub(super) mod argument;
pub(super) mod binary;
pub(super) mod blocks;
pub(super) mod convolution;
pub(super) mod defaults;
pub(super) mod dot;
pub(super) mod grid_sample;
pub(super) mod indexing;
pub(super) mod lists;
pub(super) mod normalize;
pub(super) mod permute;
pub(super) mod pool;
pub(super) mod quantization;
pub(super) mod random;
pub(super) mod recurrent;
pub(super) mod reduce;
pub(super) mod sampling;
pub(super) mod scatter;
pub(super) mod shapes;
pub(super) mod shifted;
pub(super) mod sort;
#[cfg(test)]
pub(super) mod testing;
pub(super) mod tiles;
pub(super) mod types;
pub(super) mod unary;
pub(super) mod window;
