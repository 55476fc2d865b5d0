//! `mlreg` takes a machine-learning model from a checkpoint to an app: it converts checkpoints to Core ML packages,
//! publishes them as immutable releases, and fetches into an app exactly the bytes that it lacks.
//!
//! The library consists of rooms, one module each. In reading order:
//!
//! | room | content |
//! |---|---|
//! | [`base`] | digests, names, paths, targets, byte ranges, limits, atomic files |
//! | [`types`] | element types of tensors |
//! | [`contract`] | what models and apps agree on: names of inputs and outputs, forms, notes in metadata |
//! | [`checkpoint`] | reads safetensors and torch files |
//! | [`recipe`] | describes how a constant is made from tensors, and evaluates it |
//! | [`mil`] | the intermediate representation: programs, operator declarations, builder, verifier |
//! | [`passes`] | changes to constants and programs |
//! | [`manifest`] | package manifests, variants, release manifests |
//! | [`proto`], [`emit`] | write and read bundles |
//! | [`eval`], [`ops`] | run programs on the CPU; the declaration and kernel of every operator |
//! | [`scores`] | BLEU, chrF and signs of broken text models |
//! | [`tensors`], [`text`] | tensor files and pictures; tokenizers and chat templates |
//! | [`arch`] | turns the checkpoint of a model family into programs |
//! | [`store`] | the content-addressed store on this machine |
//! | [`remote`] | where releases are published to and fetched from |
//! | [`codegen`] | generates source code for apps |
//! | [`fetch`], [`publish`] | plan and execute downloads, placements and uploads |
//! | [`app`] | app manifests, locks, build phases |
//! | [`workflow`] | one module per verb: options in, report out |
//! | [`cli`] | the command line |
//!
//! A room uses only rooms above it. To convert, publish or fetch from Rust, start at [`workflow::Context`] and the
//! verb's module in [`workflow`]. ARCHITECTURE.md in the repository shows how data moves between the rooms and where
//! additions go.

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
