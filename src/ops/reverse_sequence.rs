//! `reverse_sequence`: along `seq_axis`, the first `lengths[i]` elements turned round in slice i of `batch_axis`.
//!
//! `x`: any element type of iOS15, `lengths` int32 [slices]; iOS17: 8 and 16 bit integers too.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        indexing::picked,
        shapes::expect_shape,
        types::{INT32, PLAIN, SIZE, WIDE, X, int, var},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const PARAMETERS: &[Parameter] =
    &[X, var("lengths", 'U'), int("seq_axis").default(defaults::zero), int("batch_axis").default(defaults::zero)];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "reverse_sequence",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN), ('U', INT32)], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE), ('U', SIZE)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    call.axis("seq_axis", x.rank())?;
    expect_shape(call, "lengths", &[x.shape[call.axis("batch_axis", x.rank())?]])?;
    same_as_x(call)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, call) = (arguments.tensor("x")?, arguments.call);
    let (sequence, batch) = (call.axis("seq_axis", x.rank())?, call.axis("batch_axis", x.rank())?);
    let most = x.dims()[sequence];
    let checked = |&length: &i64| {
        let fits = usize::try_from(length).ok().filter(|&length| length <= most);
        fits.ok_or(KernelError::Index { parameter: "lengths", index: length, length: most })
    };
    let lengths: Vec<usize> = view(arguments.tensor("lengths")?, |lengths: &[i64]| lengths.iter().map(checked).collect::<Result<_, _>>())??;
    let step = |axis: usize| x.dims()[axis + 1..].iter().product::<usize>();
    let (along, across) = (step(sequence), step(batch));
    let from = |i: usize| {
        let (place, length) = (i / along % most, lengths[i / across % x.dims()[batch]]);
        if place < length { i - place * along + (length - 1 - place) * along } else { i }
    };
    Ok(vec![picked(x, x.dims().to_vec(), from)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reverse_sequence");
    }

    #[test]
    fn one_length_per_slice() {
        let arguments = [("x", testing::float32(&[2, 3])), ("lengths", testing::int32(&[3])), ("seq_axis", 1.into())];
        let why = "parameter `lengths`: expected tensor<int32, [2]>, found tensor<int32, [3]>";
        testing::refuses("reverse_sequence", Target::Ios15, &arguments, why);
    }
}
