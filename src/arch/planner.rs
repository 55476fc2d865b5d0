//! Groups a network's stages into functions and programs, for every family alike.

use std::collections::BTreeMap;

use super::{ArchError, Flow, Form, Interface, Network};
use crate::mil::{Builder, DataType, Function, Program, Registry, TensorType, Var};

/// The program of `network` in `form`.
///
/// Floating point inputs and outputs have the form's `io` dtype; inside, everything has the network's compute dtype.
///
/// # Errors
/// When the network cannot take the form.
pub fn program(network: &Network, form: &Form, registry: Registry) -> Result<Program, ArchError> {
    let interfaces = (network.interfaces)(form)?;
    let default_function = interfaces.first().filter(|_| interfaces.len() > 1).map(|first| first.name.clone());
    let functions = interfaces.into_iter().map(|interface| Ok((interface.name.clone(), function(network, &interface, form, registry)?)));
    Ok(Program {
        target: form.target,
        functions: functions.collect::<Result<_, ArchError>>()?,
        default_function,
        attributes: BTreeMap::new(),
        doc: String::new(),
    })
}

fn function(network: &Network, interface: &Interface, form: &Form, registry: Registry) -> Result<Function, ArchError> {
    let mut builder = Builder::new(registry, form.target);
    let mut flow = Flow::default();
    for feature in &interface.inputs {
        let dtype = if feature.dtype.is_float() { form.io } else { feature.dtype };
        let input = builder.input(&feature.name, TensorType::new(dtype, &feature.shape));
        let inside = match dtype.is_float() {
            true => builder.cast(&format!("{}_inside", feature.name), input, network.compute)?,
            false => input,
        };
        flow.put(&feature.name, inside);
    }
    for state in &interface.states {
        let var = builder.state(&state.name, TensorType::new(DataType::Float16, &state.shape));
        flow.put(&state.name, var);
    }
    for stage in &network.stages[interface.stages.clone()] {
        builder.scope(stage.name(), |builder| stage.build(builder, &mut flow, form))?;
    }
    let mut results: Vec<(&str, Var)> = Vec::new();
    for feature in &interface.outputs {
        let value = flow.get(&feature.name);
        let outside = if feature.dtype.is_float() { builder.cast(&feature.name, value, form.io)? } else { value };
        debug_assert_eq!(builder.shape(outside), feature.shape, "the network declares the shape that its stages give");
        results.push((&feature.name, outside));
    }
    Ok(builder.finish(&results)?)
}
