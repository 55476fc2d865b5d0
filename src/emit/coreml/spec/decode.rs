//! Decodes a `Model` message, which may come from strangers, to a program and its metadata.
//!
//! The protobuf decoder limits nesting to 100 levels, [`MOST_BYTES`] limits memory; constants are limited by the
//! message or the weight file.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;

use super::{
    FeatureNote, FunctionNotes, ModelMetadata, WeightRecords,
    features::{Side, decode_feature, derive},
    types::decode_type,
    values::decode_value,
};
use crate::{
    base::Target,
    emit::coreml::{CoreMlError, Place, Problem, describe, is_lfs_pointer},
    mil::{Binding, Block, Function, Operation, Program, Scope, Value, ValueId, ValueInfo, ValueType},
    proto::{
        coreml::{self as model, model::Type},
        mil::{self as proto, argument::binding},
    },
};

/// Maximum length of a program in bytes, without weight files. Programs of language models have a few megabytes; a
/// decoded program takes up to a hundred times its length in memory.
const MOST_BYTES: usize = 64 << 20;

/// Decodes a specification; constants in weight files are compared with their records.
///
/// # Errors
/// For models that are no ML Programs, and for contradictions in the program or with its weight files; messages name
/// function and operation.
pub fn decode(bytes: Bytes, weights: &dyn WeightRecords) -> Result<(Program, ModelMetadata), CoreMlError> {
    if is_lfs_pointer(&bytes) {
        return Err(CoreMlError::LfsPointer { what: "the specification" });
    }
    let message =
        model::Model::decode(bytes).map_err(|source| CoreMlError::Protobuf { what: "the specification", source })?;
    let version = message.specification_version;
    let target = Target::of_specification(version).ok_or(CoreMlError::SpecificationVersion { version })?;
    let body = match message.r#type {
        Some(Type::MlProgram(body)) => body,
        other => return Err(CoreMlError::ModelType { found: describe::model_type(other.as_ref()) }),
    };
    let program = decode_program(body, target, weights)?;
    let description = message.description.unwrap_or_default();
    finish(program, description)
}

fn decode_program(body: Bytes, target: Target, weights: &dyn WeightRecords) -> Result<Program, CoreMlError> {
    if body.len() > MOST_BYTES {
        return Err(CoreMlError::Oversized { length: body.len(), limit: MOST_BYTES });
    }
    let message =
        proto::Program::decode(body).map_err(|source| CoreMlError::Protobuf { what: "the ML Program", source })?;
    let place = Place::program();
    if message.version != 1 {
        let problem = Problem::Kind { expected: "program version 1".to_owned(), found: message.version.to_string() };
        return Err(place.error(problem));
    }
    let functions = message.functions.into_iter().map(|(name, function)| {
        let function = decode_function(&name, function, weights)?;
        Ok((name, function))
    });
    Ok(Program {
        target,
        functions: functions.collect::<Result<_, CoreMlError>>()?,
        default_function: None,
        attributes: decode_attributes(&place, message.attributes, weights)?,
        doc: message.doc_string,
    })
}

fn decode_attributes(
    place: &Place,
    attributes: BTreeMap<String, proto::Value>,
    weights: &dyn WeightRecords,
) -> Result<BTreeMap<String, Value>, CoreMlError> {
    let one = |(name, message): (String, proto::Value)| {
        let value = decode_value(&message, weights).map_err(|problem| place.item(&name).error(problem))?;
        Ok((name, value))
    };
    attributes.into_iter().map(one).collect()
}

fn decode_function(
    name: &str,
    mut message: proto::Function,
    weights: &dyn WeightRecords,
) -> Result<Function, CoreMlError> {
    let place = Place::function(name);
    let error = |problem| place.error(problem);
    let opset = Target::all().find(|target| target.opset() == Some(message.opset.as_str()));
    let opset = opset.ok_or_else(|| error(Problem::Opset(message.opset.clone())))?;
    let block = message
        .block_specializations
        .remove(&message.opset)
        .ok_or_else(|| error(Problem::NoBlock(message.opset.clone())))?;
    if let Some(other) = message.block_specializations.keys().next() {
        let expected = format!("the block for `{}` alone", message.opset);
        return Err(error(Problem::Kind { expected, found: format!("another for `{other}`") }));
    }
    let mut decoder = FunctionDecoder { place: place.clone(), weights, values: Vec::new(), scope: HashMap::new() };
    let inputs = decoder.define_all(&place, &message.inputs)?;
    let block = decoder.block(&place, block)?;
    let attributes = decode_attributes(&place, message.attributes, weights)?;
    Ok(Function { opset, values: decoder.values, inputs, block, attributes })
}

struct FunctionDecoder<'a> {
    place: Place,
    weights: &'a dyn WeightRecords,
    values: Vec<ValueInfo>,
    scope: HashMap<String, ValueId>,
}

impl FunctionDecoder<'_> {
    fn define_all(&mut self, place: &Place, values: &[proto::NamedValueType]) -> Result<Vec<ValueId>, CoreMlError> {
        values
            .iter()
            .map(|value| self.define(value).map_err(|problem| place.item(&value.name).error(problem)))
            .collect()
    }

    fn define(&mut self, message: &proto::NamedValueType) -> Result<ValueId, Problem> {
        let ty = decode_type(message.r#type.as_ref())?;
        let count = u32::try_from(self.values.len());
        let id =
            ValueId(count.map_err(|_| Problem::Kind {
                expected: "fewer than 2^32 values".to_owned(),
                found: "more".to_owned(),
            })?);
        if self.scope.insert(message.name.clone(), id).is_some() {
            return Err(Problem::Repeated(message.name.clone()));
        }
        self.values.push(ValueInfo { name: message.name.clone(), ty });
        Ok(id)
    }

    fn resolve(&self, name: &str) -> Result<ValueId, Problem> {
        self.scope.get(name).copied().ok_or_else(|| Problem::Undefined(name.to_owned()))
    }

    /// Decodes a block; its values are not visible after it.
    fn block(&mut self, place: &Place, message: proto::Block) -> Result<Block, CoreMlError> {
        let first = self.values.len();
        let inputs = self.define_all(place, &message.inputs)?;
        let mut operations = Vec::with_capacity(message.operations.len());
        for (index, operation) in message.operations.into_iter().enumerate() {
            operations.push(self.operation(index, operation)?);
        }
        let outputs = message.outputs.iter().map(|name| self.resolve(name).map_err(|problem| place.error(problem)));
        let outputs = outputs.collect::<Result<_, _>>()?;
        let attributes = decode_attributes(place, message.attributes, self.weights)?;
        for value in &self.values[first..] {
            self.scope.remove(&value.name);
        }
        Ok(Block { inputs, operations, outputs, attributes })
    }

    fn operation(&mut self, index: usize, mut message: proto::Operation) -> Result<Operation, CoreMlError> {
        let kind = message.r#type;
        let first_output = message.outputs.first().map(|output| output.name.clone());
        // Programs without operation names exist; their results have names.
        let fallback = first_output.unwrap_or_else(|| format!("{kind}_{index}"));
        let place = self.place.operation(index, &kind, &fallback);
        let name = match message.attributes.remove("name") {
            Some(value) => decode_name(&value).map_err(|problem| place.item("name").error(problem))?,
            None => fallback,
        };
        let place = self.place.operation(index, &kind, &name);
        let mut inputs = BTreeMap::new();
        for (parameter, argument) in message.inputs {
            let bindings = argument.arguments.iter().map(|message| self.binding(message)).collect::<Result<_, _>>();
            let bindings = bindings.map_err(|problem| place.item(&parameter).error(problem))?;
            inputs.insert(parameter, bindings);
        }
        let mut blocks = Vec::with_capacity(message.blocks.len());
        for block in message.blocks {
            blocks.push(self.block(&place, block)?);
        }
        let attributes = decode_attributes(&place, message.attributes, self.weights)?;
        let outputs = self.define_all(&place, &message.outputs)?;
        Ok(Operation { kind, name, inputs, outputs, blocks, attributes, scope: Scope::default() })
    }

    fn binding(&self, message: &proto::argument::Binding) -> Result<Binding, Problem> {
        match message.binding.as_ref().ok_or(Problem::Missing("a binding"))? {
            binding::Binding::Name(name) => self.resolve(name).map(Binding::Value),
            binding::Binding::Value(value) => decode_value(value, self.weights).map(Binding::Literal),
        }
    }
}

fn decode_name(message: &proto::Value) -> Result<String, Problem> {
    let value = decode_value(message, &super::Unchecked)?;
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| Problem::Kind { expected: "a string".to_owned(), found: value.value_type().to_string() })
}

/// Adds what only the description has.
fn finish(mut program: Program, description: model::ModelDescription) -> Result<(Program, ModelMetadata), CoreMlError> {
    let mut metadata = describe::metadata(description.metadata.unwrap_or_default());
    if description.functions.is_empty() {
        let plain = model::FunctionDescription {
            name: program.main().map_or_else(String::new, |(name, _)| name.to_owned()),
            input: description.input,
            output: description.output,
            state: description.state,
            predicted_feature_name: description.predicted_feature_name,
            predicted_probabilities_name: description.predicted_probabilities_name,
        };
        add_notes(&program, plain, &mut metadata)?;
        return Ok((program, metadata));
    }
    for function in description.functions {
        add_notes(&program, function, &mut metadata)?;
    }
    program.default_function = Some(description.default_function_name);
    match program.main() {
        Some((name, _)) if program.default_function.as_deref() == Some(name) => Ok((program, metadata)),
        _ => Err(Place::program().error(Problem::DefaultFunction)),
    }
}

fn add_notes(
    program: &Program,
    message: model::FunctionDescription,
    metadata: &mut ModelMetadata,
) -> Result<(), CoreMlError> {
    let place = Place::program().item(&message.name);
    let function =
        program.functions.get(&message.name).ok_or_else(|| place.error(Problem::Undefined(message.name.clone())))?;
    let place = Place::function(&message.name);
    let mut notes = FunctionNotes {
        predicted_feature: message.predicted_feature_name,
        predicted_probabilities: message.predicted_probabilities_name,
        ..Default::default()
    };
    let inputs = message.input.iter().chain(&message.state).map(|feature| (feature, &function.inputs, Side::Input));
    let outputs = message.output.iter().map(|feature| (feature, &function.block.outputs, Side::Output));
    for (feature, ids, side) in inputs.chain(outputs) {
        let value = ids.iter().map(|&id| function.value(id)).find(|value| value.name == feature.name);
        let value = value.ok_or_else(|| place.error(Problem::Undefined(feature.name.clone())))?;
        let note = decode_note(feature, &value.ty, side).map_err(|problem| place.item(&feature.name).error(problem))?;
        if note != FeatureNote::default() {
            notes.features.insert(feature.name.clone(), note);
        }
    }
    if notes != FunctionNotes::default() {
        metadata.functions.insert(message.name, notes);
    }
    Ok(())
}

fn decode_note(message: &model::FeatureDescription, ty: &ValueType, side: Side) -> Result<FeatureNote, Problem> {
    let described = decode_feature(message)?;
    let follows = derive(ty, side).is_ok_and(|derived| derived == described);
    Ok(FeatureNote {
        description: message.short_description.clone(),
        optional: message.r#type.as_ref().is_some_and(|ty| ty.is_optional),
        ty: (!follows).then_some(described),
    })
}
