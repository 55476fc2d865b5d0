//! The types of a function's values when its inputs have given shapes: lengths that a program leaves open are inferred
//! again.
//!
//! Programs compute with lengths: the end of a slice may be a sum of two of them. So what follows from shapes and
//! literals alone is evaluated while it is small; everything else is looked at by its type only, and what depends on it
//! stays open.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};

use super::{Arguments, Operators, constant, storage_type, symbols::SymbolLengths, value::small};
use crate::{
    mil::{
        Binding, Block, Call, Dimension, Function, InferError, Known, OpDef, Operation, TensorType, Value, ValueId,
        ValueType,
    },
    recipe::Literals,
};

/// The most elements of a value that is evaluated.
const SMALL: u64 = 64;

/// The types of all values, by id, when the inputs have these shapes. A declared length always stays; what cannot be
/// inferred stays as it is declared. A shape of another rank than its input's is passed over.
pub fn types_of(function: &Function, shapes: &BTreeMap<ValueId, Vec<u64>>, operators: Operators) -> Vec<ValueType> {
    let mut symbols = SymbolLengths::default();
    for (&id, shape) in shapes {
        let declared = function.value(id).ty.tensor().filter(|ty| ty.rank() == shape.len());
        // Of two lengths the first one counts: whether the shapes are sound is not checked here.
        let _ = declared.map(|declared| symbols.bind(declared, shape.iter().copied()));
    }
    let types = function.values.iter().map(|value| symbols.apply(&value.ty).into_owned()).collect();
    let mut inference = Inference { function, known: Known::of(function), operators, types, numbers: HashMap::new() };
    for (&id, shape) in shapes {
        let given = |ty: &TensorType| TensorType::new(ty.dtype, shape).into();
        if let Some(given) = function.value(id).ty.tensor().map(given) {
            inference.refine(id, &given);
        }
    }
    // Otherwise there is nothing to find out.
    if inference.types.iter().any(is_open) {
        inference.block(&function.block);
    }
    inference.types
}

fn is_open(ty: &ValueType) -> bool {
    ty.byte_length().is_none()
}

struct Inference<'a> {
    function: &'a Function,
    known: Known<'a>,
    operators: Operators,
    types: Vec<ValueType>,
    /// What was evaluated.
    numbers: HashMap<ValueId, Tensor>,
}

impl Inference<'_> {
    fn block(&mut self, block: &Block) {
        for operation in &block.operations {
            operation.blocks.iter().for_each(|block| self.block(block));
            // What cannot be inferred is left open: whether the program is sound is not asked here.
            let _ = self.operation(operation);
        }
    }

    fn operation(&mut self, operation: &Operation) -> Result<(), InferError> {
        let Some(definition) = (self.operators.definitions)(&operation.kind) else { return Ok(()) };
        let types = self.call(operation, definition)?.infer()?;
        for (&id, ty) in operation.outputs.iter().zip(&types) {
            self.refine(id, ty);
        }
        for (&id, tensor) in
            operation.outputs.iter().zip(self.evaluate(operation, definition, &types).unwrap_or_default())
        {
            self.numbers.insert(id, tensor);
        }
        Ok(())
    }

    fn call<'o>(&self, operation: &'o Operation, definition: &'static OpDef) -> Result<Call<'o>, InferError> {
        let look = |id: ValueId| {
            (self.types[id.0 as usize].clone(), self.known.constant(id).cloned().or_else(|| self.number(id)))
        };
        self.known.call_with(operation, definition, self.function.opset, look)
    }

    fn number(&self, id: ValueId) -> Option<Value> {
        small(self.types[id.0 as usize].tensor()?.dtype, self.numbers.get(&id)?)
    }

    /// The results of an operation, where they are small and all of its arguments are known. Lengths are known even of
    /// what is not.
    fn evaluate(&self, operation: &Operation, definition: &'static OpDef, types: &[ValueType]) -> Option<Vec<Tensor>> {
        let is_small = |ty: &ValueType| ty.tensor().is_some_and(|ty| ty.elements().is_some_and(|n| n <= SMALL));
        if !operation.blocks.is_empty() || !types.iter().all(is_small) {
            return None;
        }
        if operation.kind == "shape" {
            return self.lengths(operation).map(|lengths| vec![lengths]);
        }
        let mut tensors: BTreeMap<&str, Vec<Tensor>> = BTreeMap::new();
        for (parameter, bindings) in &operation.inputs {
            for binding in bindings {
                tensors.entry(parameter).or_default().extend(self.argument(binding)?);
            }
        }
        let call = self.call(operation, definition).ok()?;
        (self.operators.kernels)(&operation.kind)?(&Arguments::new(&call, types, &tensors)).ok()
    }

    fn lengths(&self, operation: &Operation) -> Option<Tensor> {
        let Binding::Value(x) = operation.inputs.get("x")?.first()? else { return None };
        let lengths: Vec<i64> =
            self.types[x.0 as usize].tensor()?.fixed_shape()?.into_iter().map(|n| n as i64).collect();
        let rank = lengths.len();
        Tensor::from_vec(lengths, rank, &Device::Cpu).ok()
    }

    /// An argument that is known: its tensor, or none where it is a string. Large constants are no lengths.
    fn argument(&self, binding: &Binding) -> Option<Option<Tensor>> {
        let value = match binding {
            Binding::Value(id) => match self.numbers.get(id) {
                Some(tensor) => return Some(Some(tensor.clone())),
                None => self.known.constant(*id)?,
            },
            Binding::Literal(value) => value,
        };
        let recipe = value.tensor().filter(|recipe| recipe.elements().is_some_and(|n| n <= SMALL))?;
        match storage_type(recipe.dtype()) {
            Some(_) => constant::tensor("", recipe, &Literals).ok().map(Some),
            None => Some(None),
        }
    }

    /// Takes over the lengths that are known in `ty` alone.
    fn refine(&mut self, id: ValueId, ty: &ValueType) {
        if let (ValueType::Tensor(declared), Some(found)) = (&mut self.types[id.0 as usize], ty.tensor()) {
            if declared.shape == [Dimension::Unknown { variadic: true }] {
                declared.shape.clone_from(&found.shape);
            } else if declared.rank() == found.rank() {
                let open =
                    declared.shape.iter_mut().zip(&found.shape).filter(|(declared, _)| declared.known().is_none());
                open.for_each(|(declared, found)| *declared = *found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Target,
        mil::{Builder, DataType, Var},
        ops,
    };

    fn open(lengths: &[u64]) -> TensorType {
        let shape = lengths
            .iter()
            .map(|&n| if n == 0 { Dimension::Unknown { variadic: false } } else { Dimension::Known(n) })
            .collect();
        TensorType { dtype: DataType::Float32, shape }
    }

    fn types(builder: Builder, x: Var, y: Var, shape: &[u64]) -> String {
        let function = builder.finish(&[("y", y)]).unwrap();
        let types = types_of(&function, &BTreeMap::from([(x.id(), shape.to_vec())]), ops::OPERATORS);
        types[y.id().0 as usize].to_string()
    }

    #[test]
    fn lengths_are_inferred_from_those_of_inputs() {
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let x = builder.input("x", open(&[1, 0, 8]));
        let y = builder.op1("transpose", "y", &[("x", x.into()), ("perm", [2, 1, 0].into())]).unwrap();
        assert_eq!(types(builder, x, y, &[1, 5, 8]), "tensor<fp32, [8, 5, 1]>");
    }

    #[test]
    fn lengths_that_are_computed_are_evaluated() {
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let x = builder.input("x", open(&[1, 0, 8]));
        let lengths = builder.op1("shape", "lengths", &[("x", x.into())]).unwrap();
        let double = builder.op1("mul", "double", &[("x", lengths.into()), ("y", [1, 2, 1].into())]).unwrap();
        let y = builder.op1("fill", "y", &[("shape", double.into()), ("value", 0.5.into())]).unwrap();
        assert_eq!(builder.value_type(y).to_string(), "tensor<fp32, [?, ?, ?]>");
        assert_eq!(types(builder, x, y, &[1, 5, 8]), "tensor<fp32, [1, 10, 8]>");
    }

    #[test]
    fn a_symbol_has_the_length_of_the_input() {
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let batch = Dimension::Symbol(crate::mil::Symbol::new("batch_size"));
        let x = builder.input("x", TensorType { dtype: DataType::Float32, shape: vec![batch, Dimension::Known(6)] });
        let y = builder.reshape("y", x, &[-1, 2, 3]).unwrap();
        assert_eq!(types(builder, x, y, &[5, 6]), "tensor<fp32, [5, 2, 3]>");
    }

    #[test]
    fn what_depends_on_numbers_stays_open() {
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let x = builder.input("x", open(&[4]));
        let y = builder.op1("non_zero", "y", &[("x", x.into())]).unwrap();
        assert_eq!(types(builder, x, y, &[4]), "tensor<int32, [?, 1]>");
    }
}
