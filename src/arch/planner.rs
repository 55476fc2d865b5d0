//! Groups a network's stages into functions and programs, for every family alike.

use std::collections::BTreeMap;

use super::{ArchError, Flow, Form, Interface, Network};
use crate::{
    contract::features::MAIN_FUNCTION,
    mil::{Builder, DataType, Function, OperatorSet, Program, TensorType, Var},
};

/// A function of a program: what goes in and out, and the form that it has.
#[derive(Debug, Clone)]
pub struct FunctionPlan {
    /// Inputs, outputs, states, stages, and its name in the program.
    pub interface: Interface,
    /// What it looks like.
    pub form: Form,
}

/// The functions of a program that has `network` in every form; the first one runs by default. A network's function
/// `main` gets the form's name, any other one stands behind it: `s1_c64`, `s1_c64_cross`; the form's name `main` alone
/// changes nothing.
///
/// # Errors
/// When the network cannot take a form.
pub fn functions(network: &Network, forms: &[(String, Form)]) -> Result<Vec<FunctionPlan>, ArchError> {
    let mut functions = Vec::new();
    for (name, form) in forms {
        for mut interface in (network.interfaces)(form)? {
            interface.name = match (name.as_str(), interface.name.as_str()) {
                (MAIN_FUNCTION, _) => interface.name,
                (_, MAIN_FUNCTION) => name.clone(),
                (name, own) => format!("{name}_{own}"),
            };
            functions.push(FunctionPlan { interface, form: *form });
        }
    }
    Ok(functions)
}

/// The program of these functions, for the target whose contracts `operators` follow.
///
/// Floating point inputs and outputs have the form's `io` dtype; inside, everything has the network's compute dtype.
///
/// # Errors
/// When the network cannot take a form.
pub fn program(network: &Network, operators: OperatorSet, functions: &[FunctionPlan]) -> Result<Program, ArchError> {
    let names: Vec<&str> = functions.iter().map(|function| function.interface.name.as_str()).collect();
    let default_function = names.first().filter(|_| names != [MAIN_FUNCTION]).map(|first| (*first).to_owned());
    let built = functions
        .iter()
        .map(|FunctionPlan { interface, form }| Ok((interface.name.clone(), function(network, interface, form)?)));
    Ok(Program {
        target: operators.contracts(),
        functions: built.collect::<Result<_, ArchError>>()?,
        default_function,
        attributes: BTreeMap::new(),
        doc: String::new(),
    })
}

fn function(network: &Network, interface: &Interface, form: &Form) -> Result<Function, ArchError> {
    let mut builder = Builder::new(form.operators.registry(), form.operators.contracts());
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
