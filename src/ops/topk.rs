//! `topk`: the `k` largest elements along `axis` (smallest with `ascending`), sorted, and their int32 indices.
//!
//! iOS16: `sort` (an unsorted order is up to the device; here it is sorted) and `return_indices` (without it, one
//! result). iOS17: 8 and 16 bit elements and `k`; `output_indices_dtype` `int32` or `uint16`, which has no meaning
//! without indices.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        shapes::choice,
        sort::{indices, order},
        types::{INT32, NUMBER, SIZE, WIDE_NUMBER, X, boolean, int, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, Dimension, InferError, OpDef, OpVersion, Parameter, Value, ValueType},
};

const K: Parameter = var("k", 'K').constant().default(defaults::one);
const AXIS: Parameter = int("axis").default(defaults::last);
const ASCENDING: Parameter = boolean("ascending").default(defaults::off);
const SORT: Parameter = boolean("sort").default(defaults::on);
const RETURN_INDICES: Parameter = boolean("return_indices").default(defaults::on);
const DTYPE: Parameter =
    text("output_indices_dtype").default(|call| call.bool("return_indices").is_ok_and(|given| given).then(|| Value::string("int32")));

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "topk",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER), ('K', INT32)], parameters: &[X, K, AXIS, ASCENDING] },
            OpVersion {
                since: Target::Ios16,
                domains: &[('T', NUMBER), ('K', INT32)],
                parameters: &[X, K, AXIS, ASCENDING, SORT, RETURN_INDICES],
            },
            OpVersion {
                since: Target::Ios17,
                domains: &[('T', WIDE_NUMBER), ('K', SIZE)],
                parameters: &[X, K, AXIS, ASCENDING, SORT, RETURN_INDICES, DTYPE],
            },
        ],
        infer,
    },
    kernel,
};

fn has_indices(call: &Call<'_>) -> Result<bool, InferError> {
    if call.version().parameter("return_indices").is_some() { call.bool("return_indices") } else { Ok(true) }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let (axis, k) = (call.axis("axis", x.rank())?, call.int("k")?);
    let count = u64::try_from(k).ok().filter(|&k| k > 0 && x.shape[axis].known().is_none_or(|length| k <= length));
    let count = count.ok_or_else(|| InferError::rule("k", format!("expected 1 to {} elements, found {k}", x.shape[axis])))?;
    let mut values = x.clone();
    values.shape[axis] = Dimension::Known(count);
    if !has_indices(call)? {
        return Ok(vec![values.into()]);
    }
    let wide = call.version().parameter("output_indices_dtype").is_some();
    let narrow = wide && choice(call, "output_indices_dtype", &["int32", "uint16"])? == "uint16";
    let indices = values.with_dtype(if narrow { DataType::UInt16 } else { DataType::Int32 });
    Ok(vec![values.into(), indices.into()])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let x = arguments.tensor("x")?;
    let axis = arguments.call.axis("axis", x.rank())?;
    let sorted = order(x, axis, arguments.call.bool("ascending")?)?;
    let indices = indices(x, axis, arguments.shape(0)?[axis], &sorted)?;
    let values = x.contiguous()?.gather(&indices, axis)?;
    Ok(if has_indices(arguments.call)? { vec![values, indices] } else { vec![values] })
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("topk");
    }

    #[test]
    fn no_more_than_there_are() {
        let arguments = [("x", testing::float32(&[2, 3])), ("k", 4.into())];
        testing::refuses("topk", Target::Ios15, &arguments, "parameter `k`: expected 1 to 3 elements, found 4");
    }

    #[test]
    fn without_indices_there_is_one_result() {
        let arguments = [("x", testing::float32(&[2, 3])), ("return_indices", false.into())];
        testing::accepts("topk", Target::Ios17, &arguments, "tensor<fp32, [2, 1]>");
        testing::refuses("topk", Target::Ios15, &arguments, "`topk` has no parameter `return_indices` at iOS15");
    }
}
