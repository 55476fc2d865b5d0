//! `scatter_nd`: slices of `updates` put into `data` at the places that the last dimension of `indices` names.
//!
//! `data`, `updates`: float16, float32 or int32; `indices`: int32. `mode`: `add` (the default), `sub`, `mul`, `div`,
//! `max`, `min` or `update`; updates of one place come one after the other. iOS17: `validate_indices`.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        indexing::position,
        scatter::{MODE, VALIDATE, check_mode, scattered},
        shapes::expect_shape,
        types::{INT32, NUMBER, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, Domain, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const DATA: Parameter = var("data", 'T');
const INDICES: Parameter = Parameter::new("indices", Domain::Of(INT32));
const UPDATES: Parameter = var("updates", 'T');

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "scatter_nd",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[DATA, INDICES, UPDATES, MODE] },
            OpVersion { since: Target::Ios17, domains: &[('T', NUMBER)], parameters: &[DATA, INDICES, UPDATES, MODE, VALIDATE] },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    check_mode(call)?;
    let (data, indices) = (call.tensor("data")?, call.tensor("indices")?);
    let depth = indices.shape.last().and_then(|d| d.known()).filter(|&n| n <= data.rank() as u64);
    let depth = depth.ok_or_else(|| InferError::rule("indices", format!("{indices} does not name places of {data}")))? as usize;
    expect_shape(call, "updates", &[&indices.shape[..indices.rank() - 1], &data.shape[depth..]].concat())?;
    Ok(vec![data.clone().into()])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (data, indices) = (arguments.tensor("data")?, arguments.tensor("indices")?);
    let depth = indices.dims()[indices.rank() - 1];
    let inner: usize = data.dims()[depth..].iter().product();
    let place = |indices: &[i64]| {
        let axes = indices.iter().zip(data.dims());
        axes.clone().try_fold(0, |place, (&index, &length)| Ok::<_, KernelError>(place * length + position("indices", index, length)?))
    };
    let places: Vec<usize> = view(indices, |indices: &[i64]| indices.chunks(depth.max(1)).map(place).collect::<Result<_, _>>())??;
    scattered(arguments, |i| places[i / inner.max(1)] * inner + i % inner.max(1))
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("scatter_nd");
    }

    #[test]
    fn places_are_not_deeper_than_the_data() {
        let arguments = [("data", testing::float32(&[4])), ("indices", testing::int32(&[2, 2])), ("updates", testing::float32(&[2]))];
        let why = "parameter `indices`: tensor<int32, [2, 2]> does not name places of tensor<fp32, [4]>";
        testing::refuses("scatter_nd", Target::Ios15, &arguments, why);
    }
}
