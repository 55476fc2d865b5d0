//! Operators that give the index of an extreme element.

use super::{
    defaults,
    reduce::reduced,
    shapes::{choice, single},
    types::{NUMBER, X, boolean, int, text},
};
use crate::{
    base::Target,
    mil::{Call, DataType, InferError, OpVersion, Parameter, Value, ValueType},
};

const AXIS: Parameter = int("axis").default(defaults::last);
const KEEP_DIMS: Parameter = boolean("keep_dims").default(defaults::off);
const OUTPUT_DTYPE: Parameter = text("output_dtype").default(|_| Some(Value::string("int32")));

/// iOS17 has `output_dtype`.
pub(in crate::ops) const VERSIONS: &[OpVersion] = &[
    OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[X, AXIS, KEEP_DIMS] },
    OpVersion { since: Target::Ios17, domains: &[('T', NUMBER)], parameters: &[X, AXIS, KEEP_DIMS, OUTPUT_DTYPE] },
];

/// The shape without `axis`, of indices.
pub(in crate::ops) fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let free = call.version().parameter("output_dtype").is_some();
    let narrow = free && choice(call, "output_dtype", &["int32", "uint16"])? == "uint16";
    let shape = reduced(&x.shape, &[call.axis("axis", x.rank())?], call.bool("keep_dims")?);
    single(if narrow { DataType::UInt16 } else { DataType::Int32 }, shape)
}
