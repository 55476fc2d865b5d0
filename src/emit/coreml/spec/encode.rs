//! Encodes a program and its metadata as a `Model` message.

use std::collections::BTreeMap;

use prost::Message;

use super::{
    FeatureNote, FeatureType, FunctionNotes, ModelMetadata, WeightLookup,
    features::{Side, check, derive, encode_feature},
    types::encode_type,
    values::ValueEncoder,
};
use crate::{
    base::Target,
    emit::coreml::{CoreMlError, Place, Problem},
    mil::{Binding, Block, Function, Operation, Program, Value, ValueId, ValueType},
    proto::{
        coreml::{self as model, model::Type},
        mil as proto,
    },
};

/// Maximum rank of a tensor that Core ML computes.
const MOST_DIMENSIONS: usize = 5;
/// Operators with literal arguments, besides `constexpr_*`.
const INLINE: [&str; 2] = ["classify", "reshape_like"];

/// The bytes of a package's specification.
///
/// The program must be verified: names, order and types are not checked here. A single function `main` is described at
/// the top level unless the program names a default function.
///
/// # Errors
/// For features that the target lacks (states, functions, float16 inputs, element types below 8 bits), constants with
/// neither a weight file nor values, more than 5 dimensions, symbolic dimensions, literal arguments where Core ML's own
/// writer has none, and notes that contradict the program.
pub fn encode(program: &Program, metadata: &ModelMetadata, weights: &dyn WeightLookup) -> Result<Vec<u8>, CoreMlError> {
    let specification = program.target.specification().ok_or(CoreMlError::NoOpset { target: program.target })?;
    let description = encode_description(program, metadata)?;
    let functions = program
        .functions
        .iter()
        .map(|(name, function)| Ok((name.clone(), encode_function(program, name, function, weights)?)));
    let functions = functions.collect::<Result<_, CoreMlError>>()?;
    let values = ValueEncoder { opset: program.target, weights };
    let attributes = encode_attributes(&Place::program(), values, &program.attributes)?;
    let body = proto::Program { version: 1, functions, doc_string: program.doc.clone(), attributes };
    let message = model::Model {
        specification_version: specification,
        description: Some(description),
        is_updatable: false,
        r#type: Some(Type::MlProgram(body.encode_to_vec().into())),
    };
    Ok(message.encode_to_vec())
}

fn encode_attributes(
    place: &Place,
    values: ValueEncoder<'_>,
    attributes: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, proto::Value>, CoreMlError> {
    let one = |(name, value): (&String, &Value)| {
        let message = values.encode(value).map_err(|problem| place.item(name).error(problem))?;
        Ok((name.clone(), message))
    };
    attributes.iter().map(one).collect()
}

fn encode_function(
    program: &Program,
    name: &str,
    function: &Function,
    weights: &dyn WeightLookup,
) -> Result<proto::Function, CoreMlError> {
    let place = Place::function(name);
    if function.opset > program.target {
        let what = format!("the opset of {}", function.opset);
        return Err(place.error(Problem::Since { what, since: function.opset, target: program.target }));
    }
    let opset = function.opset.opset().ok_or(CoreMlError::NoOpset { target: function.opset })?;
    let encoder = FunctionEncoder { function, place, values: ValueEncoder { opset: function.opset, weights } };
    let block = encoder.block(&function.block)?;
    Ok(proto::Function {
        inputs: encoder.named(&function.inputs, true)?,
        opset: opset.to_owned(),
        block_specializations: BTreeMap::from([(opset.to_owned(), block)]),
        attributes: encode_attributes(&encoder.place, encoder.values, &function.attributes)?,
    })
}

struct FunctionEncoder<'a> {
    function: &'a Function,
    place: Place,
    values: ValueEncoder<'a>,
}

impl FunctionEncoder<'_> {
    fn block(&self, block: &Block) -> Result<proto::Block, CoreMlError> {
        let operations = block.operations.iter().enumerate().map(|(index, operation)| self.operation(index, operation));
        Ok(proto::Block {
            inputs: self.named(&block.inputs, true)?,
            outputs: block.outputs.iter().map(|&id| self.function.value(id).name.clone()).collect(),
            operations: operations.collect::<Result<_, _>>()?,
            attributes: encode_attributes(&self.place, self.values, &block.attributes)?,
        })
    }

    fn operation(&self, index: usize, operation: &Operation) -> Result<proto::Operation, CoreMlError> {
        let place = self.place.operation(index, &operation.kind, &operation.name);
        let constexpr = operation.kind.starts_with("constexpr_");
        if constexpr && self.function.opset < Target::Ios18 && !operation.inputs.is_empty() {
            return Err(place.error(Problem::ConstexprInput));
        }
        let inline = constexpr || INLINE.contains(&operation.kind.as_str());
        let inputs = operation.inputs.iter().map(|(parameter, bindings)| {
            let bindings = bindings.iter().map(|binding| self.binding(binding, inline));
            let arguments =
                bindings.collect::<Result<_, _>>().map_err(|problem| place.item(parameter).error(problem))?;
            Ok((parameter.clone(), proto::Argument { arguments }))
        });
        let mut attributes = encode_attributes(&place, self.values, &operation.attributes)?;
        let name = self.values.encode(&Value::string(&operation.name)).map_err(|problem| place.error(problem))?;
        attributes.insert("name".to_owned(), name);
        // Tables of compressed weights may have more dimensions: only values that are computed at run time are limited.
        let limited = !constexpr && operation.kind != "const";
        Ok(proto::Operation {
            r#type: operation.kind.clone(),
            inputs: inputs.collect::<Result<_, CoreMlError>>()?,
            outputs: self.named(&operation.outputs, limited)?,
            blocks: operation.blocks.iter().map(|block| self.block(block)).collect::<Result<_, _>>()?,
            attributes,
        })
    }

    fn binding(&self, binding: &Binding, inline: bool) -> Result<proto::argument::Binding, Problem> {
        let binding = match binding {
            Binding::Value(id) => proto::argument::binding::Binding::Name(self.function.value(*id).name.clone()),
            Binding::Literal(value) if inline => proto::argument::binding::Binding::Value(self.values.encode(value)?),
            Binding::Literal(_) => return Err(Problem::Inline),
        };
        Ok(proto::argument::Binding { binding: Some(binding) })
    }

    fn named(&self, ids: &[ValueId], limited: bool) -> Result<Vec<proto::NamedValueType>, CoreMlError> {
        let one = |&id: &ValueId| {
            let value = self.function.value(id);
            if limited && value.ty.tensor().is_some_and(|tensor| tensor.rank() > MOST_DIMENSIONS) {
                let problem = Problem::Dimensions { name: value.name.clone(), ty: value.ty.to_string() };
                return Err(self.place.error(problem));
            }
            let ty = encode_type(&value.ty).map_err(|problem| self.place.item(&value.name).error(problem))?;
            Ok(proto::NamedValueType { name: value.name.clone(), r#type: Some(ty) })
        };
        ids.iter().map(one).collect()
    }
}

fn encode_description(program: &Program, metadata: &ModelMetadata) -> Result<model::ModelDescription, CoreMlError> {
    let mut description = model::ModelDescription { metadata: Some(encode_metadata(metadata)), ..Default::default() };
    check_notes(program, metadata)?;
    let none = FunctionNotes::default();
    let described = |name: &str, function| {
        let notes = metadata.functions.get(name).unwrap_or(&none);
        describe_function(program.target, name, function, notes)
    };
    if let (None, [(name, function)]) =
        (&program.default_function, program.functions.iter().collect::<Vec<_>>().as_slice())
        && *name == "main"
    {
        let plain = described(name, function)?;
        description.input = plain.input;
        description.output = plain.output;
        description.state = plain.state;
        description.predicted_feature_name = plain.predicted_feature_name;
        description.predicted_probabilities_name = plain.predicted_probabilities_name;
        return Ok(description);
    }
    let since = Target::Ios18;
    if program.target < since {
        return Err(Place::program().error(Problem::Since {
            what: "a model with functions".to_owned(),
            since,
            target: program.target,
        }));
    }
    let default = program.default_function.as_ref().filter(|name| program.functions.contains_key(*name));
    description.default_function_name =
        default.ok_or_else(|| Place::program().error(Problem::DefaultFunction))?.clone();
    description.functions =
        program.functions.iter().map(|(name, function)| described(name, function)).collect::<Result<_, _>>()?;
    Ok(description)
}

fn encode_metadata(metadata: &ModelMetadata) -> model::Metadata {
    model::Metadata {
        short_description: metadata.description.clone(),
        version_string: metadata.version.clone(),
        author: metadata.author.clone(),
        license: metadata.license.clone(),
        user_defined: metadata.user_defined.clone(),
    }
}

/// Refuses notes about unknown functions or features, such as misspelled names.
fn check_notes(program: &Program, metadata: &ModelMetadata) -> Result<(), CoreMlError> {
    for (name, notes) in &metadata.functions {
        let Some(function) = program.functions.get(name) else {
            return Err(Place::program().error(Problem::Undefined(name.clone())));
        };
        let known = |feature: &str| {
            function.inputs.iter().chain(&function.block.outputs).any(|&id| function.value(id).name == feature)
        };
        let features = notes.features.keys().chain([&notes.predicted_feature, &notes.predicted_probabilities]);
        if let Some(unknown) = features.into_iter().find(|feature| !feature.is_empty() && !known(feature)) {
            return Err(Place::function(name).error(Problem::Undefined(unknown.clone())));
        }
    }
    Ok(())
}

fn describe_function(
    target: Target,
    name: &str,
    function: &Function,
    notes: &FunctionNotes,
) -> Result<model::FunctionDescription, CoreMlError> {
    let place = Place::function(name);
    let plain = FeatureNote::default();
    let feature = |id: ValueId, side| {
        let value = function.value(id);
        let note = notes.features.get(&value.name).unwrap_or(&plain);
        let ty =
            feature_type(note, &value.ty, side, target).map_err(|problem| place.item(&value.name).error(problem))?;
        Ok(encode_feature(&value.name, note, &ty))
    };
    let is_state = |id: &ValueId| matches!(function.value(*id).ty, ValueType::State(_));
    let (states, inputs): (Vec<ValueId>, Vec<ValueId>) = function.inputs.iter().partition(|id| is_state(id));
    let all = |ids: &[ValueId], side| ids.iter().map(|&id| feature(id, side)).collect::<Result<Vec<_>, CoreMlError>>();
    Ok(model::FunctionDescription {
        name: name.to_owned(),
        input: all(&inputs, Side::Input)?,
        output: all(&function.block.outputs, Side::Output)?,
        state: all(&states, Side::Input)?,
        predicted_feature_name: notes.predicted_feature.clone(),
        predicted_probabilities_name: notes.predicted_probabilities.clone(),
    })
}

fn feature_type(note: &FeatureNote, ty: &ValueType, side: Side, target: Target) -> Result<FeatureType, Problem> {
    if matches!(ty, ValueType::State(_)) && target < Target::Ios18 {
        return Err(Problem::Since { what: "a state".to_owned(), since: Target::Ios18, target });
    }
    let feature = match &note.ty {
        Some(feature) => feature.clone(),
        None => derive(ty, side)?,
    };
    check(&feature, ty, target)?;
    Ok(feature)
}
