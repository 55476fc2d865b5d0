//! Core ML bundles: writes `.mlpackage` and `.mlmodelc`, and describes existing ones.
//!
//! | module | does |
//! |---|---|
//! | `mlpackage`, `mlmodelc` | the two bundle formats |
//! | [`blob`] | weight files: offsets before data exists, records of existing files |
//! | `weights` | places of a component's constants in weight files |
//! | [`package`] | `Manifest.json`, the file tree, names of weight files |
//! | [`spec`] | programs to and from the `Model` message; the parts of pipelines |
//! | [`compile`] | programs as compiled models, without Apple's tools |
//! | [`Package`] | packages from disk, opened: programs decoded, weight files mapped |
//! | [`describe`] | inputs, outputs, target and texts of any model, compiled or not |
//!
//! No module reads or writes weights: the specification refers to places in weight files, which come from a
//! [`WeightLookup`].

pub mod blob;
pub mod compile;
mod compiled;
pub mod describe;
mod error;
mod mlmodelc;
mod mlpackage;
mod opened;
pub mod package;
pub mod spec;
mod weights;

pub use blob::{BlobError, BlobLayout, BlobPiece, BlobRecord};
pub use compile::{COMPILER, compiled_files};
pub use describe::{ModelDescription, describe_compiled, describe_specification};
pub use error::{CoreMlError, Place, Problem};
pub(crate) use mlmodelc::MlModelC;
pub(crate) use mlpackage::MlPackage;
pub(crate) use opened::PIPELINE_FUNCTION;
pub use opened::{Files, MappedWeights, Model, ModelBody, Package, PackageError, Part};
pub use package::{PackageItem, PackageManifest, is_lfs_pointer, package_files, resolve_weight_file, weight_reference};
pub use spec::{
    ArrayFeature, ColorSpace, DefaultValue, FeatureNote, FeatureType, Flexibility, FunctionNotes, ModelMetadata,
    PartLabel, PartSource, Unchecked, WeightLocation, WeightLookup, WeightRecords, belongs_in_weight_file, decode,
    encode, parts,
};
pub(crate) use weights::{WEIGHT_FILE_LIMIT, plan_weights};
