//! `sliding_windows`: all windows of `size` elements along `axis`, `stride` apart; a new dimension behind `axis` holds
//! them.
//!
//! `x`: float16, float32 or int32; iOS17: 8 and 16 bit integers and booleans too.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        indexing::picked,
        shapes::{UNKNOWN, integers, single},
        types::{NUMBER, WIDE, X, int},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, Dimension, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const PARAMETERS: &[Parameter] = &[X, int("axis"), int("size"), int("stride").default(defaults::one)];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "sliding_windows",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let axis = call.axis("axis", x.rank())?;
    let (size, stride) = (integers(call, "size", 1, 1)?[0], integers(call, "stride", 1, 1)?[0]);
    let mut shape = x.shape.clone();
    shape[axis] = match shape[axis].known() {
        None => UNKNOWN,
        Some(length) => {
            let room = length.checked_sub(size);
            let room = room.ok_or_else(|| InferError::rule("size", format!("a window of {size} does not fit into \
                 {length} elements")))?;
            Dimension::Known(room / stride + 1)
        }
    };
    shape.insert(axis + 1, Dimension::Known(size));
    single(x.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let axis = arguments.call.axis("axis", x.rank())?;
    let stride = arguments.call.int("stride")? as usize;
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let (windows, size) = (shape[axis], shape[axis + 1]);
    let from = |i: usize| {
        let (window, element) = (i / inner / size % windows, i / inner % size);
        (i / (inner * size * windows) * x.dims()[axis] + window * stride + element) * inner + i % inner
    };
    Ok(vec![picked(x, shape, from)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("sliding_windows");
    }

    #[test]
    fn a_window_must_fit() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axis", 1.into()), ("size", 4.into())];
        let why = "parameter `size`: a window of 4 does not fit into 3 elements";
        testing::refuses("sliding_windows", Target::Ios15, &arguments, why);
    }
}
