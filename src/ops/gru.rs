//! `gru`: gated recurrent units. With the gates r, o and z stacked in this order in weights and biases:
//!
//! `r = act_r(W_r x + R_r h + b_r)`, `z = act_r(W_z x + R_z h + b_z)`, `o = act(W_o x + R_o (r h) + b_o)`, `h = (1 - z)
//! o + z h`.
//!
//! `x` [steps, batch, inputs], `initial_h` [batch, h], weights [3h, inputs] and [3h, h], `bias` [3h]. Results,
//! directions and types as in `rnn`. iOS18: `input_bias` is added to the input's product (`bias` belongs to the state's
//! then), and with `reset_after` r scales the product `R_o h + b_o`, as PyTorch's layer does.

use candle_core::{DType, Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        recurrent::{
            ACTIVATION, BIAS, DIRECTION, INITIAL_H, OUTPUT_SEQUENCE, RECURRENT_ACTIVATION, WEIGHT_HH, WEIGHT_IH, activation, elements,
            hidden_size, optional, projected, results, sequence, steps,
        },
        shapes::{choice, expect_shape},
        types::{FLOAT, X, boolean},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, Dimension, InferError, OpDef, OpVersion, Parameter, ValueType},
};

const PARAMETERS: &[Parameter] = &[X, INITIAL_H, WEIGHT_IH, WEIGHT_HH, BIAS, DIRECTION, OUTPUT_SEQUENCE, RECURRENT_ACTIVATION, ACTIVATION];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "gru",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', &[DataType::Float32])], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', FLOAT)], parameters: PARAMETERS },
            OpVersion {
                since: Target::Ios18,
                domains: &[('T', FLOAT)],
                parameters: &[
                    X,
                    INITIAL_H,
                    WEIGHT_IH,
                    WEIGHT_HH,
                    BIAS,
                    DIRECTION,
                    OUTPUT_SEQUENCE,
                    RECURRENT_ACTIVATION,
                    ACTIVATION,
                    boolean("reset_after").default(defaults::off),
                    optional("input_bias"),
                ],
            },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    choice(call, "direction", &["forward", "reverse"])?;
    activation(call, "activation")?;
    activation(call, "recurrent_activation")?;
    let length = hidden_size(call, 3, ["weight_ih", "weight_hh", "bias"])?;
    expect_shape(call, "input_bias", &[Dimension::Known(3 * length)])?;
    results(call, length, &["initial_h"])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, call) = (arguments.tensor("x")?, arguments.call);
    let inputs = projected(x, arguments.tensor("weight_ih")?, arguments.given("input_bias"))?;
    let mut h = arguments.tensor("initial_h")?.to_dtype(DType::F32)?;
    let cell = Cell {
        weight: arguments.tensor("weight_hh")?,
        bias: arguments.given("bias").map(elements).transpose()?.unwrap_or_else(|| vec![0.0; 3 * h.dims()[1]]),
        gate: activation(call, "recurrent_activation")?,
        output: activation(call, "activation")?,
        reset_after: call.version().parameter("reset_after").is_some() && call.bool("reset_after")?,
    };
    let mut states = Vec::new();
    for step in steps(x.dims()[0], call.text("direction")? == "reverse") {
        h = cell.step(&inputs.get(step)?, &h)?;
        states.push(h.clone());
    }
    Ok(vec![sequence(arguments, &states, &h)?, h])
}

struct Cell<'a> {
    weight: &'a Tensor,
    bias: Vec<f32>,
    gate: fn(f32) -> f32,
    output: fn(f32) -> f32,
    reset_after: bool,
}

impl Cell<'_> {
    /// The state after a step; `input` [batch, 3h] is the product of the input's weights.
    fn step(&self, input: &Tensor, h: &Tensor) -> Result<Tensor, KernelError> {
        let (batch, length) = h.dims2()?;
        let (x, state) = (elements(input)?, elements(h)?);
        let product = elements(&h.matmul(&self.weight.t()?)?)?;
        let at = |row: usize, gate: usize, i: usize| row * 3 * length + gate * length + i;
        let gate = |gate: usize| -> Vec<f32> {
            let all = (0..batch).flat_map(|row| (0..length).map(move |i| (row, i)));
            all.map(|(row, i)| (self.gate)(x[at(row, gate, i)] + product[at(row, gate, i)] + self.bias[gate * length + i])).collect()
        };
        let (reset, update) = (gate(0), gate(2));
        let inner = if self.reset_after {
            (0..batch * length).map(|k| reset[k] * (product[at(k / length, 1, k % length)] + self.bias[length + k % length])).collect()
        } else {
            let scaled: Vec<f32> = reset.iter().zip(&state).map(|(r, h)| r * h).collect();
            let scaled = Tensor::from_vec(scaled, (batch, length), &Device::Cpu)?;
            let inner = elements(&scaled.matmul(&self.weight.narrow(0, length, length)?.t()?)?)?;
            inner.into_iter().enumerate().map(|(k, value)| value + self.bias[length + k % length]).collect::<Vec<f32>>()
        };
        let next = (0..batch * length).map(|k| {
            let output = (self.output)(x[at(k / length, 1, k % length)] + inner[k]);
            (1.0 - update[k]) * output + update[k] * state[k]
        });
        Ok(Tensor::from_vec(next.collect::<Vec<f32>>(), (batch, length), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("gru");
    }

    #[test]
    fn three_gates_are_needed() {
        let arguments = [
            ("x", testing::float32(&[5, 1, 3])),
            ("initial_h", testing::float32(&[1, 2])),
            ("weight_ih", testing::constant_zeros(&[6, 3])),
            ("weight_hh", testing::constant_zeros(&[4, 2])),
        ];
        let why = "parameter `weight_hh`: expected [3 * h, h], found tensor<fp32, [4, 2]>";
        testing::refuses("gru", Target::Ios15, &arguments, why);
    }
}
