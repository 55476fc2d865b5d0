//! `cumsum`: running sums along `axis`; `exclusive` leaves each element out of its own sum, `reverse` runs from the
//! end.
//!
//! `x`: float16, float32 or int32; the result has its type. The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        types::{NUMBER, X, boolean, int},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "cumsum",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', NUMBER)],
            parameters: &[
                X,
                int("axis").default(defaults::zero),
                boolean("exclusive").default(defaults::off),
                boolean("reverse").default(defaults::off),
            ],
        }],
        infer: |call| {
            call.axis("axis", call.tensor("x")?.rank())?;
            same_as_x(call)
        },
    },
    kernel,
};

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let (axis, last) = (arguments.call.axis("axis", x.rank())?, x.rank() - 1);
    let (exclusive, reverse) = (arguments.call.bool("exclusive")?, arguments.call.bool("reverse")?);
    let moved = x.transpose(axis, last)?.contiguous()?;
    let mut values: Vec<f64> = moved.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1()?;
    for row in values.chunks_mut(moved.dims()[last].max(1)) {
        if reverse {
            row.reverse();
        }
        let mut sum = 0.0;
        for value in row.iter_mut() {
            let next = sum + *value;
            *value = if exclusive { sum } else { next };
            sum = next;
        }
        if reverse {
            row.reverse();
        }
    }
    let sums = Tensor::from_vec(values, moved.shape(), &Device::Cpu)?.to_dtype(x.dtype())?;
    Ok(vec![sums.transpose(axis, last)?.contiguous()?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("cumsum");
    }

    #[test]
    fn an_axis_outside_of_the_rank_is_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axis", 2.into())];
        testing::refuses("cumsum", Target::Ios15, &arguments, "parameter `axis`: axis 2 is outside a tensor of rank 2");
    }
}
