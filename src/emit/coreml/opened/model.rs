//! What a package holds: a program, or a pipeline of models, each with what it takes and gives.

use bytes::Bytes;

use super::{MappedWeights, images};
use crate::{
    contract::{Feature, Interface},
    emit::coreml::{CoreMlError, ModelDescription, ModelMetadata, PartLabel, decode, describe_specification, parts},
    mil::{Function, Program, ValueType},
    passes::{IntegerTables, replace_constants},
};

/// How deep pipelines may be nested.
const MOST_LEVELS: usize = 8;
/// The name of a pipeline where a function is named.
pub(crate) const PIPELINE_FUNCTION: &str = "main";
/// How a model's type is called that has a program.
const ML_PROGRAM: &str = "mlProgram";

/// A model that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Inputs, outputs, states, functions. Images have the shapes of the program's tensors.
    pub interface: Interface,
    /// What it says besides; of a pipeline without notes on functions.
    pub metadata: ModelMetadata,
    /// What is run.
    pub body: ModelBody,
}

/// What is run.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelBody {
    /// A program.
    Program(Box<Program>),
    /// Models that run one behind the other; at least one.
    Pipeline(Vec<Part>),
}

/// A part of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its place and name.
    pub label: PartLabel,
    /// What it is.
    pub model: Model,
}

impl Model {
    /// Reads a specification whose weights are `weights`.
    pub(super) fn read(specification: Bytes, weights: &MappedWeights) -> Result<Self, CoreMlError> {
        Self::read_level(specification, weights, 0)
    }

    fn read_level(specification: Bytes, weights: &MappedWeights, level: usize) -> Result<Self, CoreMlError> {
        if level > MOST_LEVELS {
            return Err(CoreMlError::Nesting { limit: MOST_LEVELS });
        }
        let ModelDescription { mut interface, metadata, .. } = describe_specification(specification.clone())?;
        let Some(sources) = parts(specification.clone())? else {
            let (mut program, metadata) = decode(specification, weights)?;
            replace_constants(&IntegerTables::new(weights), &mut program);
            images::as_tensors(&mut interface, &program);
            return Ok(Self { interface, metadata, body: ModelBody::Program(Box::new(program)) });
        };
        let mut read = Vec::with_capacity(sources.len());
        for source in sources {
            let label = source.label;
            let within = |source| CoreMlError::Part { part: label.clone(), source: Box::new(source) };
            let found = describe_specification(source.specification.clone()).map_err(within)?.model_type;
            if found != ML_PROGRAM && parts(source.specification.clone()).map_err(within)?.is_none() {
                return Err(CoreMlError::PartType { part: label, found });
            }
            let model = Self::read_level(source.specification, weights, level + 1).map_err(within)?;
            read.push(Part { label, model });
        }
        images::as_parts(&mut interface, &read);
        check(&interface, &read)?;
        Ok(Self { interface, metadata, body: ModelBody::Pipeline(read) })
    }

    /// The programs, in the order in which they run, each with its place in the pipeline.
    pub fn programs(&self) -> Vec<(String, &Program)> {
        match &self.body {
            ModelBody::Program(program) => vec![(String::new(), program)],
            ModelBody::Pipeline(parts) => {
                let mut programs = Vec::new();
                for part in parts {
                    for (inner, program) in part.model.programs() {
                        let place =
                            if inner.is_empty() { part.label.to_string() } else { format!("{}, {inner}", part.label) };
                        programs.push((place, program));
                    }
                }
                programs
            }
        }
    }

    /// The functions that run when `name` is called (without a name: the one that runs by default), and its full name.
    /// A pipeline is a single function, `main`, of its parts' default functions. `None` where there is no such
    /// function.
    pub fn function(&self, name: Option<&str>) -> Option<(String, Vec<&Function>)> {
        match &self.body {
            ModelBody::Program(program) => {
                let (name, function) = match name {
                    None => program.main()?,
                    Some(name) => {
                        program.functions.get_key_value(name).map(|(name, function)| (name.as_str(), function))?
                    }
                };
                Some((name.to_owned(), vec![function]))
            }
            ModelBody::Pipeline(parts) => {
                let mut functions = Vec::new();
                for part in parts {
                    functions.extend(part.model.function(None)?.1);
                }
                name.is_none_or(|name| name == PIPELINE_FUNCTION).then(|| (PIPELINE_FUNCTION.to_owned(), functions))
            }
        }
    }

    /// The names of the functions that can be called.
    pub fn functions(&self) -> Vec<String> {
        match &self.body {
            ModelBody::Program(program) => program.functions.keys().cloned().collect(),
            ModelBody::Pipeline(_) => vec![PIPELINE_FUNCTION.to_owned()],
        }
    }

    /// The type of a function's output in the program that makes it, the last one that does.
    pub fn output(&self, function: Option<&str>, name: &str) -> Option<&ValueType> {
        match &self.body {
            ModelBody::Program(_) => {
                let function = self.function(function)?.1.pop()?;
                let mut values = function.block.outputs.iter().map(|&id| function.value(id));
                values.find(|value| value.name == name).map(|value| &value.ty)
            }
            ModelBody::Pipeline(parts) => parts.iter().rev().find_map(|part| part.model.output(None, name)),
        }
    }
}

/// Refuses a pipeline of which a part or the caller wants what nothing gives.
fn check(interface: &Interface, parts: &[Part]) -> Result<(), CoreMlError> {
    let mut known: Vec<&str> = interface.inputs.iter().map(|feature| feature.name.as_str()).collect();
    for part in parts {
        let is_missing = |feature: &&Feature| !feature.optional && !known.contains(&feature.name.as_str());
        if let Some(feature) = part.model.interface.inputs.iter().find(is_missing) {
            return Err(CoreMlError::PartInput { part: part.label.clone(), name: feature.name.clone() });
        }
        known.extend(part.model.interface.outputs.iter().map(|feature| feature.name.as_str()));
    }
    match interface.outputs.iter().find(|feature| !known.contains(&feature.name.as_str())) {
        Some(feature) => Err(CoreMlError::PipelineOutput { name: feature.name.clone() }),
        None => Ok(()),
    }
}
