//! Publishing: which blobs of a release a remote lacks, sending them, and making the release visible in one step.

mod card;
mod error;
mod places;
mod plan;
mod upload;

pub use card::{ModelCard, Quality, QualityError};
pub use error::PublishError;
pub use places::{Places, places};
pub use plan::PublishPlan;
pub use upload::{check_present, damage, upload};
