//! Core ML bundles: what goes into a `.mlpackage`, and what a `.mlpackage` or `.mlmodelc` says about itself.
//!
//! | module | does |
//! |---|---|
//! | [`blob`] | weight files: offsets before data exists, records of existing files |
//! | [`package`] | `Manifest.json`, the file tree, names of weight files |
//! | [`spec`] | programs to and from the `Model` message; the parts of pipelines |
//! | [`compile`] | programs as compiled models, without Apple's tools |
//! | [`WeightPlan`] | which constants lie where, before any program exists |
//! | [`describe`] | inputs, outputs, target and texts of any model, compiled or not |
//!
//! Weights are never touched: the spec refers to places in weight files that a [`WeightLookup`] knows.

pub mod blob;
pub mod compile;
mod compiled;
pub mod describe;
mod error;
pub mod package;
pub mod spec;
mod weights;

pub use blob::{BlobError, BlobLayout, BlobPiece, BlobRecord};
pub use compile::{COMPILER, compiled_files};
pub use describe::{ModelDescription, describe_compiled, describe_specification};
pub use error::{CoreMlError, Place, Problem};
pub use package::{PackageItem, PackageManifest, PackageSource, is_lfs_pointer, package_files, resolve_weight_file, weight_reference};
pub use spec::{
    ArrayFeature, ColorSpace, DefaultValue, FeatureNote, FeatureType, Flexibility, FunctionNotes, ModelMetadata, PartLabel, PartSource,
    Unchecked, WeightLocation, WeightLookup, WeightRecords, belongs_in_weight_file, decode, encode, parts,
};
pub use weights::{WEIGHT_FILE_LIMIT, WeightFile, WeightPlan};
