//! Integer vectors that a weight file holds are put into the program, as if they stood in place.
//!
//! From iOS18 on coremltools writes constants of ten elements and more into the weight file, whatever they mean: the pad of a tensor of rank 5 or
//! the lengths of ten pieces too. Such numbers decide types, so they have to be known before anything runs. Weights stay where they are.

use crate::{
    eval::{
        ConstantSource, constant,
        value::{MOST_NUMBERS, readable},
    },
    mil::{Binding, Block, DataType, Operation, Program, Value},
};

/// Replaces every short vector of 32-bit integers that is no literal by its values. One that cannot be read stays: running says why.
pub fn put_tables_in_place(program: &mut Program, weights: &dyn ConstantSource) {
    for function in program.functions.values_mut() {
        in_block(&mut function.block, weights);
    }
}

fn in_block(block: &mut Block, weights: &dyn ConstantSource) {
    for operation in &mut block.operations {
        for value in constants(operation) {
            replace(value, weights);
        }
        for inner in &mut operation.blocks {
            in_block(inner, weights);
        }
    }
}

/// Every constant of an operation: what a `const` gives, and arguments.
fn constants(operation: &mut Operation) -> impl Iterator<Item = &mut Value> {
    let given = if operation.kind == "const" { operation.attributes.get_mut("val") } else { None };
    let arguments = operation.inputs.values_mut().flatten().filter_map(|binding| match binding {
        Binding::Literal(value) => Some(value),
        Binding::Value(_) => None,
    });
    given.into_iter().chain(arguments)
}

fn replace(value: &mut Value, weights: &dyn ConstantSource) {
    let Some(recipe) = value.tensor().filter(|recipe| recipe.as_literal().is_none()) else { return };
    let short = recipe.shape().len() <= 1 && recipe.elements().is_some_and(|count| count <= MOST_NUMBERS as u64);
    if recipe.dtype() == DataType::Int32
        && short
        && let Ok(tensor) = constant::tensor("", recipe, weights)
    {
        *value = readable(value, Some(&tensor));
    }
}
