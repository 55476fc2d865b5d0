//! Verbs over an app's `mlreg.toml` and `mlreg.lock`: `add`, `remove`, `update`, and `fetch` of everything that they
//! name.
//!
//! A lock is followed as long as it fits the manifest: its version matches the requirement, its source is listed, its
//! variants are what the manifest's selection means for that release. Where it does not fit it is made anew and
//! written, unless it is frozen (`--locked`, a build phase of Xcode). Sources are mirrors: the first that answers names
//! a new release; for a locked one any will do that has those bytes.

mod edit;
mod error;
mod fetch;
mod project;
mod resolve;
mod xcode;

pub use edit::{AddOptions, AddReport, RemoveReport, UpdateOptions, UpdateReport, UpdatedPackage, add, remove, update};
pub use error::{AppError, Staleness};
pub use fetch::{AppFetchOptions, AppFetchReport, LockChange, fetch_app, lists};
pub(super) use project::{locked_releases, project_folder};
pub use xcode::{PhaseUpdate, XcodeOptions, XcodeReport, xcode};
