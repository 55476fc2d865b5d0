//! `gather`: slices of `x` along `axis`, picked by `indices`: the embedding lookup.
//!
//! The result is `x[:axis] + indices[batch_dims:] + x[axis + 1:]`. Negative indices count from the end, as iOS15 and
//! iOS16 define; from iOS17 on a device need not, so programs avoid them. iOS16: `batch_dims` leading dimensions go
//! along; int16 and uint16 indices. iOS17: 8 bit ones, and 8 and 16 bit elements; `validate_indices`.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        indexing::positions,
        shapes::single,
        types::{INDEX_16, INDEX_17, INT32, NUMBER, WIDE_NUMBER, X, boolean, int, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Argument, BuildError, Builder, Call, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

const INDICES: Parameter = var("indices", 'I');
const AXIS: Parameter = int("axis").default(defaults::zero);
const BATCH_DIMS: Parameter = int("batch_dims").default(defaults::zero);
const VALIDATE: Parameter = boolean("validate_indices").default(defaults::off);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "gather",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER), ('I', INT32)], parameters: &[X, INDICES, AXIS] },
            OpVersion { since: Target::Ios16, domains: &[('T', NUMBER), ('I', INDEX_16)], parameters: &[X, INDICES, AXIS, BATCH_DIMS] },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', WIDE_NUMBER), ('I', INDEX_17)],
                parameters: &[X, INDICES, AXIS, BATCH_DIMS, VALIDATE],
            },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// Slices of `x` along `axis`, picked by `indices`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn gather(&mut self, name: &str, x: impl Into<Argument>, indices: impl Into<Argument>, axis: i32) -> Result<Var, BuildError> {
        self.op1("gather", name, &[("x", x.into()), ("indices", indices.into()), ("axis", axis.into())])
    }
}

/// `axis` and `batch_dims`.
fn layout(call: &Call<'_>) -> Result<(usize, usize), InferError> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let axis = call.axis("axis", x.rank())?;
    let batch = if call.version().parameter("batch_dims").is_some() { call.int("batch_dims")? } else { 0 };
    let batch = usize::try_from(batch).ok().filter(|&batch| batch <= axis && batch <= indices.rank());
    let wrong = || InferError::rule("batch_dims", format!("expected at most `axis` ({axis}) and the rank of {indices}"));
    Ok((axis, batch.ok_or_else(wrong)?))
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let (axis, batch) = layout(call)?;
    let differ = |i: &usize| x.shape[*i].known().zip(indices.shape[*i].known()).is_some_and(|(a, b)| a != b);
    if let Some(i) = (0..batch).find(differ) {
        return Err(InferError::rule("indices", format!("{indices} and {x} differ in batch dimension {i}")));
    }
    single(x.dtype, [&x.shape[..axis], &indices.shape[batch..], &x.shape[axis + 1..]].concat())
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, indices) = (arguments.tensor("x")?, arguments.tensor("indices")?);
    let (axis, batch) = layout(arguments.call)?;
    let length = x.dims()[axis];
    let indices: Vec<i64> = positions("indices", indices, length)?.into_iter().map(|i| i as i64).collect();
    let batches: usize = x.dims()[..batch].iter().product();
    let between: usize = x.dims()[batch..axis].iter().product();
    let each = indices.len() / batches.max(1);
    let x = x.reshape((batches, between, length, ()))?;
    let pick = |b: usize| {
        let indices = Tensor::from_slice(&indices[b * each..(b + 1) * each], each, &Device::Cpu)?;
        x.get(b)?.index_select(&indices, 1)
    };
    let picked = (0..batches).map(pick).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![Tensor::cat(&picked, 0)?.reshape(arguments.shape(0)?)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("gather");
    }

    #[test]
    fn what_newer_targets_allow_is_refused_before() {
        let arguments = [("x", testing::float32(&[4, 3])), ("indices", testing::int32(&[2])), ("batch_dims", 0.into())];
        testing::refuses("gather", Target::Ios15, &arguments, "`gather` has no parameter `batch_dims` at iOS15");
        testing::accepts("gather", Target::Ios16, &arguments, "tensor<fp32, [2, 3]>");
    }

    #[test]
    fn batch_dimensions_come_before_the_axis() {
        let arguments = [("x", testing::float32(&[4, 3])), ("indices", testing::int32(&[4, 2])), ("batch_dims", 1.into())];
        let why = "parameter `batch_dims`: expected at most `axis` (0) and the rank of tensor<int32, [4, 2]>";
        testing::refuses("gather", Target::Ios16, &arguments, why);
    }
}
