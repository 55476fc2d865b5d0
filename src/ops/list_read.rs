//! `list_read`: element `index` of a list. One that has no numbers yet is an error.
//!
//! The same at every target.

use super::{
    Op,
    support::{
        indexing::position,
        lists::{INDEX, LIST, List, list_of},
    },
};
use crate::{
    base::Target,
    mil::{OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "list_read",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[LIST, INDEX] }],
        infer: |call| Ok(vec![list_of(call)?.0.clone().into()]),
    },
    kernel: |arguments| {
        let list = List::of(arguments)?;
        let place = position("index", arguments.call.int("index")?, list.length())?;
        list.expect_readable(&[place])?;
        Ok(vec![list.elements.get(place)?.contiguous()?])
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn tensors_are_no_lists() {
        let arguments = [("ls", testing::float32(&[2, 3])), ("index", 0.into())];
        testing::refuses("list_read", Target::Ios15, &arguments, "parameter `ls`: expected a list, found tensor<fp32, \
             [2, 3]>");
    }
}
