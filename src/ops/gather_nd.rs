//! `gather_nd`: slices of `x` at the places that the last dimension of `indices` names.
//!
//! iOS16: `batch_dims` leading dimensions, equal in `x` and `indices`, are walked together; int16 and uint16 indices.
//! iOS17: 8 bit ones, 8 and 16 bit elements, `validate_indices`.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        indexing::{picked, position},
        shapes::single,
        types::{INDEX_16, INDEX_17, INT32, NUMBER, WIDE_NUMBER, X, boolean, int, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const INDICES: Parameter = var("indices", 'I');
const BATCH_DIMS: Parameter = int("batch_dims").default(defaults::zero);
const VALIDATE: Parameter = boolean("validate_indices").default(defaults::off);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "gather_nd",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER), ('I', INT32)], parameters: &[X, INDICES] },
            OpVersion { since: Target::Ios16, domains: &[('T', NUMBER), ('I', INDEX_16)], parameters: &[X, INDICES, BATCH_DIMS] },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', WIDE_NUMBER), ('I', INDEX_17)],
                parameters: &[X, INDICES, BATCH_DIMS, VALIDATE],
            },
        ],
        infer,
    },
    kernel,
};

/// Dimensions that are walked together, and those that an index names.
fn depths(call: &Call<'_>) -> Result<(usize, usize), InferError> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let batch = if call.version().parameter("batch_dims").is_some() { call.int("batch_dims")? } else { 0 };
    let batch = usize::try_from(batch).ok().filter(|&batch| batch < indices.rank().max(1) && batch <= x.rank());
    let batch = batch.ok_or_else(|| InferError::rule("batch_dims", format!("{x} and {indices} do not share as many \
         dimensions")))?;
    let misfit = || InferError::rule("indices", format!("{indices} does not name places of {x}"));
    let depth = indices.shape.last().and_then(|d| d.known()).filter(|&n| n <= (x.rank() - batch) as u64).ok_or_else(misfit)?;
    let differ = |axis: usize| x.shape[axis].known().zip(indices.shape[axis].known()).is_some_and(|(a, b)| a != b);
    if (0..batch).any(differ) {
        return Err(misfit());
    }
    Ok((batch, depth as usize))
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (batch, depth) = depths(call)?;
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    single(x.dtype, [&indices.shape[..indices.rank() - 1], &x.shape[batch + depth..]].concat())
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (batch, depth) = depths(arguments.call)?;
    let (x, indices, shape) = (arguments.tensor("x")?, arguments.tensor("indices")?, arguments.shape(0)?);
    let named = &x.dims()[batch..batch + depth];
    let inner: usize = x.dims()[batch + depth..].iter().product();
    let per_batch: usize = named.iter().product();
    let slices: usize = indices.dims()[batch..indices.rank() - 1].iter().product();
    let place = |(i, indices): (usize, &[i64])| {
        let within = indices.iter().zip(named);
        let within = within.into_iter().try_fold(0, |place, (&i, &n)| Ok::<_, KernelError>(place * n + position("indices", i, n)?));
        Ok::<_, KernelError>((i / slices.max(1) * per_batch + within?) * inner)
    };
    let starts: Vec<usize> = if depth == 0 {
        (0..shape.iter().product::<usize>() / inner.max(1)).map(|i| i / slices.max(1) * per_batch * inner).collect()
    } else {
        view(indices, |indices: &[i64]| indices.chunks(depth).enumerate().map(place).collect::<Result<_, _>>())??
    };
    Ok(vec![picked(x, shape, |i| starts[i / inner] + i % inner)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("gather_nd");
    }

    #[test]
    fn places_are_not_deeper_than_the_data() {
        let arguments = [("x", testing::float32(&[4])), ("indices", testing::int32(&[2, 2]))];
        let why = "parameter `indices`: tensor<int32, [2, 2]> does not name places of tensor<fp32, [4]>";
        testing::refuses("gather_nd", Target::Ios15, &arguments, why);
        let arguments = [("x", testing::float32(&[2, 4])), ("indices", testing::int32(&[3, 1])), ("batch_dims", 1.into())];
        let why = "parameter `indices`: tensor<int32, [3, 1]> does not name places of tensor<fp32, [2, 4]>";
        testing::refuses("gather_nd", Target::Ios16, &arguments, why);
    }
}
