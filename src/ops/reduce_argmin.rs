//! `reduce_argmin`: the index of the first smallest element along `axis`, which stays as length 1 with `keep_dims`.
//!
//! `x`: float16, float32 or int32; the result is int32. iOS17: `output_dtype` may be `uint16`.

use super::{
    Op,
    support::{
        argument::{VERSIONS, infer},
        shapes::reshaped,
        sort::extreme,
    },
};
use crate::mil::OpDef;

pub(super) static OP: Op = Op {
    def: OpDef { name: "reduce_argmin", versions: VERSIONS, infer },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let indices = extreme(x, arguments.call.axis("axis", x.rank())?, false)?;
        reshaped(&indices, &arguments.shape(0)?)
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reduce_argmin");
    }

    #[test]
    fn the_type_of_indices_is_free_from_ios17() {
        let arguments = [("x", testing::float32(&[2, 3])), ("output_dtype", "uint16".into())];
        testing::accepts("reduce_argmin", Target::Ios17, &arguments, "tensor<uint16, [2]>");
        testing::refuses("reduce_argmin", Target::Ios16, &arguments, "`reduce_argmin` has no parameter `output_dtype` \
             at iOS16");
    }
}
