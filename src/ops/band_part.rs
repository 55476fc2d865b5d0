//! `band_part`: the last two dimensions as matrices, of which only a band stays: `lower` diagonals below the main one
//! and `upper` above; a negative number keeps all. Everything else is 0.
//!
//! Any element type of iOS15, rank 2 or more. The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        shapes::rank_between,
        types::{PLAIN, X, int},
        unary::same_as_x,
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, OpDef, OpVersion, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "band_part",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[X, int("lower").default(defaults::last), int("upper").default(defaults::last)],
        }],
        infer: |call| {
            rank_between(call, "x", 2, 5)?;
            same_as_x(call)
        },
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let (rows, columns) = (x.dims()[x.rank() - 2] as i64, x.dims()[x.rank() - 1] as i64);
        let (lower, upper) = (arguments.call.int("lower")?, arguments.call.int("upper")?);
        let keeps = |m: i64, n: i64| u8::from((lower < 0 || m - n <= lower) && (upper < 0 || n - m <= upper));
        let band: Vec<u8> = (0..rows).flat_map(|m| (0..columns).map(move |n| keeps(m, n))).collect();
        let band = Tensor::from_vec(band, (rows as usize, columns as usize), &Device::Cpu)?;
        Ok(vec![band.broadcast_as(x.shape())?.where_cond(x, &x.zeros_like()?)?])
    },
};

impl Builder {
    /// A band of the matrices in the last two dimensions; a negative number keeps all diagonals of that side.
    ///
    /// # Errors
    /// When `x` has fewer than two dimensions.
    pub fn band_part(&mut self, name: &str, x: Var, lower: i32, upper: i32) -> Result<Var, BuildError> {
        self.op1("band_part", name, &[("x", x.into()), ("lower", lower.into()), ("upper", upper.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("band_part");
    }

    #[test]
    fn vectors_are_refused() {
        let why = "parameter `x`: expected a rank from 2 to 5, found tensor<fp32, [3]>";
        testing::refuses("band_part", Target::Ios15, &[("x", testing::float32(&[3]))], why);
    }
}
