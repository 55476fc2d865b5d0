//! `constexpr_cast` (iOS16): a float16 weight made float32.
//!
//! `output_dtype` can only be `fp32`. Its parameters are attributes before iOS18.

use super::{
    Op,
    support::{shapes::choice, types::text},
};
use crate::{
    base::Target,
    mil::{DataType, Domain, OpDef, OpVersion, Parameter},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "constexpr_cast",
        versions: &[OpVersion {
            since: Target::Ios16,
            domains: &[],
            parameters: &[Parameter::new("source_val", Domain::Of(&[DataType::Float16])).constant(), text("output_dtype")],
        }],
        infer: |call| {
            choice(call, "output_dtype", &["fp32"])?;
            Ok(vec![call.tensor("source_val")?.with_dtype(DataType::Float32).into()])
        },
    },
    kernel: |arguments| Ok(vec![arguments.tensor("source_val")?.clone()]),
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("constexpr_cast");
    }

    #[test]
    fn only_float32_can_be_made() {
        let arguments = [("source_val", testing::constant("fp16", &[1], &[0])), ("output_dtype", "int32".into())];
        let why = "parameter `output_dtype`: expected one of `fp32`, found `int32`";
        testing::refuses("constexpr_cast", Target::Ios16, &arguments, why);
    }
}
