//! `fill`: a tensor of `shape` with one `value` everywhere.
//!
//! `value`: float16, float32 (0 by default), int32 or bool, which the result is of; `shape` may be computed. The same
//! at every target.

use candle_core::{DType, Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        shapes::{ANY_RANK, UNKNOWN, single},
        types::{INT32, PLAIN, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "fill",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[
                Parameter::new("shape", Domain::Of(INT32)),
                var("value", 'T').constant().default(|call| defaults::float(call, "value", 0.0)),
            ],
        }],
        infer,
    },
    kernel: |arguments| Ok(vec![full(arguments, arguments.shape(0)?)?]),
};

/// The element type of `value`.
pub(super) fn dtype(call: &Call<'_>) -> DataType {
    call.tensor("value").map_or(DataType::Float32, |ty| ty.dtype)
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let shape = call.tensor("shape")?;
    if shape.rank() != 1 {
        return Err(InferError::rule("shape", format!("expected a vector, found {shape}")));
    }
    if call.known("shape").is_none() {
        let rank = shape.shape[0].known().map(|n| n as usize);
        return single(dtype(call), rank.map_or(vec![ANY_RANK], |rank| vec![UNKNOWN; rank]));
    }
    let lengths = call.ints("shape")?;
    let length = |&n: &i64| {
        u64::try_from(n).map(Dimension::Known).map_err(|_| InferError::rule("shape", format!("negative lengths in \
             {lengths:?}")))
    };
    single(dtype(call), lengths.iter().map(length).collect::<Result<_, _>>()?)
}

/// A tensor full of `value`.
pub(super) fn full(arguments: &Arguments<'_>, shape: Vec<usize>) -> Result<Tensor, KernelError> {
    let Some(value) = arguments.given("value") else { return Ok(Tensor::zeros(shape, DType::F32, &Device::Cpu)?) };
    Ok(value.broadcast_as(shape)?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("fill");
    }

    #[test]
    fn negative_lengths_are_refused() {
        let why = "parameter `shape`: negative lengths in [2, -1]";
        testing::refuses("fill", Target::Ios15, &[("shape", testing::ints(&[2, -1]))], why);
    }

    #[test]
    fn a_computed_shape_has_a_rank() {
        testing::accepts("fill", Target::Ios15, &[("shape", testing::int32(&[2]))], "tensor<fp32, [?, ?]>");
    }
}
