//! Groups a network's stages into functions and programs, for every family alike.

use std::collections::BTreeMap;

use super::{ArchError, Flow, Form, Network};
use crate::mil::{Builder, Function, Program, Registry, TensorType, Var};

/// The program of `network` in `form`, with one function `main`.
///
/// Floating point inputs and outputs have the form's `io` dtype; inside, everything has the network's compute dtype.
///
/// # Errors
/// When the network cannot take the form.
pub fn program(network: &Network, form: &Form, registry: Registry) -> Result<Program, ArchError> {
    let function = function(network, form, registry)?;
    Ok(Program {
        target: form.target,
        functions: BTreeMap::from([("main".to_owned(), function)]),
        default_function: None,
        attributes: BTreeMap::new(),
        doc: String::new(),
    })
}

fn function(network: &Network, form: &Form, registry: Registry) -> Result<Function, ArchError> {
    let mut builder = Builder::new(registry, form.target);
    let mut flow = Flow::default();
    for feature in (network.inputs)(form)? {
        let dtype = if feature.dtype.is_float() { form.io } else { feature.dtype };
        let input = builder.input(&feature.name, TensorType::new(dtype, &feature.shape));
        let inside =
            if dtype.is_float() { cast(&mut builder, input, network.compute, &format!("{}_inside", feature.name))? } else { input };
        flow.put(&feature.name, inside);
    }
    for stage in &network.stages {
        builder.scope(stage.name(), |builder| stage.build(builder, &mut flow, form))?;
    }
    let mut results: Vec<(String, Var)> = Vec::new();
    for feature in (network.outputs)(form)? {
        let value = flow.get(&feature.name);
        let outside = if feature.dtype.is_float() { cast(&mut builder, value, form.io, &feature.name)? } else { value };
        debug_assert_eq!(builder.shape(outside), feature.shape, "the network declares the shape that its stages give");
        results.push((feature.name, outside));
    }
    let named: Vec<(&str, Var)> = results.iter().map(|(name, var)| (name.as_str(), *var)).collect();
    Ok(builder.finish(&named)?)
}

fn cast(builder: &mut Builder, value: Var, dtype: crate::mil::DataType, name: &str) -> Result<Var, ArchError> {
    if builder.ty(value).dtype == dtype {
        return Ok(value);
    }
    Ok(builder.op1("cast", name, &[("x", value.into()), ("dtype", dtype.name().into())])?)
}
