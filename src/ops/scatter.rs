//! `scatter`: slices of `updates` put into `data` at `indices` along `axis`.
//!
//! `data`, `updates`: float16, float32 or int32; `indices`: int32. `mode`: `add` (the default), `sub`, `mul`, `div`,
//! `max`, `min` or `update`; updates of one place come one after the other. iOS17: `validate_indices`.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        indexing::positions,
        scatter::{AXIS, MODE, VALIDATE, check_mode, scattered},
        shapes::expect_shape,
        types::{INT32, NUMBER, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const DATA: Parameter = var("data", 'T');
const INDICES: Parameter = Parameter::new("indices", Domain::Of(INT32));
const UPDATES: Parameter = var("updates", 'T');

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "scatter",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[DATA, INDICES, UPDATES, AXIS, MODE] },
            OpVersion { since: Target::Ios17, domains: &[('T', NUMBER)], parameters: &[DATA, INDICES, UPDATES, AXIS, MODE, VALIDATE] },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    check_mode(call)?;
    let (data, indices) = (call.tensor("data")?, call.tensor("indices")?);
    let axis = call.axis("axis", data.rank())?;
    expect_shape(call, "updates", &[&data.shape[..axis], &indices.shape, &data.shape[axis + 1..]].concat())?;
    Ok(vec![data.clone().into()])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let data = arguments.tensor("data")?;
    let axis = arguments.call.axis("axis", data.rank())?;
    let length = data.dims()[axis];
    let indices = positions("indices", arguments.tensor("indices")?, length)?;
    let inner: usize = data.dims()[axis + 1..].iter().product();
    scattered(arguments, |i| {
        let (outer, rest) = (i / (indices.len() * inner), i % (indices.len() * inner));
        (outer * length + indices[rest / inner]) * inner + rest % inner
    })
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("scatter");
    }

    #[test]
    fn updates_have_the_shape_of_what_they_meet() {
        let arguments = [("data", testing::float32(&[4, 3])), ("indices", testing::int32(&[2])), ("updates", testing::float32(&[2, 2]))];
        let why = "parameter `updates`: expected tensor<fp32, [2, 3]>, found tensor<fp32, [2, 2]>";
        testing::refuses("scatter", Target::Ios15, &arguments, why);
    }
}
