//! `rnn`: a recurrent layer: `h = activation(W_ih x + W_hh h + b)`, step by step.
//!
//! `x` [steps, batch, inputs], `initial_h` [batch, h], weights [h, inputs] and [h, h], `bias` [h]. Results: all states
//! (`output_sequence`) or the last one, and the last one again; `reverse` walks from the last step to the first, and
//! the results stand in that order. float32; iOS17: float16.

use candle_core::{DType, Tensor};

use super::{
    Op,
    support::{
        recurrent::{
            ACTIVATION, BIAS, DIRECTION, INITIAL_H, OUTPUT_SEQUENCE, WEIGHT_HH, WEIGHT_IH, activation, hidden_size, projected, results,
            sequence, steps,
        },
        shapes::choice,
        types::{FLOAT, X},
        unary::map_elements,
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const PARAMETERS: &[Parameter] = &[X, INITIAL_H, WEIGHT_IH, WEIGHT_HH, BIAS, DIRECTION, OUTPUT_SEQUENCE, ACTIVATION];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "rnn",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', &[DataType::Float32])], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', FLOAT)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    choice(call, "direction", &["forward", "reverse"])?;
    activation(call, "activation")?;
    let length = hidden_size(call, 1, ["weight_ih", "weight_hh", "bias"])?;
    results(call, length, &["initial_h"])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, weight) = (arguments.tensor("x")?, arguments.tensor("weight_hh")?.t()?);
    let act = activation(arguments.call, "activation")?;
    let inputs = projected(x, arguments.tensor("weight_ih")?, arguments.given("bias"))?;
    let mut h = arguments.tensor("initial_h")?.to_dtype(DType::F32)?;
    let mut states = Vec::new();
    for step in steps(x.dims()[0], arguments.call.text("direction")? == "reverse") {
        h = map_elements(&(inputs.get(step)? + h.matmul(&weight)?)?, act)?;
        states.push(h.clone());
    }
    Ok(vec![sequence(arguments, &states, &h)?, h])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("rnn");
    }

    #[test]
    fn weights_must_fit() {
        let arguments = [
            ("x", testing::float32(&[5, 1, 3])),
            ("initial_h", testing::float32(&[1, 2])),
            ("weight_ih", testing::constant_zeros(&[2, 4])),
            ("weight_hh", testing::constant_zeros(&[2, 2])),
        ];
        let why = "parameter `weight_ih`: expected tensor<fp32, [2, 3]>, found tensor<fp32, [2, 4]>";
        testing::refuses("rnn", Target::Ios15, &arguments, why);
    }
}
