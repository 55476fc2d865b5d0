//! `non_zero`: where `x` is not 0, one row of indices for each such element, in row-major order.
//!
//! `x`: any element type of iOS15; the result is int32 [n, rank of x], n being known when it runs. The same at every
//! target.

use candle_core::{DType, Device, Tensor};

use super::{
    Op,
    support::{
        shapes::{UNKNOWN, single},
        types::{PLAIN, X},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{DataType, Dimension, OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "non_zero",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: &[X] }],
        infer: |call| single(DataType::Int32, vec![UNKNOWN, Dimension::Known(call.tensor("x")?.rank() as u64)]),
    },
    kernel,
};

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let places: Vec<usize> = view(&x.to_dtype(DType::F64)?, |values: &[f64]| {
        values.iter().enumerate().filter(|(_, value)| **value != 0.0).map(|(place, _)| place).collect()
    })?;
    let mut rows = vec![0i64; places.len() * x.rank()];
    for (row, &place) in rows.chunks_mut(x.rank().max(1)).zip(&places) {
        let mut rest = place;
        for (index, &length) in row.iter_mut().zip(x.dims()).rev() {
            *index = (rest % length) as i64;
            rest /= length;
        }
    }
    Ok(vec![Tensor::from_vec(rows, (places.len(), x.rank()), &Device::Cpu)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("non_zero");
    }

    #[test]
    fn the_number_of_rows_is_not_known_before() {
        testing::accepts("non_zero", Target::Ios15, &[("x", testing::float32(&[2, 3, 4]))], "tensor<int32, [?, 3]>");
    }
}
