//! `tile`: `x` repeated `reps` times along every dimension.
//!
//! Any element type of iOS15; `reps` may be computed, and none of what was counted is an empty result. The same at
//! every target.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::{UNKNOWN, integers, single},
        types::{INT32, PLAIN, X},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "tile",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[X, Parameter::new("reps", Domain::Of(INT32))],
        }],
        infer,
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let reps: Vec<usize> = integers(arguments.call, "reps", x.rank(), 0)?.into_iter().map(|n| n as usize).collect();
        if reps.contains(&0) {
            let shape: Vec<usize> = x.dims().iter().zip(&reps).map(|(d, n)| d * n).collect();
            return Ok(vec![Tensor::zeros(shape, x.dtype(), x.device())?]);
        }
        Ok(vec![x.repeat(reps)?])
    },
};

impl Builder {
    /// `x` repeated along every dimension.
    ///
    /// # Errors
    /// When there are not as many numbers as dimensions.
    pub fn tile(&mut self, name: &str, x: Var, reps: &[i32]) -> Result<Var, BuildError> {
        self.op1("tile", name, &[("x", x.into()), ("reps", reps.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    if call.known("reps").is_none() {
        return single(x.dtype, vec![UNKNOWN; x.rank()]);
    }
    let reps = integers(call, "reps", x.rank(), 0)?;
    let length = |(d, n): (&Dimension, u64)| match d.known() {
        Some(length) => Dimension::Known(length.saturating_mul(n)),
        None if n == 1 => *d,
        None => UNKNOWN,
    };
    single(x.dtype, x.shape.iter().zip(reps).map(length).collect())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("tile");
    }

    #[test]
    fn one_number_per_dimension() {
        let arguments = [("x", testing::float32(&[2, 3])), ("reps", testing::ints(&[2]))];
        testing::refuses("tile", Target::Ios15, &arguments, "parameter `reps`: expected 2 values, found 1");
    }
}
