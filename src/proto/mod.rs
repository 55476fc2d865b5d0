//! Generated protobuf types of Core ML, checked in so that building needs no protobuf compiler.
//!
//! The sources lie in `proto/`; `BLESS=1 cargo test --test generated` writes these files again. Maps are `BTreeMap`s, so that equal messages
//! have equal bytes. Unknown fields are dropped when reading.

#[rustfmt::skip]
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod coreml;
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod mil;
