//! Publishing: which blobs of a release a remote lacks, sending them, and making the release visible in one step.

mod error;
mod plan;
mod upload;

pub use error::PublishError;
pub use plan::PublishPlan;
pub use upload::{check_local, upload};
