//! Lengths of symbolic dimensions during one call: the first value that has a symbol decides its length.

use std::{borrow::Cow, collections::BTreeMap};

use crate::mil::{Dimension, Symbol, TensorType, ValueType};

/// The length of each symbol that occurred.
#[derive(Debug, Default)]
pub(super) struct SymbolLengths(BTreeMap<Symbol, u64>);

/// Two lengths of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{symbol}` is {expected} elsewhere in this call, found {found}")]
pub struct SymbolMismatch {
    symbol: Symbol,
    expected: u64,
    found: u64,
}

impl SymbolLengths {
    /// Takes the lengths of a declared type's symbols from the lengths that a value has.
    pub(super) fn bind(
        &mut self,
        declared: &TensorType,
        lengths: impl IntoIterator<Item = u64>,
    ) -> Result<(), SymbolMismatch> {
        for (dimension, found) in declared.shape.iter().zip(lengths) {
            let Dimension::Symbol(symbol) = *dimension else { continue };
            let expected = *self.0.entry(symbol).or_insert(found);
            if expected != found {
                return Err(SymbolMismatch { symbol, expected, found });
            }
        }
        Ok(())
    }

    /// The type with lengths in place of symbols, as far as they are known.
    pub(super) fn apply<'t>(&self, ty: &'t ValueType) -> Cow<'t, ValueType> {
        match ty {
            _ if self.0.is_empty() => Cow::Borrowed(ty),
            ValueType::Tensor(tensor) => Cow::Owned(self.tensor(tensor).into()),
            ValueType::List { element, length } => {
                let element = Box::new(self.apply(element).into_owned());
                Cow::Owned(ValueType::List { element, length: self.dimension(*length) })
            }
            _ => Cow::Borrowed(ty),
        }
    }

    fn tensor(&self, ty: &TensorType) -> TensorType {
        TensorType { dtype: ty.dtype, shape: ty.shape.iter().map(|&dimension| self.dimension(dimension)).collect() }
    }

    fn dimension(&self, dimension: Dimension) -> Dimension {
        match dimension {
            Dimension::Symbol(symbol) => self.0.get(&symbol).map_or(dimension, |&length| Dimension::Known(length)),
            _ => dimension,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::{
        base::Target,
        eval::{Interpreter, Mode},
        mil::{Builder, DataType, Program, verify},
        ops,
        recipe::Literals,
    };

    fn shape(dimensions: &[Dimension]) -> TensorType {
        TensorType { dtype: DataType::Float32, shape: dimensions.to_vec() }
    }

    /// `softmax(reshape(x, [-1, 8]) * w) + y` with a symbolic batch.
    fn program() -> Program {
        let batch = Dimension::Symbol(Symbol::new("batch_size"));
        let known = Dimension::Known;
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let x = builder.input("x", shape(&[batch, known(2), known(4)]));
        let y = builder.input("y", shape(&[batch, known(8)]));
        let rows = builder.reshape("rows", x, &[-1, 8]).unwrap();
        let scaled = builder.mul("scaled", rows, 2.0).unwrap();
        let softmax = builder.op1("softmax", "softmax", &[("x", scaled.into()), ("axis", (-1).into())]).unwrap();
        let sum = builder.add("sum", softmax, y).unwrap();
        assert_eq!(builder.value_type(sum).to_string(), "tensor<fp32, [batch_size, 8]>");
        let function = builder.finish(&[("sum", sum)]).unwrap();
        let functions = BTreeMap::from([("main".to_owned(), function)]);
        Program {
            target: Target::Ios17,
            functions,
            default_function: None,
            attributes: BTreeMap::new(),
            doc: String::new(),
        }
    }

    fn run(x: usize, y: usize) -> Result<Vec<usize>, String> {
        let program = program();
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let inputs = BTreeMap::from([("x".to_owned(), ones(&[x, 2, 4])), ("y".to_owned(), ones(&[y, 8]))]);
        let outputs = Interpreter::new(&program, ops::OPERATORS, &Literals).run(None, inputs, Mode::Float32);
        outputs.map(|outputs| outputs["sum"].dims().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_symbol_takes_any_length_which_is_one_in_a_call() {
        verify(&program(), ops::find).unwrap();
        assert_eq!(run(1, 1).unwrap(), [1, 8]);
        assert_eq!(run(5, 5).unwrap(), [5, 8]);
        let error = run(5, 3).unwrap_err();
        assert_eq!(error, "main: input `y`: `batch_size` is 5 elsewhere in this call, found 3");
        assert!(run(5, 1).unwrap_err().contains("`batch_size`"), "a symbol does not broadcast");
    }

    #[test]
    fn different_symbols_are_different_lengths() {
        let symbol = |name: &str| Dimension::Symbol(Symbol::new(name));
        let mut builder = Builder::new(ops::find, Target::Ios17);
        let x = builder.input("x", shape(&[symbol("batch_size"), Dimension::Known(8)]));
        let y = builder.input("y", shape(&[symbol("sequence"), Dimension::Known(8)]));
        let four = builder.input("four", shape(&[Dimension::Known(4), Dimension::Known(8)]));
        assert!(builder.add("sum", x, y).is_err());
        assert!(builder.add("sum", x, four).is_err());
        let one = builder.input("one", shape(&[Dimension::Known(1), Dimension::Known(8)]));
        let sum = builder.add("sum", x, one).unwrap();
        assert_eq!(builder.value_type(sum).to_string(), "tensor<fp32, [batch_size, 8]>");
    }
}
