//! `gather_along_axis`: elements of `x` picked along `axis` by `indices` of its rank, as numpy's `take_along_axis`.
//!
//! Other dimensions are equal. iOS16: int16 and uint16 indices. iOS17: 8 bit ones, 8 and 16 bit elements,
//! `validate_indices`.

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
    mil::{Call, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const INDICES: Parameter = var("indices", 'I');
const AXIS: Parameter = int("axis").default(defaults::zero);
const VALIDATE: Parameter = boolean("validate_indices").default(defaults::off);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "gather_along_axis",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER), ('I', INT32)], parameters: &[X, INDICES, AXIS] },
            OpVersion { since: Target::Ios16, domains: &[('T', NUMBER), ('I', INDEX_16)], parameters: &[X, INDICES, AXIS] },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE_NUMBER), ('I', INDEX_17)], parameters: &[X, INDICES, AXIS, VALIDATE] },
        ],
        infer,
    },
    kernel: |arguments| {
        let (x, indices) = (arguments.tensor("x")?, arguments.tensor("indices")?);
        let axis = arguments.call.axis("axis", x.rank())?;
        let places: Vec<i64> = positions("indices", indices, x.dims()[axis])?.into_iter().map(|i| i as i64).collect();
        Ok(vec![x.contiguous()?.gather(&Tensor::from_vec(places, indices.shape(), &Device::Cpu)?, axis)?])
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, indices) = (call.tensor("x")?, call.tensor("indices")?);
    let axis = call.axis("axis", x.rank())?;
    let differ = |i: usize| i != axis && x.shape[i].known().zip(indices.shape[i].known()).is_some_and(|(a, b)| a != b);
    if x.rank() != indices.rank() || (0..x.rank()).any(differ) {
        return Err(InferError::rule("indices", format!("expected the lengths of {x} but for dimension {axis}, found \
             {indices}")));
    }
    single(x.dtype, indices.shape.clone())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("gather_along_axis");
    }

    #[test]
    fn other_dimensions_are_equal() {
        let arguments = [("x", testing::float32(&[2, 3])), ("indices", testing::int32(&[4, 2]))];
        let why = "parameter `indices`: expected the lengths of tensor<fp32, [2, 3]> but for dimension 0, found \
             tensor<int32, [4, 2]>";
        testing::refuses("gather_along_axis", Target::Ios15, &arguments, why);
    }
}
