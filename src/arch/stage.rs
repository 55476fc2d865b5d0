//! The pieces that a network is made of, and the form that a program is asked for.

use std::{collections::BTreeMap, fmt};

use super::ArchError;
use crate::{
    base::Target,
    mil::{Builder, Constant, DataType, Var},
};

/// Order of a picture's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageLayout {
    /// [1, channels, height, width]
    Nchw,
    /// [1, height, width, channels]
    Nhwc,
}

/// The fixed shape of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A picture, in pixels.
    Image {
        /// Width.
        width: u64,
        /// Height.
        height: u64,
    },
}

/// What a program is asked to look like. None of it changes a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Deployment target.
    pub target: Target,
    /// Fixed shape.
    pub shape: Shape,
    /// Order of picture dimensions at inputs and outputs.
    pub layout: ImageLayout,
    /// Element type of floating point inputs and outputs.
    pub io: DataType,
}

/// An input or output of a network.
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

impl Flow {
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

/// Says which inputs and outputs a network has in a form.
pub type Features = Box<dyn Fn(&Form) -> Result<Vec<Feature>, ArchError> + Send + Sync>;

/// A network: stages in order, and what goes in and out.
pub struct Network {
    /// One sentence about it, which Xcode shows.
    pub description: String,
    /// Its inputs.
    pub inputs: Features,
    /// Its outputs.
    pub outputs: Features,
    /// Its stages, first to last.
    pub stages: Vec<Box<dyn Stage>>,
    /// Element type of weights and arithmetic.
    pub compute: DataType,
}

impl Network {
    /// Every constant, in the order in which they lie in the weight file.
    pub fn constants(&self) -> Vec<Constant> {
        self.stages.iter().flat_map(|stage| stage.constants()).collect()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("description", &self.description).field("stages", &self.stages).finish_non_exhaustive()
    }
}
