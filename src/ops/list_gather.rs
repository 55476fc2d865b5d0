//! `list_gather`: the elements `indices` of a list, one behind the other along a new first dimension. Elements that
//! have no numbers yet are an error.
//!
//! `indices`: an int32 vector. The same at every target.

use super::{
    Op,
    support::{
        indexing::positions,
        lists::{INDICES, LIST, List, list_of},
        sampling::selected,
        shapes::{rank_between, single},
    },
};
use crate::{
    base::Target,
    mil::{Call, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef { name: "list_gather", versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[LIST, INDICES] }], infer },
    kernel: |arguments| {
        let list = List::of(arguments)?;
        let places = positions("indices", arguments.tensor("indices")?, list.length())?;
        list.expect_readable(&places)?;
        Ok(vec![selected(list.elements, 0, &places)?])
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "indices", 1, 1)?;
    let element = list_of(call)?.0;
    single(element.dtype, [&call.tensor("indices")?.shape[..1], &element.shape].concat())
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn indices_are_a_vector() {
        let arguments = [("ls", testing::float32(&[2, 3])), ("indices", testing::int32(&[1, 1]))];
        testing::refuses("list_gather", Target::Ios15, &arguments, "parameter `indices`: expected rank 1, found tensor<int32, [1, 1]>");
    }
}
