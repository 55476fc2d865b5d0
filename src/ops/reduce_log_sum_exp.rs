//! `reduce_log_sum_exp`: the logarithm of the sum of exponentials, without overflow along `axes` (all dimensions
//! without), which stay as length 1 with `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result has its element type. The same at every target.

use super::{
    Op,
    support::reduce::{evaluate, operator, sum},
};

pub(super) static OP: Op = operator("reduce_log_sum_exp", |arguments| {
    evaluate(arguments, log_sum_exp, |v| v.iter().map(|&x| (x as f64).exp()).sum::<f64>().ln() as i64)
});

fn log_sum_exp(values: &[f32]) -> f32 {
    let largest = f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    if largest.is_infinite() {
        return largest as f32;
    }
    (sum(values, |x| (x - largest).exp()).ln() + largest) as f32
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_log_sum_exp");
    }

    #[test]
    fn axes_outside_of_the_rank_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[2]))];
        testing::refuses("reduce_log_sum_exp", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a \
             tensor of rank 2");
    }
}
