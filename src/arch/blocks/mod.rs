//! Pieces that several architectures share.

mod conv;
mod group_norm;

pub use conv::Conv2d;
pub use group_norm::GroupNorm;
