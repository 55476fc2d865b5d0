//! `reshape_like` (iOS16): the same elements in a shape put together of lengths of other tensors: of each of
//! `ref_tensors` the dimensions `begins..ends`, or all from `begins` on where `end_masks` is set.
//!
//! `x`: any element type of iOS15; iOS17: 8 and 16 bit integers too. The reference tensors may be of any type.

use super::{
    Op,
    support::{
        shapes::{elements, reshaped, single},
        types::{BOOL, INT32, PLAIN, WIDE, X},
    },
};
use crate::{
    base::Target,
    mil::{Call, Dimension, Domain, InferError, Literal, OpDef, OpVersion, Parameter, TensorType, Value, ValueType},
};

const REFERENCES: Parameter = Parameter::new("ref_tensors", Domain::Any).variadic();
const BEGINS: Parameter = Parameter::new("begins", Domain::Of(INT32)).variadic();
const ENDS: Parameter = Parameter::new("ends", Domain::Of(INT32)).variadic();
const END_MASKS: Parameter = Parameter::new("end_masks", Domain::Of(BOOL)).variadic();
const PARAMETERS: &[Parameter] = &[X, REFERENCES, BEGINS, ENDS, END_MASKS];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "reshape_like",
        versions: &[
            OpVersion { since: Target::Ios16, domains: &[('T', PLAIN)], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel: |arguments| reshaped(arguments.tensor("x")?, &arguments.shape(0)?),
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, references) = (call.tensor("x")?, call.tensors("ref_tensors")?);
    let (begins, ends) = (numbers(call, "begins", references.len())?, numbers(call, "ends", references.len())?);
    let masks = numbers(call, "end_masks", references.len())?;
    let mut shape = Vec::new();
    for (i, reference) in references.into_iter().enumerate() {
        let end = if masks[i] != 0 { reference.rank() as i64 } else { ends[i] };
        shape.extend_from_slice(span(reference, begins[i], end));
    }
    match (elements(&x.shape), elements(&shape)) {
        (Some(has), Some(takes)) if has != takes => {
            let wanted = TensorType { dtype: x.dtype, shape };
            Err(InferError::rule("ref_tensors", format!("{wanted} does not hold the elements of {x}")))
        }
        _ => single(x.dtype, shape),
    }
}

/// Dimensions `begin..end`, counted from the end where negative and cut off at the rank, as Python slices.
fn span(reference: &TensorType, begin: i64, end: i64) -> &[Dimension] {
    let rank = reference.rank() as i64;
    let place = |i: i64| if i < 0 { i.saturating_add(rank).max(0) } else { i.min(rank) } as usize;
    reference.shape.get(place(begin)..place(end)).unwrap_or_default()
}

/// The known integer or boolean scalars of a parameter that has `count` of them.
fn numbers(call: &Call<'_>, name: &'static str, count: usize) -> Result<Vec<i64>, InferError> {
    let values = call.known_values(name)?;
    if values.len() != count {
        return Err(InferError::rule(name, format!("expected {count}, one for each of `ref_tensors`, found {}", values.len())));
    }
    let number = |value: &Value| match value.tensor().and_then(|recipe| recipe.as_literal()) {
        Some(Literal::Ints(values)) if values.len() == 1 => Ok(values[0]),
        Some(Literal::Bools(values)) if values.len() == 1 => Ok(i64::from(values[0])),
        _ => Err(InferError::rule(name, format!("expected scalars, found {}", value.value_type()))),
    };
    values.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, mil::Value, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("reshape_like");
    }

    fn arguments(begin: i32, end: i32) -> [(&'static str, testing::Given); 5] {
        let constant = |value: Value| testing::several(&[testing::Given::Constant(value.into())]);
        [
            ("x", testing::float32(&[6])),
            ("ref_tensors", testing::several(&[testing::float16(&[2, 3, 4])])),
            ("begins", constant(Value::int(begin))),
            ("ends", constant(Value::int(end))),
            ("end_masks", constant(Value::bool(false))),
        ]
    }

    #[test]
    fn shapes_are_taken_from_slices() {
        testing::accepts("reshape_like", Target::Ios16, &arguments(0, 2), "tensor<fp32, [2, 3]>");
        testing::accepts("reshape_like", Target::Ios16, &arguments(-3, -1), "tensor<fp32, [2, 3]>");
        let why = "parameter `ref_tensors`: tensor<fp32, [3, 4]> does not hold the elements of tensor<fp32, [6]>";
        testing::refuses("reshape_like", Target::Ios16, &arguments(1, 9), why);
        testing::refuses("reshape_like", Target::Ios15, &arguments(0, 2), "`reshape_like` needs iOS16; the program is \
             for iOS15");
    }
}
