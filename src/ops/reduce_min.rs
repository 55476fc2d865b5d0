//! `reduce_min`: the smallest element along `axes` (all dimensions without), which stay as length 1 with `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result has its element type. The same at every target.

use super::{
    Op,
    support::reduce::{evaluate, operator},
};

pub(super) static OP: Op = operator("reduce_min", |arguments| {
    evaluate(arguments, |v| v.iter().copied().fold(f32::INFINITY, f32::min), |v| v.iter().copied().min().unwrap_or(i64::MAX))
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_min");
    }

    #[test]
    fn axes_outside_of_the_rank_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[2]))];
        testing::refuses("reduce_min", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of \
             rank 2");
    }
}
