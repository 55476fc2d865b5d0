//! `list_length`: how many elements a list has, as an int32 scalar.
//!
//! The same at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        lists::{LIST, List, list_of},
        shapes::single,
    },
};
use crate::{
    base::Target,
    mil::{DataType, OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "list_length",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[LIST] }],
        infer: |call| {
            list_of(call)?;
            single(DataType::Int32, Vec::new())
        },
    },
    kernel: |arguments| Ok(vec![Tensor::new(List::of(arguments)?.length() as i64, &Device::Cpu)?]),
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn tensors_are_no_lists() {
        let why = "parameter `ls`: expected a list, found tensor<fp32, [2]>";
        testing::refuses("list_length", Target::Ios15, &[("ls", testing::float32(&[2]))], why);
    }
}
