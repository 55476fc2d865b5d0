//! The release manifest, schema version 1: what `build` writes and `fetch` reads. Its canonical bytes' sha256 is the
//! release's identity.
//!
//! It covers what the bytes are: files, segments, interface. Tool versions, locations and quality reports are side
//! documents. Readers keep fields that they do not know (`other`), so that a newer release passes through an older
//! mlreg unharmed.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{Blake3, Digest, HashedBytes, PackageName, RelativePath, Tag, Target},
    contract::Interface,
};

/// The `schema` field of a release manifest.
pub const SCHEMA: &str = "mlreg/release/1";

/// Fields of a newer schema, kept as they are.
pub type Other = serde_json::Map<String, serde_json::Value>;

/// One immutable version of a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Always `mlreg/release/1`.
    pub schema: String,
    /// The package.
    pub package: PackageName,
    /// Its version.
    #[schemars(with = "String")]
    pub version: semver::Version,
    /// One sentence about the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX expression of the weights' licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where each component came from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Source>,
    /// Every variant, sorted by id.
    pub variants: Vec<Variant>,
    /// Every blob that a variant names.
    pub blobs: BTreeMap<Digest, Blob>,
    /// Fields of a newer schema.
    #[serde(flatten)]
    pub other: Other,
}

/// What a component was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The architecture that read the checkpoint, e.g. `autoencoder-tiny`; absent for imported bundles and plain files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The sha256 of the files that were read, computed from their bytes, by name inside the checkpoint or repository.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Digest>,
    /// The repository of the Hub that they came from, `ORG/REPO`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The commit of the repository they came from, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Further repositories that files of the component came from; they have none of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Source>,
    /// What its weights are instead of trained ones, e.g. `random weights`; absent for real checkpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<String>,
    /// Keys of its `config.json` that were left out of account, because the package manifest says that they change no
    /// number.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ignored_config: BTreeSet<String>,
    /// Fields of a newer schema.
    #[serde(flatten)]
    pub other: Other,
}

impl Source {
    /// What people should know before they trust what `component` gives.
    pub fn warning(&self, component: &str) -> Option<String> {
        let what = self.stand_in.as_ref()?;
        Some(format!("`{component}` has no trained weights, its results mean nothing: {what}"))
    }
}

/// When a tag's bytes are wanted, as in On-Demand Resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// With the app.
    Initial,
    /// After the app was installed.
    Prefetch,
    /// When it is asked for.
    #[default]
    OnDemand,
}

/// What kind of tree a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BundleKind {
    /// A Core ML package.
    MlPackage,
    /// A compiled Core ML model.
    MlModelC,
    /// A Core AI model.
    AiModel,
    /// An ONNX model.
    Onnx,
    /// Plain files.
    Files,
}

/// One bundle of a component for one combination of axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Variant {
    /// Unique in the release, e.g. `decoder-768-float16-ios18`.
    pub id: String,
    /// The id without its target, e.g. `decoder-768-float16`: the name when placed for a deployment floor.
    pub name: String,
    /// The component it belongs to.
    pub component: String,
    /// Lowest OS that may load it; absent where any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub target: Option<Target>,
    /// What kind of tree it is.
    pub kind: BundleKind,
    /// The values of its axes, e.g. `size = 768`, `precision = float16`, `layout = nhwc`, `compression = none`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub axes: BTreeMap<String, String>,
    /// Tags that ask for it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// When it is wanted.
    pub delivery: Delivery,
    /// Inputs, outputs and states, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
    /// How it was compiled, where mlreg did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiled: Option<Compiled>,
    /// Its files, sorted by path.
    pub files: Vec<FileEntry>,
    /// Folders without files in them, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<RelativePath>,
    /// Fields of a newer schema.
    #[serde(flatten)]
    pub other: Other,
}

/// How a compiled bundle came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compiled {
    /// Which compiler made it: `mlmodelc-export`, or Apple's `coremlcompiler`.
    pub compiler: String,
    /// Whether it was run on a device before it was released.
    pub run_on_device: bool,
    /// Fields of a newer schema.
    #[serde(flatten)]
    pub other: Other,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Path inside the bundle.
    pub path: RelativePath,
    /// Its blob.
    pub sha256: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Whether it is executable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// The bytes of a file, and how to check parts of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blob {
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of all bytes; absent where whoever described the blob has not read it: in repositories that mlreg did not
    /// publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Blake3>,
    /// Consecutive ranges that cover every byte; empty: the blob is fetched whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
}

/// A range of a blob that is addressed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// First byte.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub length: u64,
    /// What checks it.
    #[serde(flatten)]
    pub content: SegmentContent,
    /// The tensor whose data this is (or is a part of), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<TensorLabel>,
}

/// How a segment's bytes are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SegmentContent {
    /// By their BLAKE3.
    Blake3(Blake3),
    /// They stand here, in base64: the short records between tensors, which move whenever a tensor before them changes
    /// its length.
    Data(String),
}

impl Blob {
    /// A blob of which nothing is known besides its address and length.
    pub fn of_size(size: u64) -> Self {
        Self { size, blake3: None, segments: Vec::new() }
    }

    /// Whether bytes that were hashed are what this describes, as far as it does.
    pub fn describes(&self, hashed: &HashedBytes) -> bool {
        self.size == hashed.size && self.blake3.is_none_or(|blake3| blake3 == hashed.blake3)
    }
}

/// Which tensor a segment belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TensorLabel {
    /// The checkpoint's name of the tensor, where it is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `float16`, `uint4`, ...
    pub dtype: String,
    /// Shape of the whole tensor; for imported files, whose records have none, its number of elements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<u64>,
}
