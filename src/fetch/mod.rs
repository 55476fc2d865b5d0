//! Fetching: from a release and what is on this machine to bundles in a folder.
//!
//! ```text
//! release, variants, facts --FetchPlan--> download (async) --> blobs in the store
//! release, chosen names --Proof--> Destination::survey --> place: bundles, .mlreg.json, a record in the store
//! record --unchanged--> nothing to do
//! ```
//! Which release and variants are wanted is decided in `workflow`.

mod download;
mod error;
mod fill;
mod forget;
mod layout;
mod materialize;
mod pace;
pub mod plan;
pub mod ranges;
mod scan;
pub mod sources;
mod state;
mod verify;

pub use download::{DownloadReport, download};
pub use error::FetchError;
pub use forget::{check_others, forget_others};
pub use layout::{
    LAYOUT_NAME, LAYOUT_SCHEMA, Layout, LayoutDocument, Named, PROOF_NAME, PROOF_SCHEMA, PlacedBundle, PlacedFile,
    Proof,
};
pub use materialize::{Destination, PlaceReport, Staging, Survey};
pub use plan::{BlobPlan, BlobWork, Claim, Facts, FetchPlan, Totals};
pub use state::{FetchRequest, Outline, OutlinedBundle, Owner, RequestedRelease, Wanted, distrust, unchanged};
pub use verify::{PlacedFinding, PlacedProblem, PlacedReport, is_placed, verify_placed};
