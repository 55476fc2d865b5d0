//! `range_1d`: the numbers from `start` on in steps of `step`, `end` excluded.
//!
//! Three scalars of one type of float16, float32, int32, which may be computed (the length is unknown then). The same
//! at every target.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        shapes::{UNKNOWN, rank_between, single},
        types::{NUMBER, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, Dimension, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "range_1d",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', NUMBER)],
            parameters: &[var("end", 'T'), var("start", 'T'), var("step", 'T')],
        }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    for name in ["end", "start", "step"] {
        rank_between(call, name, 0, 0)?;
    }
    let dtype = call.tensor("end")?.dtype;
    if ["end", "start", "step"].iter().any(|name| call.known(name).is_none()) {
        return single(dtype, vec![UNKNOWN]);
    }
    let (start, end, step) = (call.number("start")?, call.number("end")?, call.number("step")?);
    let count = ((end - start) / step).ceil();
    if !count.is_finite() || count > f64::from(i32::MAX) {
        return Err(InferError::rule("step", format!("steps of {step} from {start} never come to {end}")));
    }
    single(dtype, vec![Dimension::Known(count.max(0.0) as u64)])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let count = arguments.shape(0)?[0];
    let (start, step) = (arguments.call.number("start")?, arguments.call.number("step")?);
    let values: Vec<f64> = (0..count).map(|i| start + i as f64 * step).collect();
    Ok(vec![Tensor::from_vec(values, count, &Device::Cpu)?.to_dtype(arguments.tensor("start")?.dtype())?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("range_1d");
    }

    #[test]
    fn a_step_of_zero_is_refused() {
        let arguments = [("end", 4.into()), ("start", 0.into()), ("step", 0.into())];
        testing::refuses("range_1d", Target::Ios15, &arguments, "parameter `step`: steps of 0 from 0 never come to 4");
    }

    #[test]
    fn computed_ends_give_an_unknown_length() {
        let arguments = [("end", testing::int32(&[])), ("start", 0.into()), ("step", 1.into())];
        testing::accepts("range_1d", Target::Ios15, &arguments, "tensor<int32, [?]>");
    }
}
