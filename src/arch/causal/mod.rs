//! Causal language models: decoders alone, whose families differ in norms, biases, windows and the shape of their
//! checkpoints.
//!
//! The part `decoder` is the language model. The part `encoder` is the model without its head, as a sentence encoder,
//! with the modules of sentence-transformers behind it. A [`Family`] is a file that makes [`Settings`] from a config;
//! everything else is shared. To add one, write its file, add its module and its static here, and list it in
//! [`ARCHITECTURES`](super::ARCHITECTURES).

mod exaone4;
mod llama;
mod mistral;
mod phi3;
mod qwen2;
mod qwen3;
mod reader;
mod rope;
mod settings;
mod stack;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value as Json;

use self::{
    reader::Reader,
    settings::{Defaults, Settings},
};
use super::{
    ArchError, Architecture, Config, Documents, LoadOptions, Network, Quantization, Tables, Tensors,
    blocks::SentenceModules,
};
use crate::{
    checkpoint::Weights,
    contract::{CacheForm, Task},
};

const PARTS: &[&str] = &["decoder", "encoder"];
/// The part that gives the vector of a text.
const ENCODER: &str = "encoder";
const GENERATION: &str = "generation_config.json";

/// A family of causal language models.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name in package manifests, which is `model_type` in configs.
    name: &'static str,
    /// The class that configs list.
    class: &'static str,
    /// The class without a head of its own, as `AutoModel` saves it.
    backbone: &'static str,
    /// The keys of its configs.
    keys: Tables,
    /// What keys have that a config leaves out.
    defaults: Defaults,
    /// Adds to the settings that families share what a config of this one says.
    settings: fn(Config<'_>, Settings) -> Result<Settings, ArchError>,
}

/// The table of the one key that says which family a config is of.
macro_rules! kind {
    ($name:literal) => {
        &[$crate::arch::keys::only("model_type", &[concat!("\"", $name, "\"")])]
    };
}
use kind;

/// Llama 2 and 3, SmolLM.
pub(super) static LLAMA: Family = llama::FAMILY;
/// Mistral.
pub(super) static MISTRAL: Family = mistral::FAMILY;
/// Qwen2 and 2.5.
pub(super) static QWEN2: Family = qwen2::FAMILY;
/// Qwen3.
pub(super) static QWEN3: Family = qwen3::FAMILY;
/// Phi-3 and 4.
pub(super) static PHI3: Family = phi3::FAMILY;
/// EXAONE 4.0.
pub(super) static EXAONE4: Family = exaone4::FAMILY;

impl Architecture for Family {
    fn name(&self) -> &'static str {
        self.name
    }

    fn task(&self) -> Task {
        Task::TextGeneration
    }

    fn parts(&self) -> &'static [&'static str] {
        PARTS
    }

    fn detects(&self, config: &Json) -> bool {
        let listed = config.get("architectures").and_then(|listed| listed.get(0)?.as_str());
        let is_own = |class: &str| class == self.class || class == self.backbone;
        match config.get("model_type").and_then(Json::as_str) {
            Some(kind) => kind == self.name && listed.is_none_or(is_own),
            None => listed.is_some_and(is_own),
        }
    }

    fn config_keys(&self) -> Tables {
        self.keys
    }

    fn component_keys(&self, part: Option<&str>) -> &'static [&'static str] {
        if part == Some(ENCODER) {
            return &["sequence", "linear", "attention"];
        }
        &["sequence", "context", "cache", "window-cache", "logits", "chunks", "linear", "attention"]
    }

    fn trained_positions(&self, config: Config<'_>) -> Result<Option<u64>, ArchError> {
        config.count_or("max_position_embeddings", self.defaults.positions).map(Some)
    }

    fn default_part(&self) -> Option<&'static str> {
        Some("decoder")
    }

    fn other_part(&self, documents: &Documents, part: Option<&str>) -> Option<(&'static str, &'static str)> {
        const TEXT: &str =
            "the checkpoint has a modules.json, which makes it a sentence encoder; this bundle is its language model";
        let is_other = part != Some(ENCODER) && SentenceModules::are_described(documents);
        is_other.then_some((TEXT, "part = \"encoder\" builds the sentence encoder"))
    }

    fn documents(&self, read: &dyn Fn(&str) -> Option<Json>) -> Vec<String> {
        std::iter::once(GENERATION.to_owned()).chain(SentenceModules::documents(read)).collect()
    }

    fn module_files(&self, documents: &Documents, part: Option<&str>) -> Vec<Vec<String>> {
        if part == Some(ENCODER) { SentenceModules::weight_files(documents) } else { Vec::new() }
    }

    fn holds(&self, weights: &dyn Weights, _part: Option<&str>) -> bool {
        weights.info(&format!("{}{}.weight", reader::prefix(weights), reader::EMBEDDING)).is_some()
    }

    fn load(
        &self,
        documents: &Documents,
        weights: &Arc<dyn Weights>,
        options: &LoadOptions,
    ) -> Result<Network, ArchError> {
        if options.part.as_deref().is_some_and(|part| !PARTS.contains(&part)) {
            return Err(ArchError::Part { architecture: self.name, parts: PARTS, found: options.part.clone() });
        }
        let config = Config::of(documents, self)?;
        let settings = (self.settings)(config, Settings::read(config, &self.defaults)?)?;
        let ends = settings::end_tokens(config, documents.others.get(GENERATION), self.defaults.end)?;
        let quantization = documents.config.as_ref().and_then(Quantization::of);
        let tensors = Tensors::new(weights.as_ref(), "", options.compute).quantized(quantization.as_ref());
        let reader =
            Reader { tensors: &tensors, prefix: reader::prefix(weights.as_ref()), settings: &settings, options };
        let network = match options.part.as_deref() {
            Some(ENCODER) => {
                check_encoder(options)?;
                reader.encoder(SentenceModules::read(documents, &tensors, settings.width)?)?
            }
            _ => reader.network(&ends)?,
        };
        tensors.all_used(self.name)?;
        Ok(network)
    }
}

/// Refuses what only a decoder has.
fn check_encoder(options: &LoadOptions) -> Result<(), ArchError> {
    let refuse = |axis: &'static str, found: &str| {
        let why = "a sentence encoder reads a text at once, and whole".to_owned();
        Err(ArchError::Form { axis, found: found.to_owned(), why })
    };
    match (options.cache, &options.chunk) {
        (CacheForm::None, None) => Ok(()),
        (CacheForm::None, Some(chunk)) => refuse("chunks", &chunk.count.to_string()),
        (CacheForm::State, _) => refuse("cache", "state"),
        (CacheForm::Inputs, _) => refuse("cache", "inputs"),
    }
}
