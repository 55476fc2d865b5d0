//! `mlreg`: from a model checkpoint to an app.
//!
//! Rooms, in reading order; ARCHITECTURE.md says who may lean on whom.

pub mod app;
pub mod arch;
pub mod base;
pub mod checkpoint;
pub mod cli;
pub mod codegen;
pub mod contract;
pub mod emit;
pub mod eval;
pub mod fetch;
pub mod manifest;
pub mod mil;
pub mod ops;
pub mod passes;
pub mod proto;
pub mod publish;
pub mod recipe;
pub mod remote;
pub mod scores;
pub mod store;
pub mod tensors;
pub mod text;
pub mod types;
pub mod workflow;
