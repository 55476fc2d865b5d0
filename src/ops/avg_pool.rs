//! `avg_pool`: the mean of every window; padding counts as 0 unless `exclude_padding_from_average`.
//!
//! `x` [n, c, spatial..] with 1 to 3 spatial dimensions, float16 or float32. `pad` counts only with `pad_type`
//! `custom`; `ceil_mode` lets the last window stand over the end. iOS16: `pad_type` `same_lower`.

use super::{
    Op,
    support::pool::{AVERAGE_VERSIONS, infer, pool},
};
use crate::mil::OpDef;

pub(super) static OP: Op = Op {
    def: OpDef { name: "avg_pool", versions: AVERAGE_VERSIONS, infer },
    kernel: |arguments| {
        let exclude = arguments.call.bool("exclude_padding_from_average")?;
        pool(arguments, |covered, padded| {
            let count = if exclude { covered.len() } else { padded };
            (covered.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64) as f32
        })
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("avg_pool");
    }

    #[test]
    fn windows_must_fit() {
        let x = || ("x", testing::float32(&[1, 2, 3, 3]));
        let arguments = [x(), ("kernel_sizes", testing::ints(&[2])), ("pad_type", "valid".into())];
        testing::refuses("avg_pool", Target::Ios15, &arguments, "parameter `kernel_sizes`: expected 2 values, found 1");
        let arguments = [x(), ("kernel_sizes", testing::ints(&[4, 2])), ("pad_type", "valid".into())];
        testing::refuses("avg_pool", Target::Ios15, &arguments, "parameter `x`: a window of 4 does not fit into 3 \
             elements");
    }
}
