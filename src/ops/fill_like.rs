//! `fill_like` (iOS16): a tensor of the shape of `ref_tensor` with one `value` everywhere.
//!
//! `value`: float16, float32 (0 by default), int32 or bool, which the result is of.

use super::{
    Op,
    fill::{dtype, full},
    support::{
        defaults,
        types::{PLAIN, var},
    },
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "fill_like",
        versions: &[OpVersion {
            since: Target::Ios16,
            domains: &[('T', PLAIN), ('U', PLAIN)],
            parameters: &[var("ref_tensor", 'T'), var("value", 'U').constant().default(|call| defaults::float(call, "value", 0.0))],
        }],
        infer: |call| Ok(vec![call.tensor("ref_tensor")?.with_dtype(dtype(call)).into()]),
    },
    kernel: |arguments| Ok(vec![full(arguments, arguments.tensor("ref_tensor")?.dims().to_vec())?]),
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("fill_like");
    }

    #[test]
    fn it_is_new_at_ios16() {
        let arguments = [("ref_tensor", testing::float32(&[2]))];
        testing::refuses("fill_like", Target::Ios15, &arguments, "`fill_like` needs iOS16; the program is for iOS15");
        testing::accepts("fill_like", Target::Ios16, &arguments, "tensor<fp32, [2]>");
    }
}
