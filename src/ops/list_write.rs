//! `list_write`: the list with `value` as its element `index`; a list grows where the index is behind its end.
//!
//! `value`: any element type of iOS15, of the list's element type. The same at every target.

use super::{
    Op,
    support::lists::{INDEX, LIST, List, VALUE, expect_element, list_of},
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "list_write",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[LIST, INDEX, VALUE] }],
        infer: |call| {
            list_of(call)?;
            expect_element(call, call.tensor("value")?)?;
            Ok(vec![call.value_type("ls")?.clone()])
        },
    },
    kernel: |arguments| {
        let value = arguments.tensor("value")?.unsqueeze(0)?;
        List::of(arguments)?.written(&[arguments.call.int("index")?], &value)
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn tensors_are_no_lists() {
        let arguments = [("ls", testing::float32(&[2, 3])), ("index", 0.into()), ("value", testing::float32(&[3]))];
        testing::refuses("list_write", Target::Ios15, &arguments, "parameter `ls`: expected a list, found tensor<fp32, \
             [2, 3]>");
    }
}
