//! `scatter_along_axis`: elements of `updates` put into `data` at `indices` of their shape, along `axis`.
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
        name: "scatter_along_axis",
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
    let mut shape = data.shape.clone();
    let axis = call.axis("axis", data.rank())?;
    if indices.rank() == data.rank() {
        shape[axis] = indices.shape[axis];
    }
    expect_shape(call, "indices", &shape)?;
    expect_shape(call, "updates", &indices.shape)?;
    Ok(vec![data.clone().into()])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (data, indices) = (arguments.tensor("data")?, arguments.tensor("indices")?);
    let axis = arguments.call.axis("axis", data.rank())?;
    let (length, picked) = (data.dims()[axis], indices.dims()[axis]);
    let indices = positions("indices", indices, length)?;
    let inner: usize = data.dims()[axis + 1..].iter().product();
    scattered(arguments, |i| (i / (picked * inner) * length + indices[i]) * inner + i % inner)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("scatter_along_axis");
    }

    #[test]
    fn indices_have_the_shape_of_updates() {
        let arguments = [("data", testing::float32(&[4, 3])), ("indices", testing::int32(&[2, 3])), ("updates", testing::float32(&[1, 3]))];
        let why = "parameter `updates`: expected tensor<fp32, [2, 3]>, found tensor<fp32, [1, 3]>";
        testing::refuses("scatter_along_axis", Target::Ios15, &arguments, why);
    }
}
