//! `reduce_log_sum`: the logarithm of the sum along `axes` (all dimensions without), which stay as length 1 with
//! `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result has its element type. The same at every target.

use super::{
    Op,
    support::reduce::{evaluate, operator, sum},
};

pub(super) static OP: Op = operator("reduce_log_sum", |arguments| {
    evaluate(arguments, |v| sum(v, |x| x).ln() as f32, |v| (v.iter().sum::<i64>() as f64).ln() as i64)
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_log_sum");
    }

    #[test]
    fn axes_outside_of_the_rank_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[2]))];
        testing::refuses("reduce_log_sum", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of \
             rank 2");
    }
}
