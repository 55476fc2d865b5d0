//! What can be wrong with a checkpoint or with the form that was asked for.

use std::borrow::Cow;

use super::Quantization;
use crate::{base::nearest, mil::BuildError};

/// Why a checkpoint does not become a program.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ArchError {
    /// No architecture of that name.
    #[error("`{name}` is not an architecture that mlreg knows: expected one of {}", .known.join(", "))]
    UnknownName { name: String, known: Vec<&'static str> },
    /// No config to read the architecture from.
    #[error("the checkpoint has no config.json to read the architecture from")]
    NoConfig { known: Vec<&'static str> },
    /// A config of no known architecture.
    #[error("config.json describes {}, which mlreg does not convert", .found.as_deref().map_or("no architecture by name".to_owned(), |name| format!("`{name}`")))]
    UnknownConfig { found: Option<String>, known: Vec<&'static str> },
    /// The part is missing or unknown.
    #[error("`{architecture}` has the parts {}; {}", .parts.join(", "), .found.as_deref().map_or("the component names none".to_owned(), |part| format!("the component asks for `{part}`")))]
    Part { architecture: &'static str, parts: &'static [&'static str], found: Option<String> },
    /// A config value that the architecture does not have.
    #[error("config.json: `{key}` is {found}, expected {expected}")]
    Config { key: String, expected: String, found: String },
    /// Keys of a config that no table of the family has.
    #[error("config.json: {}, which mlreg does not know how to honour for `{family}`", .keys.iter().map(|key| format!("`{}` is {}", key.name, key.found)).collect::<Vec<_>>().join(" and "))]
    UnknownKeys { family: &'static str, keys: Vec<UnknownKey> },
    /// A config value that would make the family compute something else.
    #[error("config.json: `{key}` is {found}, expected {expected} for `{family}`")]
    RefusedKey { family: &'static str, key: String, found: String, expected: String },
    /// A key that a component cannot leave out of account.
    #[error("`ignore-config` cannot name `{key}`: {why}")]
    CannotIgnore {
        key: String,
        why: Cow<'static, str>,
        /// Keys of the config that it may be meant to be.
        near: Vec<String>,
    },
    /// Weights that are quantized in a way that is not read.
    #[error("the checkpoint is quantized ({}), as `{}` of its config.json says", .quantization.describe(), .quantization.key)]
    Quantized { quantization: Quantization },
    /// A checkpoint without the config that its architecture needs.
    #[error("`{architecture}` needs the checkpoint's config.json")]
    NeedsConfig { architecture: &'static str },
    /// Another document of the checkpoint that says something else than the architecture has.
    #[error("{document}: found {found}, expected {expected}")]
    Document { document: String, expected: String, found: String },
    /// A tensor that should be there.
    #[error("the checkpoint has no tensor `{name}`")]
    MissingTensor {
        name: String,
        /// A tensor of the same weight that is quantized.
        packed: Option<String>,
    },
    /// A backbone whose config does not tie the head to the embedding.
    #[error(
        "the checkpoint is a backbone without a head: it has no tensor `{name}`, and `tie_word_embeddings` of its config.json is false"
    )]
    NoHead {
        /// The tensor of the head.
        name: &'static str,
    },
    /// No tensor of the part at all.
    #[error("the checkpoint holds no tensors of the part `{part}`: expected names such as {expected}; found names such as {}", .found.join(", "))]
    NoPart {
        part: String,
        /// Names that would be read.
        expected: String,
        /// Some names that are there.
        found: Vec<String>,
    },
    /// A tensor of 8 bit floats without the scale that others have.
    #[error(
        "tensor `{name}` has 8 bit floats and no scale: expected `{name}_scale` or `{name}_scale_inv`, since the checkpoint is quantized"
    )]
    NoScale { name: String },
    /// A tensor of another shape.
    #[error("tensor `{name}` has the shape {found:?}, expected {expected}")]
    TensorShape { name: String, expected: String, found: Vec<u64> },
    /// A tensor of a dtype that weights cannot have.
    #[error("tensor `{name}` is {found}, expected floating point numbers")]
    TensorType { name: String, found: String },
    /// Tensors that the architecture does not use.
    #[error("the checkpoint holds tensors that `{architecture}` does not have: {}", .names.join(", "))]
    UnusedTensors {
        architecture: &'static str,
        /// Their names, at most a few.
        names: Vec<String>,
    },
    /// A head that the part does not have.
    #[error("the checkpoint holds a head that part `{part}` of `{architecture}` does not have: {}", .names.join(", "))]
    Head {
        architecture: &'static str,
        /// The part that was asked for.
        part: &'static str,
        /// Names of the head's tensors, at most a few.
        names: Vec<String>,
        /// The parts that have heads.
        parts: &'static [&'static str],
    },
    /// A tensor that is there under two names.
    #[error("the checkpoint holds `{first}` and `{second}`, which are two names of one tensor")]
    TwoNames { first: String, second: String },
    /// A layer that is not where the architecture has it.
    #[error("layer {index} (`{name}`) does not follow layer {previous} in any {architecture}: {why}")]
    LayerOrder {
        architecture: &'static str,
        /// Index of the layer.
        index: u64,
        /// Index of the one before.
        previous: u64,
        name: String,
        why: &'static str,
    },
    /// A form that the network cannot take.
    #[error("{axis} {found} does not fit: {why}")]
    Form { axis: &'static str, found: String, why: String },
    /// An operation that cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A key of a config that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// The key.
    pub name: String,
    /// Its value, shortened.
    pub found: String,
    /// A known key that it may be meant to be.
    pub near: Option<String>,
}

/// How a component says that keys change no number.
fn ignoring<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<String> = keys.map(|key| format!("\"{key}\"")).collect();
    format!("if it changes no number of the model, add ignore-config = [{}] to the component", keys.join(", "))
}

impl ArchError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoConfig { known } => Some(format!("name it in the component: architecture = \"...\", one of {}", known.join(", "))),
            Self::UnknownConfig { known, .. } => {
                Some(format!("mlreg converts {}; a bundle made elsewhere can be taken in with `import`", known.join(", ")))
            }
            Self::UnknownKeys { keys, .. } => {
                let near = keys.iter().filter_map(|key| Some(format!("`{}` may be meant to be `{}`; ", key.name, key.near.as_ref()?)));
                Some(format!("{}{}", near.collect::<String>(), ignoring(keys.iter().map(|key| key.name.as_str()))))
            }
            Self::RefusedKey { key, .. } if key == "model_type" => {
                Some("leave `architecture` out of the component: config.json says which family the weights are of".to_owned())
            }
            Self::RefusedKey { key, .. } => Some(ignoring(std::iter::once(key.as_str()))),
            Self::CannotIgnore { near, .. } => Some(format!("did you mean `{}`?", near.first()?)),
            Self::Quantized { .. } => Some("convert its original (unquantized) checkpoint".to_owned()),
            Self::Part { parts, .. } => Some(format!("add part = \"{}\" to the component", parts.first()?)),
            Self::NoHead { .. } => Some("convert a checkpoint that was saved with its head, such as `...ForCausalLM`".to_owned()),
            Self::UnknownName { name, known } => Some(format!("did you mean `{}`?", nearest(name, known.iter().copied(), 1).first()?)),
            Self::TensorType { .. } => {
                Some("integers in place of weights are those of a quantized checkpoint: convert its original (unquantized) one".to_owned())
            }
            Self::MissingTensor { packed: Some(packed), .. } => {
                Some(format!("`{packed}` is of a quantized checkpoint: convert its original (unquantized) one"))
            }
            Self::UnusedTensors { .. } => {
                Some("the checkpoint may be of another family: converting it without them would give wrong numbers".to_owned())
            }
            Self::Head { parts, .. } => {
                let parts: Vec<String> = parts.iter().map(|part| format!("part = \"{part}\"")).collect();
                Some(format!("add {} to the component to convert the head, too", parts.join(" or ")))
            }
            _ => None,
        }
    }
}
