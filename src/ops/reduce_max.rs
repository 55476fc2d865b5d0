//! `reduce_max`: the largest element along `axes` (all dimensions without), which stay as length 1 with `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result has its element type. The same at every target.

use super::{
    Op,
    support::reduce::{evaluate, operator},
};
use crate::mil::{BuildError, Builder, Var};

pub(super) static OP: Op = operator("reduce_max", |arguments| {
    evaluate(arguments, |v| v.iter().copied().fold(f32::NEG_INFINITY, f32::max), |v| v.iter().copied().max().unwrap_or(i64::MIN))
});

impl Builder {
    /// The largest element along `axes`, which stay as length 1 with `keep_dims`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn reduce_max(&mut self, name: &str, x: Var, axes: &[i32], keep_dims: bool) -> Result<Var, BuildError> {
        self.op1("reduce_max", name, &[("x", x.into()), ("axes", axes.into()), ("keep_dims", keep_dims.into())])
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_max");
    }

    #[test]
    fn axes_outside_of_the_rank_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[2]))];
        testing::refuses("reduce_max", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of \
             rank 2");
    }
}
