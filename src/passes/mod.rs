//! Passes over programs: how constants are stored, and which operators stand for a pattern of others.
//!
//! A [`Pass`] replaces a constant by another one or by an operator that makes it, or rewrites a function by a
//! [`Patch`]. [`Passes`] are an ordered list. The weight plan asks them which constants there are ([`Passes::stored`])
//! and the program is changed by them ([`Passes::run`]), so that both always agree. A new pass is a file with an
//! implementation of [`Pass`], and a word where the list is made.

mod integer_tables;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub use integer_tables::IntegerTables;

use crate::{
    base::Target,
    mil::{
        Argument, Binding, Block, BuildError, Constant, Operation, Patch, Program, Registry, Value, VerifyError, verify,
    },
};

/// A change to constants or programs.
pub trait Pass: fmt::Debug + Send + Sync {
    /// Its name, for messages: `integer-tables`.
    fn name(&self) -> &'static str;

    /// What takes the place of a constant in programs for `target`; `None` where it stays. The same constant always
    /// gets the same replacement.
    fn replacement(&self, _constant: &Constant, _target: Target) -> Option<Replacement> {
        None
    }

    /// Adds changes to the operations of a function.
    ///
    /// # Errors
    /// When a new operation cannot be built.
    fn rewrite(&self, _patch: &mut Patch<'_>) -> Result<(), BuildError> {
        Ok(())
    }
}

/// What takes the place of a constant.
#[derive(Debug, Clone)]
pub enum Replacement {
    /// Another constant of the same type.
    Constant(Constant),
    /// An operator that makes a tensor of the same type from other constants before the program runs, such as
    /// `constexpr_lut_to_dense`.
    Operator {
        /// The operator.
        kind: &'static str,
        /// Its arguments by parameter.
        arguments: Vec<(&'static str, Constant)>,
    },
}

/// Why a pass cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// An operation that cannot be built.
    #[error("pass `{pass}` cannot change function `{function}`")]
    Build {
        /// The pass.
        pass: &'static str,
        /// The function.
        function: String,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// A program that is not sound after the pass.
    #[error("pass `{pass}` gives an unsound program")]
    Unsound {
        /// The pass.
        pass: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<VerifyError>,
    },
}

/// Passes in the order in which they are applied.
#[derive(Debug, Clone, Default)]
pub struct Passes(Vec<Arc<dyn Pass>>);

impl Passes {
    /// These passes, in this order.
    pub fn new(passes: Vec<Arc<dyn Pass>>) -> Self {
        Self(passes)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The constants that programs for `target` have in the place of these, in order.
    pub fn stored(&self, constants: &[Constant], target: Target) -> Vec<Constant> {
        self.0.iter().fold(constants.to_vec(), |constants, pass| {
            constants.into_iter().flat_map(|constant| stored(pass.as_ref(), constant, target)).collect()
        })
    }

    /// Applies every pass, and verifies the program after each.
    ///
    /// # Errors
    /// When an operation cannot be built, or the program is not sound after a pass.
    pub fn run(&self, mut program: Program, registry: Registry) -> Result<Program, PassError> {
        for pass in &self.0 {
            apply(pass.as_ref(), &mut program, registry)?;
            verify(&program, registry)
                .map_err(|source| PassError::Unsound { pass: pass.name(), source: Box::new(source) })?;
        }
        Ok(program)
    }
}

fn stored(pass: &dyn Pass, constant: Constant, target: Target) -> Vec<Constant> {
    match pass.replacement(&constant, target) {
        None => vec![constant],
        Some(Replacement::Constant(other)) => vec![other],
        Some(Replacement::Operator { arguments, .. }) => arguments.into_iter().map(|(_, constant)| constant).collect(),
    }
}

/// Puts other constants in the place of constants, wherever they stand. Nothing is verified: programs that were made
/// elsewhere need not be sound.
pub fn replace_constants(pass: &dyn Pass, program: &mut Program) {
    let target = program.target;
    for function in program.functions.values_mut() {
        replace_in_block(pass, &mut function.block, target);
    }
}

fn apply(pass: &dyn Pass, program: &mut Program, registry: Registry) -> Result<(), PassError> {
    let target = program.target;
    replace_constants(pass, program);
    for (name, function) in &mut program.functions {
        let mut patch = Patch::new(function, registry);
        let built = insert_operators(pass, &mut patch, target).and_then(|()| pass.rewrite(&mut patch));
        built.map_err(|source| PassError::Build { pass: pass.name(), function: name.clone(), source })?;
        if !patch.is_empty() {
            *function = patch.apply();
        }
    }
    Ok(())
}

fn replace_in_block(pass: &dyn Pass, block: &mut Block, target: Target) {
    for operation in &mut block.operations {
        for value in constants(operation) {
            let Some(constant) = value.tensor() else { continue };
            if let Some(Replacement::Constant(other)) = pass.replacement(constant, target) {
                *value = Value::Tensor(other);
            }
        }
        operation.blocks.iter_mut().for_each(|block| replace_in_block(pass, block, target));
    }
}

/// Every constant of an operation: what a `const` gives, and arguments in place.
fn constants(operation: &mut Operation) -> impl Iterator<Item = &mut Value> {
    let given = if operation.kind == "const" { operation.attributes.get_mut("val") } else { None };
    let arguments = operation.inputs.values_mut().flatten().filter_map(|binding| match binding {
        Binding::Literal(value) => Some(value),
        Binding::Value(_) => None,
    });
    given.into_iter().chain(arguments)
}

/// Puts operators in the place of `const` operations of the function's block.
fn insert_operators(pass: &dyn Pass, patch: &mut Patch<'_>, target: Target) -> Result<(), BuildError> {
    for (index, operation) in patch.function().block.operations.iter().enumerate() {
        let Some(constant) = operation.constant().and_then(Value::tensor) else { continue };
        let Some(Replacement::Operator { kind, arguments }) = pass.replacement(constant, target) else { continue };
        let arguments: Vec<(&str, Argument)> =
            arguments.iter().map(|(name, constant)| (*name, constant.into())).collect();
        let made = patch.insert(index, |builder| builder.op1(kind, &operation.name, &arguments))?;
        patch.replace(operation.outputs[0], made);
    }
    Ok(())
}
