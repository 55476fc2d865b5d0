//! `reshape`: the same elements in another shape.
//!
//! `shape` may hold -1 once (the rest) and 0 (the length of `x` there: counted from the left, which needs equal ranks,
//! before iOS17, from the right from then on). Unknown lengths stay unknown; the rest of a product with symbols is a
//! symbol where it can be. iOS17: 8 and 16 bit elements and shapes.

use super::{
    Op,
    support::{
        shapes::{ANY_RANK, UNKNOWN, reshaped, single},
        types::{INT32, PLAIN, SIZE, WIDE, X, var},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, Symbol, TensorType, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "reshape",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN), ('U', INT32)], parameters: &[X, var("shape", 'U')] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE), ('U', SIZE)], parameters: &[X, var("shape", 'U')] },
        ],
        infer,
    },
    kernel: |arguments| reshaped(arguments.tensor("x")?, &arguments.shape(0)?),
};

impl Builder {
    /// The same elements as `shape`, in which -1 stands for the rest and 0 for the length of `x` there.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&mut self, name: &str, x: Var, shape: &[i32]) -> Result<Var, BuildError> {
        self.op1("reshape", name, &[("x", x.into()), ("shape", shape.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, shape) = (call.tensor("x")?, call.tensor("shape")?);
    if shape.rank() != 1 {
        return Err(InferError::rule("shape", format!("expected a vector, found {shape}")));
    }
    if call.known("shape").is_none() {
        let rank = shape.shape[0].known().map(|n| n as usize);
        return single(x.dtype, rank.map_or(vec![ANY_RANK], |rank| vec![UNKNOWN; rank]));
    }
    let wanted = call.ints("shape")?;
    let mut result = wanted.iter().enumerate().map(|(i, &n)| dimension(call, x, &wanted, i, n)).collect::<Result<Vec<_>, _>>()?;
    fill_rest(x, &wanted, &mut result)?;
    single(x.dtype, result)
}

/// A length as asked for; the one for -1 is not known yet.
fn dimension(call: &Call<'_>, x: &TensorType, wanted: &[i64], i: usize, length: i64) -> Result<Dimension, InferError> {
    match length {
        -1 => Ok(UNKNOWN),
        0 if wanted.len() == x.rank() => Ok(x.shape[i]),
        0 if call.target() >= Target::Ios17 => {
            let from_right = (i + x.rank()).checked_sub(wanted.len());
            let missing = || InferError::rule("shape", format!("0 at position {i} of {wanted:?} has no length in {x}"));
            from_right.map(|i| x.shape[i]).ok_or_else(missing)
        }
        0 => Err(InferError::rule("shape", format!("0 needs as many lengths as {x} has, found {wanted:?}"))),
        length => {
            let length = u64::try_from(length).map_err(|_| InferError::rule("shape", format!("negative lengths in \
                 {wanted:?}")))?;
            Ok(Dimension::Known(length))
        }
    }
}

fn fill_rest(x: &TensorType, wanted: &[i64], result: &mut [Dimension]) -> Result<(), InferError> {
    let misfit = || InferError::rule("shape", format!("{wanted:?} does not hold the elements of {x}"));
    let rest: Vec<usize> = wanted.iter().enumerate().filter(|(_, n)| **n == -1).map(|(i, _)| i).collect();
    let Some(total) = Elements::of(x.shape.iter().copied()) else { return Ok(()) };
    match rest.as_slice() {
        [] => match Elements::of(result.iter().copied()) {
            Some(count) if count == total => Ok(()),
            _ => Err(misfit()),
        },
        [rest] => {
            let others = Elements::of(result.iter().enumerate().filter(|(i, _)| i != rest).map(|(_, &d)| d));
            result[*rest] = others.and_then(|others| total.divided_by(&others)).ok_or_else(misfit)?;
            Ok(())
        }
        _ => Err(InferError::rule("shape", format!("-1 stands more than once in {wanted:?}"))),
    }
}

/// A number of elements: a fixed factor, and symbols in order.
#[derive(PartialEq)]
struct Elements {
    fixed: u64,
    symbols: Vec<Symbol>,
}

impl Elements {
    /// The product of the dimensions; `None` where one is unknown, and on overflow.
    fn of(mut shape: impl Iterator<Item = Dimension>) -> Option<Self> {
        let mut product = Self { fixed: 1, symbols: Vec::new() };
        shape.try_for_each(|dimension| {
            match dimension {
                Dimension::Known(length) => product.fixed = product.fixed.checked_mul(length)?,
                Dimension::Symbol(symbol) => product.symbols.push(symbol),
                Dimension::Unknown { .. } => return None,
            }
            Some(())
        })?;
        product.symbols.sort();
        Some(product)
    }

    /// The dimension that makes these elements out of `others`: a length, a symbol, or an unknown one where it is a
    /// product with symbols. `None` where there is none.
    fn divided_by(mut self, others: &Self) -> Option<Dimension> {
        for symbol in &others.symbols {
            let index = self.symbols.iter().position(|own| own == symbol)?;
            self.symbols.remove(index);
        }
        match self.symbols.as_slice() {
            [] if others.fixed != 0 && self.fixed.is_multiple_of(others.fixed) => Some(Dimension::Known(self.fixed / others.fixed)),
            [] => None,
            [symbol] if self.fixed == others.fixed => Some(Dimension::Symbol(*symbol)),
            _ => Some(UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mil::DataType, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reshape");
    }

    #[test]
    fn the_number_of_elements_must_stay() {
        let arguments = [("x", testing::float32(&[2, 3])), ("shape", testing::ints(&[4, -1]))];
        testing::refuses(
            "reshape",
            Target::Ios15,
            &arguments,
            "parameter `shape`: [4, -1] does not hold the elements of tensor<fp32, [2, 3]>",
        );
        let arguments = [("x", testing::float32(&[2, 3])), ("shape", testing::ints(&[-1, -1]))];
        testing::refuses("reshape", Target::Ios15, &arguments, "parameter `shape`: -1 stands more than once in [-1, \
             -1]");
    }

    #[test]
    fn zero_copies_from_the_right_from_ios17() {
        let arguments = [("x", testing::float32(&[2, 3, 4])), ("shape", testing::ints(&[6, 0]))];
        testing::accepts("reshape", Target::Ios17, &arguments, "tensor<fp32, [6, 4]>");
        let why = "parameter `shape`: 0 needs as many lengths as tensor<fp32, [2, 3, 4]> has, found [6, 0]";
        testing::refuses("reshape", Target::Ios16, &arguments, why);
    }

    #[test]
    fn symbols_are_kept_where_the_product_allows_it() {
        let symbol = |name: &str| Dimension::Symbol(Symbol::new(name));
        let shape = |dimensions: Vec<Dimension>, wanted: &[i32]| {
            let mut builder = Builder::new(crate::ops::find, Target::Ios17);
            let x = builder.input("x", TensorType { dtype: DataType::Float32, shape: dimensions });
            builder.reshape("y", x, wanted).map(|y| builder.value_type(y).to_string()).map_err(|error| error.to_string())
        };
        let known = Dimension::Known;
        let rows = || vec![symbol("batch_size"), known(4), known(8)];
        assert_eq!(shape(rows(), &[-1, 32]).unwrap(), "tensor<fp32, [batch_size, 32]>");
        assert_eq!(shape(rows(), &[0, 2, -1]).unwrap(), "tensor<fp32, [batch_size, 2, 16]>");
        assert_eq!(shape(rows(), &[-1, 8]).unwrap(), "tensor<fp32, [?, 8]>", "four times the batch");
        assert_eq!(shape(vec![symbol("batch_size"), symbol("tokens"), known(8)], &[-1, 8]).unwrap(), "tensor<fp32, [?, 8]>");
        assert!(shape(rows(), &[2, 32]).is_err(), "two rows are one batch size of many");
    }
}
