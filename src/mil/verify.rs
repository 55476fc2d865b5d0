//! Checks a program that comes from elsewhere, or once more what was built: names, order, operators, types, ranks.

use std::collections::HashSet;

use super::{Binding, Block, DataType, Function, InferError, Known, Operation, Program, Registry, ValueId, ValueType};
use crate::base::Target;

/// What is wrong with a program, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A name that is no identifier or is reserved.
    #[error("{function}: `{name}` is not a legal name")]
    Name {
        /// The function.
        function: String,
        /// The name.
        name: String,
    },
    /// A name that is defined twice.
    #[error("{function}: `{name}` is defined twice")]
    Repeated {
        /// The function.
        function: String,
        /// The name.
        name: String,
    },
    /// A value that is used before it is defined, or never is.
    #[error("{function}: {place} uses `{name}`, which is not defined before it")]
    Undefined {
        /// The function.
        function: String,
        /// The operation or result.
        place: String,
        /// The value.
        name: String,
    },
    /// An operator that nobody declared.
    #[error("{function}: operation #{index} `{name}`: `{op}` is not an operator that mlreg knows")]
    UnknownOp {
        /// The function.
        function: String,
        /// Its place in the block.
        index: usize,
        /// The operation.
        name: String,
        /// The operator.
        op: String,
    },
    /// Arguments that do not fit.
    #[error("{function}: operation #{index} `{name}` ({op})")]
    Arguments {
        /// The function.
        function: String,
        /// Its place in the block.
        index: usize,
        /// The operation.
        name: String,
        /// The operator.
        op: String,
        /// Why.
        #[source]
        source: Box<InferError>,
    },
    /// A declared type that inference contradicts.
    #[error("{function}: operation #{index} `{name}` ({op}) declares {declared}, its arguments give {inferred}")]
    Type {
        /// The function.
        function: String,
        /// Its place in the block.
        index: usize,
        /// The operation.
        name: String,
        /// The operator.
        op: String,
        /// Declared types.
        declared: Box<str>,
        /// Inferred types.
        inferred: Box<str>,
    },
    /// More than 5 dimensions.
    #[error("{function}: `{name}` is {ty}: Core ML has at most 5 dimensions")]
    Rank {
        /// The function.
        function: String,
        /// The value.
        name: String,
        /// Its type.
        ty: String,
    },
    /// A state that is not float16, not fixed, or too early.
    #[error("{function}: state `{name}` is {ty}: states need iOS18, float16 and a fixed shape")]
    State {
        /// The function.
        function: String,
        /// The state.
        name: String,
        /// Its type.
        ty: String,
    },
    /// An input or output of a type that the target does not pass.
    #[error("{function}: {direction} `{name}` is {dtype}, which needs {since}; the program is for {target}")]
    Feature {
        /// The function.
        function: String,
        /// `input` or `output`.
        direction: &'static str,
        /// The feature.
        name: String,
        /// Its element type.
        dtype: DataType,
        /// The first target that passes it.
        since: Target,
        /// The program's.
        target: Target,
    },
    /// A result that is an input itself.
    #[error("{function}: output `{name}` is an input: it needs an `identity`")]
    PassThrough {
        /// The function.
        function: String,
        /// The value.
        name: String,
    },
    /// A function without results, or a program without functions.
    #[error("{0} has nothing to give")]
    Empty(String),
}

/// Words that coremltools renames because MIL's text form reserves them.
const RESERVED: [&str; 26] = [
    "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string", "bf16", "fp16",
    "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "state", "int4", "uint4",
];

/// Whether Core ML takes `name` for a value, operation or function: `[A-Za-z_][A-Za-z0-9_@]*`, and not a reserved word.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'@')) && !RESERVED.contains(&name)
}

/// The nearest legal name: other characters become `_`.
pub(super) fn identifier(wanted: &str) -> String {
    let mut name: String =
        wanted.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if !is_identifier(&name) {
        name.insert(0, '_');
    }
    name
}

/// Checks everything that can be checked without the weights.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(program: &Program, registry: Registry) -> Result<(), VerifyError> {
    if program.functions.is_empty() {
        return Err(VerifyError::Empty("the program".to_owned()));
    }
    for (name, function) in &program.functions {
        if !is_identifier(name) {
            return Err(VerifyError::Name { function: name.clone(), name: name.clone() });
        }
        Verifier {
            name,
            function,
            target: program.target,
            registry,
            defined: HashSet::new(),
            known: Known::of(function),
            names: HashSet::new(),
        }
        .run()?;
    }
    Ok(())
}

struct Verifier<'a> {
    name: &'a str,
    function: &'a Function,
    target: Target,
    registry: Registry,
    defined: HashSet<ValueId>,
    known: Known<'a>,
    names: HashSet<&'a str>,
}

impl<'a> Verifier<'a> {
    fn run(mut self) -> Result<(), VerifyError> {
        for &id in &self.function.inputs {
            self.define(id)?;
            self.input(id)?;
        }
        let block = &self.function.block;
        self.block(block)?;
        if block.outputs.is_empty() {
            return Err(VerifyError::Empty(format!("function `{}`", self.name)));
        }
        for &id in &block.outputs {
            let value = self.function.value(id);
            if self.function.inputs.contains(&id) {
                return Err(VerifyError::PassThrough { function: self.name.to_owned(), name: value.name.clone() });
            }
            self.feature("output", id)?;
        }
        Ok(())
    }

    fn define(&mut self, id: ValueId) -> Result<(), VerifyError> {
        let value = self.function.value(id);
        if !is_identifier(&value.name) {
            return Err(VerifyError::Name { function: self.name.to_owned(), name: value.name.clone() });
        }
        if !self.defined.insert(id) || !self.names.insert(&value.name) {
            return Err(VerifyError::Repeated { function: self.name.to_owned(), name: value.name.clone() });
        }
        Ok(())
    }

    fn input(&self, id: ValueId) -> Result<(), VerifyError> {
        let value = self.function.value(id);
        match &value.ty {
            ValueType::State(ty)
                if self.target < Target::Ios18 || ty.dtype != DataType::Float16 || ty.elements().is_none() =>
            {
                Err(VerifyError::State { function: self.name.to_owned(), name: value.name.clone(), ty: ty.to_string() })
            }
            _ => self.feature("input", id),
        }
    }

    fn feature(&self, direction: &'static str, id: ValueId) -> Result<(), VerifyError> {
        let value = self.function.value(id);
        let Some(tensor) = value.ty.tensor() else { return Ok(()) };
        let since = match tensor.dtype {
            DataType::Float16 => Target::Ios16,
            DataType::Int8 => Target::Ios26,
            _ => Target::Ios15,
        };
        if since <= self.target {
            return Ok(());
        }
        Err(VerifyError::Feature {
            function: self.name.to_owned(),
            direction,
            name: value.name.clone(),
            dtype: tensor.dtype,
            since,
            target: self.target,
        })
    }

    fn block(&mut self, block: &'a Block) -> Result<(), VerifyError> {
        for (index, operation) in block.operations.iter().enumerate() {
            self.operation(index, operation)?;
        }
        for &id in &block.outputs {
            self.used(id, "a result")?;
        }
        Ok(())
    }

    /// A block inside of an operation: what it defines is not visible after it, and its names are free again.
    fn nested(&mut self, block: &'a Block) -> Result<(), VerifyError> {
        block.inputs.iter().try_for_each(|&id| self.define(id))?;
        self.block(block)?;
        for id in block.inputs.iter().chain(block.operations.iter().flat_map(|operation| &operation.outputs)) {
            self.defined.remove(id);
            self.names.remove(self.function.value(*id).name.as_str());
        }
        Ok(())
    }

    fn used(&self, id: ValueId, place: &str) -> Result<(), VerifyError> {
        if self.defined.contains(&id) {
            return Ok(());
        }
        let name = self.function.value(id).name.clone();
        Err(VerifyError::Undefined { function: self.name.to_owned(), place: place.to_owned(), name })
    }

    fn operation(&mut self, index: usize, operation: &'a Operation) -> Result<(), VerifyError> {
        for binding in operation.inputs.values().flatten() {
            if let Binding::Value(id) = binding {
                self.used(*id, &format!("operation #{index} `{}`", operation.name))?;
            }
        }
        for block in &operation.blocks {
            self.nested(block)?;
        }
        if let Some(value) = operation.constant() {
            self.check_types(index, operation, &[value.value_type()])?;
        } else {
            let types = self.infer(index, operation)?;
            self.check_types(index, operation, &types)?;
        }
        operation.outputs.iter().try_for_each(|&id| self.define(id))
    }

    fn infer(&self, index: usize, operation: &Operation) -> Result<Vec<ValueType>, VerifyError> {
        let (function, name, op) = (self.name.to_owned(), operation.name.clone(), operation.kind.clone());
        let definition =
            (self.registry)(&operation.kind).ok_or(VerifyError::UnknownOp { function, index, name, op })?;
        let error = |source: InferError| VerifyError::Arguments {
            function: self.name.to_owned(),
            index,
            name: operation.name.clone(),
            op: operation.kind.clone(),
            source: Box::new(source),
        };
        let call = self.known.call(self.function, operation, definition, self.function.opset);
        call.and_then(|call| call.infer()).map_err(error)
    }

    fn check_types(&self, index: usize, operation: &Operation, inferred: &[ValueType]) -> Result<(), VerifyError> {
        let declared: Vec<&ValueType> = operation.outputs.iter().map(|&id| &self.function.value(id).ty).collect();
        let same = declared.len() == inferred.len() && declared.iter().zip(inferred).all(|(d, i)| d.agrees(i));
        if !same {
            let join = |types: Vec<String>| types.join(", ").into_boxed_str();
            return Err(VerifyError::Type {
                function: self.name.to_owned(),
                index,
                name: operation.name.clone(),
                op: operation.kind.clone(),
                declared: join(declared.iter().map(ToString::to_string).collect()),
                inferred: join(inferred.iter().map(ToString::to_string).collect()),
            });
        }
        // Tables of compressed weights may have more dimensions, since the weight that they make has not.
        match operation
            .outputs
            .iter()
            .find(|&&id| operation.is_computed() && self.function.value(id).ty.tensor().is_some_and(|t| t.rank() > 5))
        {
            Some(&id) => {
                let value = self.function.value(id);
                Err(VerifyError::Rank {
                    function: self.name.to_owned(),
                    name: value.name.clone(),
                    ty: value.ty.to_string(),
                })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names() {
        for good in ["a", "_x", "layers_3", "x@1"] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", "3x", "a.b", "state", "tensor", "é"] {
            assert!(!is_identifier(bad), "{bad}");
            assert!(is_identifier(&identifier(bad)), "{bad}");
        }
    }
}
