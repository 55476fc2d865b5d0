//! What an app wants of packages (`mlreg.toml`) and what it has got (`mlreg.lock`): texts in, values out, no IO.
//!
//! ```text
//! mlreg.toml --AppManifest::parse--> packages, with places for messages
//! mlreg.toml + Changes --edit--> mlreg.toml, comments kept
//! release + Wanted --LockedPackage::new--> mlreg.lock: version, digest, source, variants per deployment target
//! outputs --phase_files--> script, .xcfilelists and .d of a build phase of Xcode
//! ```
//! Who is asked for releases and what is placed is decided in `workflow`.

mod edit;
mod lock;
mod manifest;
mod xcode;

pub use edit::{Changes, remove_package, set_package, set_phase};
pub use lock::{ChoiceError, LOCK_NAME, Lock, LockedPackage};
pub use manifest::{AppManifest, AppPackage, BuildPhase, MANIFEST_NAME, Source};
pub use xcode::{OUTPUTS_NAME, PhasePaths, SCRIPT_NAME, phase_files, phase_steps, relative};
