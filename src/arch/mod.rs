//! Model architectures: from a checkpoint's tensors to programs.
//!
//! An [`Architecture`] reads config and tensors and yields a [`Network`]: typed stages whose constants are recipes. One
//! planner ([`program`]) groups stages into functions and programs for every family. The constants of a network never
//! depend on a shape or target, which is why every shape and target names the same weight file.

pub mod blocks;

mod autoencoder_tiny;
mod bert;
mod causal;
mod config;
mod error;
mod keys;
mod lingolite;
mod planner;
mod quantization;
mod stage;
mod t5;
mod tensors;
mod translator;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value as Json;

pub use config::Config;
pub use error::{ArchError, UnknownKey};
pub use keys::{COMMON_KEYS, ConfigKey, KeyRule, STAND_IN, Tables};
pub use planner::{FunctionPlan, functions, program};
pub use quantization::Quantization;
pub use stage::{Feature, Flow, Form, Interface, Interfaces, Network, Shape, Stage, TextShape};
pub use tensors::Tensors;

use crate::{
    checkpoint::Weights,
    contract::{CacheForm, Chunk, PictureRange, Task},
    mil::DataType,
};

/// Every architecture. Adding one: its file, and its word here.
pub const ARCHITECTURES: &[&dyn Architecture] = &[
    &autoencoder_tiny::AutoencoderTiny,
    &bert::BERT,
    &bert::CAMEMBERT,
    &causal::EXAONE4,
    &causal::LLAMA,
    &causal::MISTRAL,
    &causal::PHI3,
    &causal::QWEN2,
    &causal::QWEN3,
    &lingolite::LingoLite,
    &t5::MT5,
    &bert::ROBERTA,
    &t5::T5,
    &t5::UMT5,
    &bert::XLM_ROBERTA,
];

/// What a component's manifest says about how to read a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Which part of the architecture, e.g. `decoder`.
    pub part: Option<String>,
    /// Element type of weights and arithmetic: float16 or float32.
    pub compute: DataType,
    /// Range of pictures, where the family has pictures.
    pub range: PictureRange,
    /// Cut pictures off at the ends of their range.
    pub clamp: bool,
    /// The longest sequence or context of the component, in tokens: how far tables of positions must reach.
    pub positions: u64,
    /// The longest sequence of one call, in tokens.
    pub longest: u64,
    /// Where a decoder keeps its cache.
    pub cache: CacheForm,
    /// Whether layers with a window keep the window alone.
    pub window_cache: bool,
    /// Which run of layers, where they are split.
    pub chunk: Option<Chunk>,
    /// Whether bundles may have several functions (from iOS18 on).
    pub several_functions: bool,
}

/// What a checkpoint says beside its tensors.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// `config.json`.
    pub config: Option<Json>,
    /// The documents that the architecture asked for, by path, where they are there.
    pub others: BTreeMap<String, Json>,
    /// Keys of `config.json` that the component leaves out of account.
    pub ignored: BTreeSet<String>,
}

/// A family of models.
pub trait Architecture: Sync {
    /// The name in package manifests, e.g. `autoencoder-tiny`.
    fn name(&self) -> &'static str;

    /// What its models are for.
    fn task(&self) -> Task;

    /// The parts that can be components.
    fn parts(&self) -> &'static [&'static str];

    /// Whether a `config.json` describes this family.
    fn detects(&self, config: &Json) -> bool;

    /// What the family does with the keys of `config.json`. Read it through [`Config::of`], which refuses all others.
    fn config_keys(&self) -> Tables;

    /// The part that a `config.json` describes, which the component's name does not change.
    fn described_part(&self, _config: Option<&Json>) -> Option<&'static str> {
        None
    }

    /// The part of a component that names none; none where it has to.
    fn default_part(&self) -> Option<&'static str> {
        self.parts().first().copied().filter(|_| self.parts().len() == 1)
    }

    /// The key of a component that gives the shape.
    fn shape_key(&self) -> &'static str {
        "sequence"
    }

    /// The keys of a component that mean something for a part, beside those that every conversion has.
    fn component_keys(&self, part: Option<&str>) -> &'static [&'static str];

    /// How many positions a model was trained for, where longer texts can be asked for and are extrapolated.
    ///
    /// # Errors
    /// When the key that says it holds something else.
    fn trained_positions(&self, _config: Config<'_>) -> Result<Option<u64>, ArchError> {
        Ok(None)
    }

    /// What the documents say that the checkpoint was made for, where the part is something else; and the key that
    /// builds that.
    fn other_part(&self, _documents: &Documents, _part: Option<&str>) -> Option<(&'static str, &'static str)> {
        None
    }

    /// The documents beside config.json that count, by path; `read` gives one, where it is there.
    fn documents(&self, _read: &dyn Fn(&str) -> Option<Json>) -> Vec<String> {
        Vec::new()
    }

    /// Weight files of modules that lie in folders of their own: for each the paths that it may have, the best first.
    /// Their tensors are called `<folder>/<name>`.
    fn module_files(&self, _documents: &Documents, _part: Option<&str>) -> Vec<Vec<String>> {
        Vec::new()
    }

    /// Which of a folder's weight files hold the part, by their names; `None`: the usual ones.
    fn weight_files(&self, _available: &[String], _part: Option<&str>) -> Option<Vec<String>> {
        None
    }

    /// Whether the tensors of a file look like the part's, where names of files do not tell.
    fn holds(&self, weights: &dyn Weights, part: Option<&str>) -> bool;

    /// Reads the network.
    ///
    /// # Errors
    /// When documents or tensors are not what the family has; the message names the tensor or key.
    fn load(
        &self,
        documents: &Documents,
        weights: &Arc<dyn Weights>,
        options: &LoadOptions,
    ) -> Result<Network, ArchError>;
}

/// The architecture of that name.
///
/// # Errors
/// When there is none; the message lists those that there are.
pub fn find(name: &str) -> Result<&'static dyn Architecture, ArchError> {
    let known = || ARCHITECTURES.iter().map(|architecture| architecture.name()).collect();
    ARCHITECTURES
        .iter()
        .copied()
        .find(|architecture| architecture.name() == name)
        .ok_or_else(|| ArchError::UnknownName { name: name.to_owned(), known: known() })
}

/// What the models of an architecture are for; `None` where its name is not known.
pub fn task(name: &str) -> Option<Task> {
    find(name).ok().map(|architecture| architecture.task())
}

/// The architecture that a `config.json` describes.
///
/// # Errors
/// When none does, or there is no config; the message says what the config names and what is known.
pub fn detect(config: Option<&Json>) -> Result<&'static dyn Architecture, ArchError> {
    let known = || ARCHITECTURES.iter().map(|architecture| architecture.name()).collect();
    let config = config.ok_or_else(|| ArchError::NoConfig { known: known() })?;
    ARCHITECTURES.iter().copied().find(|architecture| architecture.detects(config)).ok_or_else(|| {
        let text = |key: &str| config.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let listed = || config.get("architectures")?.get(0)?.as_str().map(str::to_owned);
        let found = text("_class_name").or_else(listed).or_else(|| text("model_type"));
        ArchError::UnknownConfig { found, known: known() }
    })
}
