//! Constants of a program: tensors that recipes make, and values that contain them.

use std::sync::Arc;

use half::f16;

use super::{DataType, TensorType, ValueType};
use crate::recipe::{Literal, Recipe};

/// A tensor constant.
pub type Constant = Arc<Recipe>;

/// A constant of any type, as `MILSpec.Value`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A tensor or scalar.
    Tensor(Constant),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A list.
    List {
        /// Type of the elements.
        element: ValueType,
        /// The elements.
        values: Vec<Value>,
    },
    /// A dictionary, in its order.
    Dictionary {
        /// Type of the keys.
        key: ValueType,
        /// Type of the values.
        value: ValueType,
        /// The entries.
        entries: Vec<(Value, Value)>,
    },
}

impl Value {
    fn scalar(dtype: DataType, literal: Literal) -> Self {
        Self::Tensor(Recipe::literal(dtype, &[], literal).expect("one value of that type"))
    }

    fn vector(dtype: DataType, length: usize, literal: Literal) -> Self {
        Self::Tensor(Recipe::literal(dtype, &[length as u64], literal).expect("values of that type and number"))
    }

    /// A string.
    pub fn string(text: &str) -> Self {
        Self::scalar(DataType::String, Literal::Strings(vec![text.to_owned()]))
    }

    /// A boolean.
    pub fn bool(value: bool) -> Self {
        Self::scalar(DataType::Bool, Literal::Bools(vec![value]))
    }

    /// An int32 scalar.
    pub fn int(value: i32) -> Self {
        Self::scalar(DataType::Int32, Literal::Ints(vec![i64::from(value)]))
    }

    /// An int32 vector.
    pub fn ints(values: &[i32]) -> Self {
        Self::vector(DataType::Int32, values.len(), Literal::Ints(values.iter().map(|&v| i64::from(v)).collect()))
    }

    /// A vector of booleans.
    pub fn bools(values: &[bool]) -> Self {
        Self::vector(DataType::Bool, values.len(), Literal::Bools(values.to_vec()))
    }

    /// A float scalar of `dtype` (float16 or float32). A nonzero value below float16's range becomes its smallest
    /// number instead of 0, as coremltools does for epsilons.
    pub fn float(dtype: DataType, value: f32) -> Self {
        if dtype == DataType::Float16 {
            let mut half = f16::from_f32(value);
            if half == f16::ZERO && value != 0.0 {
                half = f16::from_bits(if value < 0.0 { 0x8001 } else { 0x0001 });
            }
            return Self::scalar(dtype, Literal::Halves(vec![half]));
        }
        Self::scalar(DataType::Float32, Literal::Floats(vec![value]))
    }

    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Tensor(recipe) => TensorType::new(recipe.dtype(), recipe.shape()).into(),
            Self::Tuple(values) => ValueType::Tuple(values.iter().map(Value::value_type).collect()),
            Self::List { element, values } => ValueType::List {
                element: Box::new(element.clone()),
                length: super::Dimension::Known(values.len() as u64),
            },
            Self::Dictionary { key, value, .. } => {
                ValueType::Dictionary { key: Box::new(key.clone()), value: Box::new(value.clone()) }
            }
        }
    }

    /// The tensor, where it is one.
    pub fn tensor(&self) -> Option<&Constant> {
        match self {
            Self::Tensor(recipe) => Some(recipe),
            _ => None,
        }
    }

    /// The string, where it is a scalar string.
    pub fn as_str(&self) -> Option<&str> {
        match self.tensor()?.as_literal()? {
            Literal::Strings(values) if self.tensor()?.shape().is_empty() => values.first().map(String::as_str),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilons_do_not_vanish_in_float16() {
        let Value::Tensor(recipe) = Value::float(DataType::Float16, 1e-12) else { panic!() };
        assert_eq!(recipe.as_literal(), Some(&Literal::Halves(vec![f16::from_bits(1)])));
    }
}
