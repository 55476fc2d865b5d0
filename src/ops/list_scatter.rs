//! `list_scatter`: the list with the rows of `value` as its elements `indices`; a list grows where an index is behind
//! its end.
//!
//! `indices`: an int32 vector, one for each row. The same at every target.

use super::{
    Op,
    support::{
        lists::{INDICES, LIST, List, VALUE, expect_element},
        shapes::{expect_shape, rank_between},
    },
};
use crate::{
    base::Target,
    mil::{Call, InferError, OpDef, OpVersion, TensorType, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "list_scatter",
        versions: &[OpVersion { since: Target::Ios15, domains: &[], parameters: &[LIST, INDICES, VALUE] }],
        infer,
    },
    kernel: |arguments| {
        let places = arguments.tensor("indices")?.to_vec1::<i64>()?;
        List::of(arguments)?.written(&places, arguments.tensor("value")?)
    },
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "value", 1, 5)?;
    let value = call.tensor("value")?;
    expect_shape(call, "indices", &value.shape[..1])?;
    expect_element(call, &TensorType { dtype: value.dtype, shape: value.shape[1..].to_vec() })?;
    Ok(vec![call.value_type("ls")?.clone()])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn one_index_per_row() {
        let arguments = [("ls", testing::float32(&[2, 3])), ("indices", testing::int32(&[1])), ("value", testing::float32(&[2, 3]))];
        let why = "parameter `indices`: expected tensor<int32, [2]>, found tensor<int32, [1]>";
        testing::refuses("list_scatter", Target::Ios15, &arguments, why);
    }
}
