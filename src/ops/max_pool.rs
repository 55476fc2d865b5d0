//! `max_pool`: the largest element of every window.
//!
//! `x` [n, c, spatial..] with 1 to 3 spatial dimensions, float16 or float32. `pad` counts only with `pad_type`
//! `custom`; `ceil_mode` lets the last window stand over the end. iOS16: `pad_type` `same_lower`.

use super::{
    Op,
    support::pool::{VERSIONS, infer, pool},
};
use crate::mil::OpDef;

pub(super) static OP: Op = Op {
    def: OpDef { name: "max_pool", versions: VERSIONS, infer },
    kernel: |arguments| pool(arguments, |covered, _| covered.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("max_pool");
    }

    #[test]
    fn windows_must_fit() {
        let x = || ("x", testing::float32(&[1, 2, 3, 3]));
        let arguments = [x(), ("kernel_sizes", testing::ints(&[2])), ("pad_type", "valid".into())];
        testing::refuses("max_pool", Target::Ios15, &arguments, "parameter `kernel_sizes`: expected 2 values, found 1");
        let arguments = [x(), ("kernel_sizes", testing::ints(&[4, 2])), ("pad_type", "valid".into())];
        testing::refuses("max_pool", Target::Ios15, &arguments, "parameter `x`: a window of 4 does not fit into 3 \
             elements");
    }
}
