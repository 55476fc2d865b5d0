//! One verb each: typed options in, typed report out.
//!
//! Verbs share a [`Context`] (store, remotes, progress, a runtime that starts when the network is first needed), name
//! packages by [`PackageRequest`] and fail with [`Error`], which knows the [`ErrorKind`] that an exit code is made
//! from. Reports serialize to the documents that `--json` prints. Nothing here prints or reads the environment.

pub mod app;
pub mod build;
pub mod bundles;
pub mod codegen;
mod context;
mod error;
pub mod eval;
pub mod fetch;
pub mod gc;
pub mod inspect;
pub mod link;
pub mod list;
pub mod pin;
mod progress;
pub mod publish;
mod releases;
pub mod rm;
pub mod run;
pub mod show;
pub mod verify;

pub use crate::manifest::{PackageRequest, RequestError};
pub use context::Context;
pub use error::{Error, ErrorKind, Place};
pub use progress::{Amount, Progress, ProgressTask, Silent};
