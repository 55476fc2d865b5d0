//! `l2_pool`: the root of the sum of squares of every window.
//!
//! `x` [n, c, spatial..] with 1 to 2 spatial dimensions, float16 or float32. `pad` counts only with `pad_type`
//! `custom`; `ceil_mode` lets the last window stand over the end. iOS16: `pad_type` `same_lower`.

use super::{
    Op,
    support::{
        pool::{VERSIONS, infer, pool},
        shapes::rank_between,
    },
};
use crate::mil::OpDef;

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "l2_pool",
        versions: VERSIONS,
        infer: |call| {
            rank_between(call, "x", 3, 4)?;
            infer(call)
        },
    },
    kernel: |arguments| pool(arguments, |covered, _| covered.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32),
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("l2_pool");
    }

    #[test]
    fn windows_must_fit() {
        let x = || ("x", testing::float32(&[1, 2, 3, 3]));
        let arguments = [x(), ("kernel_sizes", testing::ints(&[2])), ("pad_type", "valid".into())];
        testing::refuses("l2_pool", Target::Ios15, &arguments, "parameter `kernel_sizes`: expected 2 values, found 1");
        let arguments = [x(), ("kernel_sizes", testing::ints(&[4, 2])), ("pad_type", "valid".into())];
        testing::refuses("l2_pool", Target::Ios15, &arguments, "parameter `x`: a window of 4 does not fit into 3 \
             elements");
    }
}
