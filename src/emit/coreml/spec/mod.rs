//! Programs to and from the `Model` message of a package.
//!
//! Writing is deterministic: maps are sorted, nothing comes from a clock. Reading keeps what the message says about the
//! program and its description; documentation texts of single values and attributes of tensor types are the only things
//! that are dropped. Parameters stand where the program has them, so `decode(encode(p)) == p`.

mod decode;
mod encode;
mod features;
mod pipeline;
#[cfg(test)]
mod tests;
mod types;
mod values;

pub use decode::decode;
pub use encode::encode;
pub(super) use features::interface_feature;
pub use features::{
    ArrayFeature, ColorSpace, DefaultValue, FeatureNote, FeatureType, Flexibility, FunctionNotes, ModelMetadata,
};
pub use pipeline::{PartLabel, PartSource, parts};
pub use values::{Unchecked, WeightLocation, WeightLookup, WeightRecords, belongs_in_weight_file};
