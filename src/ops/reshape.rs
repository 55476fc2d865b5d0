//! `reshape`: the same elements in another shape.
//!
//! `shape` may hold -1 once (the rest) and 0 (the length of `x` there: counted from the left, which needs equal ranks, before iOS17, from the
//! right from then on). Unknown lengths stay unknown. iOS17: 8 and 16 bit elements and shapes.

use super::{
    Op,
    support::{
        shapes::{ANY_RANK, UNKNOWN, elements, reshaped, single},
        types::{INT32, PLAIN, SIZE, WIDE, X, var},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, TensorType, ValueType, Var},
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
            let length = u64::try_from(length).map_err(|_| InferError::rule("shape", format!("negative lengths in {wanted:?}")))?;
            Ok(Dimension::Known(length))
        }
    }
}

fn fill_rest(x: &TensorType, wanted: &[i64], result: &mut [Dimension]) -> Result<(), InferError> {
    let misfit = || InferError::rule("shape", format!("{wanted:?} does not hold the elements of {x}"));
    let rest: Vec<usize> = wanted.iter().enumerate().filter(|(_, n)| **n == -1).map(|(i, _)| i).collect();
    let Some(total) = elements(&x.shape) else { return Ok(()) };
    match rest.as_slice() {
        [] => match elements(result) {
            Some(count) if count == total => Ok(()),
            _ => Err(misfit()),
        },
        [rest] => {
            let others: Vec<Dimension> = result.iter().enumerate().filter(|(i, _)| i != rest).map(|(_, &d)| d).collect();
            let others = elements(&others).filter(|&n| n != 0 && total.is_multiple_of(n)).ok_or_else(misfit)?;
            result[*rest] = Dimension::Known(total / others);
            Ok(())
        }
        _ => Err(InferError::rule("shape", format!("-1 stands more than once in {wanted:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

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
        testing::refuses("reshape", Target::Ios15, &arguments, "parameter `shape`: -1 stands more than once in [-1, -1]");
    }

    #[test]
    fn zero_copies_from_the_right_from_ios17() {
        let arguments = [("x", testing::float32(&[2, 3, 4])), ("shape", testing::ints(&[6, 0]))];
        testing::accepts("reshape", Target::Ios17, &arguments, "tensor<fp32, [6, 4]>");
        let why = "parameter `shape`: 0 needs as many lengths as tensor<fp32, [2, 3, 4]> has, found [6, 0]";
        testing::refuses("reshape", Target::Ios16, &arguments, why);
    }
}
