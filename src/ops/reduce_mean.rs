//! `reduce_mean`: the mean, rounded towards zero between integers along `axes` (all dimensions without), which stay as
//! length 1 with `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result has its element type. The same at every target.

use super::{
    Op,
    support::reduce::{evaluate, operator, sum},
};
use crate::mil::{BuildError, Builder, Var};

pub(super) static OP: Op = operator("reduce_mean", |arguments| {
    evaluate(arguments, |v| (sum(v, |x| x) / v.len() as f64) as f32, |v| v.iter().sum::<i64>() / v.len().max(1) as i64)
});

impl Builder {
    /// The mean, rounded towards zero between integers along `axes`, which stay as length 1 with `keep_dims`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn reduce_mean(&mut self, name: &str, x: Var, axes: &[i32], keep_dims: bool) -> Result<Var, BuildError> {
        self.op1("reduce_mean", name, &[("x", x.into()), ("axes", axes.into()), ("keep_dims", keep_dims.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_mean");
    }

    #[test]
    fn axes_outside_of_the_rank_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[2]))];
        testing::refuses("reduce_mean", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of \
             rank 2");
    }
}
