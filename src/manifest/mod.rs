//! Package manifests, which people write, and release manifests, which mlreg exchanges. Parses and checks texts; no IO.
//!
//! ```text
//! manifests/x.toml --PackageManifest::parse--> components --variants--> VariantPlan --(build)--> Release --to_canonical--> bytes, digest
//! bytes --Release::parse--> Release --select--> chosen variants and the names they get when placed
//! ```

mod assign;
mod axes;
mod bundle_kind;
mod canonical;
mod check;
mod compat;
mod component;
mod conflict;
mod error;
mod glob;
mod import;
mod package;
mod plan;
pub(crate) mod reader;
pub mod release;
mod request;
mod schema;
mod select;
mod variants;

pub use crate::base::nearest;
pub use assign::Assignment;
pub use axes::{
    Axes, Axis, AxisLists, CHUNK, CHUNKS, Compression, CompressionError, Format, Integer, Precision, Shape, Size,
    TextShape, distinguishing, making,
};
pub use canonical::{CanonicalError, to_canonical};
pub use check::ReleaseError;
pub use compat::{Breaking, Change, breaking_changes, may_break};
pub use component::{Component, ComponentKind, Conversion, Exclusion};
pub use error::{ManifestError, Problem};
pub use glob::{GlobError, VariantGlob};
pub use import::{FoundBundle, Import, ImportPattern};
pub use package::{PackageHeader, PackageManifest};
pub use plan::{Content, VariantPlan};
pub use request::{PackageRequest, RequestError, Requirement, RequirementError};
pub use schema::release_schema;
pub use select::{Chosen, SelectError, Selection, offered, select, unfit_listing};
