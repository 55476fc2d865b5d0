//! `softmax`: exponentials along `axis`, divided by their sum.
//!
//! `x`: float16 or float32 of any shape with that axis; the result has its type. The same at every target.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{
    Op,
    support::{
        defaults,
        types::{FLOAT, X, int},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{BuildError, Builder, OpDef, OpVersion, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "softmax",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("axis").default(defaults::last)] }],
        infer: |call| {
            call.axis("axis", call.tensor("x")?.rank())?;
            same_as_x(call)
        },
    },
    kernel: |arguments| Ok(vec![softmax(arguments.tensor("x")?, axis(arguments)?)?]),
};

impl Builder {
    /// Softmax along `axis`.
    ///
    /// # Errors
    /// When `x` has no such axis.
    pub fn softmax(&mut self, name: &str, x: Var, axis: i32) -> Result<Var, BuildError> {
        self.op1("softmax", name, &[("x", x.into()), ("axis", axis.into())])
    }
}

fn axis(arguments: &Arguments<'_>) -> Result<usize, KernelError> {
    Ok(arguments.call.axis("axis", arguments.tensor("x")?.rank())?)
}

/// Softmax along a dimension, for other operators too.
pub(super) fn softmax(x: &Tensor, axis: usize) -> Result<Tensor, KernelError> {
    let last = x.rank() - 1;
    let moved = x.transpose(axis, last)?;
    let length = moved.dims()[last].max(1);
    let values = view(&moved, |values: &[f32]| {
        let mut out = values.to_vec();
        out.par_chunks_mut(length).for_each(normalize);
        out
    })?;
    Ok(Tensor::from_vec(values, moved.shape(), &Device::Cpu)?.transpose(axis, last)?.contiguous()?)
}

fn normalize(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = row.iter().map(|&x| f64::from(x)).sum();
    row.iter_mut().for_each(|x| *x = (f64::from(*x) / sum) as f32);
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("softmax");
    }

    #[test]
    fn an_axis_outside_of_the_rank_is_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axis", 2.into())];
        testing::refuses("softmax", Target::Ios15, &arguments, "parameter `axis`: axis 2 is outside a tensor of rank 2");
    }
}
