//! `slice_by_size`: `size` elements of every dimension from `begin` on; -1 takes the rest.
//!
//! `begin` and `size` may be computed. Any element type; iOS17: 8 and 16 bit elements and indices.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::{UNKNOWN, expect_shape, single},
        types::{INT32, PLAIN, SIZE, WIDE, X, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, Dimension, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const PARAMETERS: &[Parameter] = &[X, var("begin", 'U'), var("size", 'U')];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "slice_by_size",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN), ('U', INT32)], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE), ('U', SIZE)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

/// The values of `begin` or `size`; `None` where they are computed.
fn numbers(call: &Call<'_>, name: &'static str) -> Result<Vec<Option<i64>>, InferError> {
    let rank = call.tensor("x")?.rank();
    expect_shape(call, name, &[Dimension::Known(rank as u64)])?;
    if call.known(name).is_none() {
        return Ok(vec![None; rank]);
    }
    Ok(call.ints(name)?.into_iter().map(Some).collect())
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let (begin, size) = (numbers(call, "begin")?, numbers(call, "size")?);
    let lengths = x.shape.iter().zip(begin.into_iter().zip(size));
    single(x.dtype, lengths.map(|(&d, (begin, size))| length(d, begin, size)).collect::<Result<_, _>>()?)
}

fn length(dimension: Dimension, begin: Option<i64>, size: Option<i64>) -> Result<Dimension, InferError> {
    let known = dimension.known().map(|length| length as i64);
    let begin = match (begin, known) {
        (Some(begin), Some(length)) if begin < 0 => Some(begin + length),
        (begin, _) => begin,
    };
    let count = match (size, begin, known) {
        (Some(-1), Some(begin), Some(length)) => length - begin,
        (Some(size), ..) if size != -1 => size,
        _ => return Ok(UNKNOWN),
    };
    let outside = begin.zip(known).is_some_and(|(begin, length)| begin < 0 || count > length - begin);
    if count < 0 || outside {
        let begin = begin.map_or_else(|| "?".to_owned(), |begin| begin.to_string());
        return Err(InferError::rule("size", format!("there are no {count} elements from {begin} on in a dimension of \
             {dimension}")));
    }
    Ok(Dimension::Known(count as u64))
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let mut result = x.clone();
    for (axis, begin) in arguments.call.ints("begin")?.into_iter().enumerate() {
        let begin = if begin < 0 { begin + x.dims()[axis] as i64 } else { begin };
        result = result.narrow(axis, begin as usize, shape[axis])?;
    }
    Ok(vec![result.contiguous()?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("slice_by_size");
    }

    #[test]
    fn slices_lie_inside() {
        let arguments = [("x", testing::float32(&[4])), ("begin", testing::ints(&[2])), ("size", testing::ints(&[3]))];
        let why = "parameter `size`: there are no 3 elements from 2 on in a dimension of 4";
        testing::refuses("slice_by_size", Target::Ios15, &arguments, why);
    }
}
