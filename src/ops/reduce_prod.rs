//! `reduce_prod`: the product along `axes` (all dimensions without), which stay as length 1 with `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result has its element type. The same at every target.

use super::{
    Op,
    support::reduce::{evaluate, operator},
};

pub(super) static OP: Op = operator("reduce_prod", |arguments| {
    evaluate(arguments, |v| v.iter().map(|&x| f64::from(x)).product::<f64>() as f32, |v| v.iter().fold(1, |p, &x| p.wrapping_mul(x)))
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_prod");
    }

    #[test]
    fn axes_outside_of_the_rank_are_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axes", testing::ints(&[2]))];
        testing::refuses("reduce_prod", Target::Ios15, &arguments, "parameter `axes`: axis 2 is outside a tensor of \
             rank 2");
    }
}
