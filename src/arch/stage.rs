//! The pieces that a network is made of, and the form that a program is asked for.

use std::{collections::BTreeMap, fmt, ops::Range};

use super::ArchError;
use crate::{
    contract::{AttentionForm, CacheForm, ImageLayout, LinearForm, LogitsForm, Notes, features},
    mil::{Builder, Constant, DataType, OperatorSet, Var},
};

/// Lengths of a text program, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextShape {
    /// Tokens of one call; of a decoder its own.
    pub sequence: u64,
    /// Tokens of the encoder side.
    pub encoder_sequence: u64,
    /// Slots of the cache; 0 where there is none.
    pub context: u64,
}

/// The fixed shape of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text(TextShape),
    /// A picture, in pixels.
    Image {
        /// Width.
        width: u64,
        /// Height.
        height: u64,
    },
}

/// The form of a program. No field changes a constant.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The operators that the program may hold.
    pub operators: OperatorSet,
    /// Fixed shape.
    pub shape: Shape,
    /// Order of picture dimensions at inputs and outputs.
    pub layout: ImageLayout,
    /// Element type of floating point inputs and outputs.
    pub io: DataType,
    /// Matrix products of text models.
    pub linear: LinearForm,
    /// Place of the cache.
    pub cache: CacheForm,
    /// Rows of logits.
    pub logits: LogitsForm,
    /// Form of attention.
    pub attention: AttentionForm,
}

impl Form {
    /// The lengths of a text program.
    ///
    /// # Errors
    /// When the form is that of a picture.
    pub fn text(&self) -> Result<TextShape, ArchError> {
        match self.shape {
            Shape::Text(text) => Ok(text),
            Shape::Image { width, height } => {
                let why = "this architecture reads text: its axis is `sequence`".to_owned();
                Err(ArchError::Form { axis: "size", found: format!("{width}x{height}"), why })
            }
        }
    }
}

/// An input, output or state of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its name in the program.
    pub name: String,
    /// What it holds, for people.
    pub description: String,
    /// Element type; float types stand for the form's `io`.
    pub dtype: DataType,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// The values that stages hand on, by name.
#[derive(Debug, Default)]
pub struct Flow(BTreeMap<String, Var>);

impl Feature {
    /// A feature of integers.
    pub fn int32(name: &str, description: &str, shape: &[u64]) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            dtype: DataType::Int32,
            shape: shape.to_vec(),
        }
    }

    /// A feature of floating point numbers.
    pub fn float(name: &str, description: &str, shape: &[u64]) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            dtype: DataType::Float32,
            shape: shape.to_vec(),
        }
    }
}

impl Flow {
    /// Whether an earlier stage made the value.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Adds or replaces a value.
    pub fn put(&mut self, name: &str, var: Var) {
        self.0.insert(name.to_owned(), var);
    }

    /// The value of that name.
    ///
    /// # Panics
    /// When no earlier stage made it: the planner runs stages in the order in which the architecture gave them.
    pub fn get(&self, name: &str) -> Var {
        *self.0.get(name).unwrap_or_else(|| panic!("no stage made `{name}`"))
    }
}

/// A piece of a network: it holds its constants and knows how to build itself into a function.
pub trait Stage: fmt::Debug + Send + Sync {
    /// Its name, which prefixes what it builds, e.g. `decoder.layers.3`.
    fn name(&self) -> &str;

    /// Its constants, in the order in which they lie in the weight file. The same for every form.
    fn constants(&self) -> Vec<Constant>;

    /// Builds it: takes values from `flow` and puts its results there.
    ///
    /// # Errors
    /// When the form does not fit.
    fn build(&self, builder: &mut Builder, flow: &mut Flow, form: &Form) -> Result<(), ArchError>;
}

/// A function of a network: what goes in and out, and which stages lie between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name; `main` for the one that runs by default.
    pub name: String,
    /// Its inputs.
    pub inputs: Vec<Feature>,
    /// Its states, which are float16 whatever the feature says: Core ML has no other.
    pub states: Vec<Feature>,
    /// Its outputs.
    pub outputs: Vec<Feature>,
    /// Its stages, by index, first to last.
    pub stages: Range<usize>,
}

impl Interface {
    /// The function `main` over the first `stages` stages, without states.
    pub fn main(inputs: Vec<Feature>, outputs: Vec<Feature>, stages: usize) -> Self {
        Self { name: features::MAIN_FUNCTION.to_owned(), inputs, states: Vec::new(), outputs, stages: 0..stages }
    }

    /// Every feature.
    pub fn features(&self) -> impl Iterator<Item = &Feature> {
        self.inputs.iter().chain(&self.states).chain(&self.outputs)
    }
}

/// Says which functions a network has in a form; the first one runs by default.
pub type Interfaces = Box<dyn Fn(&Form) -> Result<Vec<Interface>, ArchError> + Send + Sync>;

/// A network: stages in order, and the functions that they make.
pub struct Network {
    /// One sentence about it, which Xcode shows.
    pub description: String,
    /// Its functions.
    pub interfaces: Interfaces,
    /// Its stages.
    pub stages: Vec<Box<dyn Stage>>,
    /// Element type of weights and arithmetic.
    pub compute: DataType,
    /// What a program cannot say, for the bundle's metadata.
    pub notes: Notes,
}

impl Network {
    /// Every constant, in the order in which they lie in the weight file.
    pub fn constants(&self) -> Vec<Constant> {
        self.stages.iter().flat_map(|stage| stage.constants()).collect()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("description", &self.description)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}
