//! `lstm`: long short-term memory. With the gates i, f, o and z stacked in this order in weights and biases:
//!
//! `i, f = act_r(W x + R h + b + p c)`, `z = act_c(W x + R h + b)`, `c = clip(f c + i z)`, `o = act_r(W x + R h + b + p
//! c)`, `h = o act(c)`.
//!
//! `x` [steps, batch, inputs], `initial_h` and `initial_c` [batch, d * h], weights [4h, inputs] and [4h, h], `bias`
//! [4h], `peephole` [3h] of i, f, o. Results: all states or the last one, the last one, the last memory.
//! `bidirectional` (d = 2) has weights `.._back` for the walk from the last step to the first, whose states stand
//! behind the others at their own step; `reverse` has its results in the order of its walk. float32; iOS17: float16.

use candle_core::{DType, Device, Tensor};

use super::{
    Op,
    support::{
        recurrent::{
            ACTIVATION, BIAS, DIRECTION, INITIAL_H, OUTPUT_SEQUENCE, RECURRENT_ACTIVATION, WEIGHT_HH, WEIGHT_IH, activation, elements,
            hidden_size, optional, projected, results, sequence, steps,
        },
        shapes::{choice, expect_shape},
        types::{FLOAT, X, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, DataType, Dimension, InferError, OpDef, OpVersion, Parameter, Value, ValueType},
};

const PARAMETERS: &[Parameter] = &[
    X,
    INITIAL_H,
    var("initial_c", 'T'),
    WEIGHT_IH,
    WEIGHT_HH,
    BIAS,
    optional("peephole"),
    optional("weight_ih_back"),
    optional("weight_hh_back"),
    optional("bias_back"),
    optional("peephole_back"),
    DIRECTION,
    OUTPUT_SEQUENCE,
    RECURRENT_ACTIVATION,
    text("cell_activation").default(|_| Some(Value::string("tanh"))),
    ACTIVATION,
    optional("clip"),
];
const FORWARD: [&str; 4] = ["weight_ih", "weight_hh", "bias", "peephole"];
const BACK: [&str; 4] = ["weight_ih_back", "weight_hh_back", "bias_back", "peephole_back"];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "lstm",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', &[DataType::Float32])], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', FLOAT)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let direction = choice(call, "direction", &["forward", "reverse", "bidirectional"])?;
    for name in ["activation", "recurrent_activation", "cell_activation"] {
        activation(call, name)?;
    }
    let length = hidden_size(call, 4, [FORWARD[0], FORWARD[1], FORWARD[2]])?;
    expect_shape(call, FORWARD[3], &[Dimension::Known(3 * length)])?;
    if direction != "bidirectional" {
        return results(call, length, &["initial_h", "initial_c"]);
    }
    let back = hidden_size(call, 4, [BACK[0], BACK[1], BACK[2]])?;
    if back != length {
        return Err(InferError::rule("weight_hh_back", format!("expected {length} states as forwards, found {back}")));
    }
    expect_shape(call, BACK[3], &[Dimension::Known(3 * length)])?;
    results(call, 2 * length, &["initial_h", "initial_c"])
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let direction = arguments.call.text("direction")?;
    let (h, c) = (arguments.tensor("initial_h")?, arguments.tensor("initial_c")?);
    if direction != "bidirectional" {
        let (states, h, c) = walk(arguments, FORWARD, h, c, direction == "reverse")?;
        return Ok(vec![sequence(arguments, &states, &h)?, h, c]);
    }
    let length = h.dims()[1] / 2;
    let half = |tensor: &Tensor, i: usize| tensor.narrow(1, i * length, length)?.contiguous();
    let (forward, h_f, c_f) = walk(arguments, FORWARD, &half(h, 0)?, &half(c, 0)?, false)?;
    let (mut back, h_b, c_b) = walk(arguments, BACK, &half(h, 1)?, &half(c, 1)?, true)?;
    // At their own step, not in the order of the walk.
    back.reverse();
    let join = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], a.rank() - 1);
    let first = join(&sequence(arguments, &forward, &h_f)?, &sequence(arguments, &back, &h_b)?)?;
    Ok(vec![first, join(&h_f, &h_b)?, join(&c_f, &c_b)?])
}

/// All states in the order of the walk, the last one, and the last memory.
fn walk(
    arguments: &Arguments<'_>,
    names: [&'static str; 4],
    h: &Tensor,
    c: &Tensor,
    reverse: bool,
) -> Result<(Vec<Tensor>, Tensor, Tensor), KernelError> {
    let (x, call) = (arguments.tensor("x")?, arguments.call);
    let inputs = projected(x, arguments.tensor(names[0])?, arguments.given(names[2]))?;
    let (batch, length) = h.dims2()?;
    let cell = Cell {
        weight: arguments.tensor(names[1])?.t()?,
        peephole: arguments.given(names[3]).map(elements).transpose()?.unwrap_or_else(|| vec![0.0; 3 * length]),
        gate: activation(call, "recurrent_activation")?,
        memory: activation(call, "cell_activation")?,
        output: activation(call, "activation")?,
        clip: if call.has("clip") { call.number("clip")?.abs() as f32 } else { f32::INFINITY },
    };
    let (mut h, mut memory) = (h.to_dtype(DType::F32)?, elements(c)?);
    let mut states = Vec::new();
    for step in steps(x.dims()[0], reverse) {
        h = cell.step(&inputs.get(step)?, &h, &mut memory)?;
        states.push(h.clone());
    }
    Ok((states, h, Tensor::from_vec(memory, (batch, length), &Device::Cpu)?))
}

struct Cell {
    weight: Tensor,
    peephole: Vec<f32>,
    gate: fn(f32) -> f32,
    memory: fn(f32) -> f32,
    output: fn(f32) -> f32,
    clip: f32,
}

impl Cell {
    /// The state after a step; `input` [batch, 4h] is the product of the input's weights, with the bias.
    fn step(&self, input: &Tensor, h: &Tensor, memory: &mut [f32]) -> Result<Tensor, KernelError> {
        let (batch, length) = h.dims2()?;
        let gates = elements(&(input + h.matmul(&self.weight)?)?)?;
        let mut next = vec![0.0; batch * length];
        for (row, gates) in gates.chunks(4 * length).enumerate() {
            for i in 0..length {
                let c = &mut memory[row * length + i];
                let gate = |index: usize, c: f32| (self.gate)(gates[index * length + i] + self.peephole[index * length + i] * c);
                let (input, forget) = (gate(0, *c), gate(1, *c));
                *c = (forget * *c + input * (self.memory)(gates[3 * length + i])).clamp(-self.clip, self.clip);
                next[row * length + i] = gate(2, *c) * (self.output)(*c);
            }
        }
        Ok(Tensor::from_vec(next, (batch, length), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("lstm");
    }

    #[test]
    fn both_directions_need_weights() {
        let arguments = [
            ("x", testing::float32(&[5, 1, 3])),
            ("initial_h", testing::float32(&[1, 4])),
            ("initial_c", testing::float32(&[1, 4])),
            ("weight_ih", testing::constant_zeros(&[8, 3])),
            ("weight_hh", testing::constant_zeros(&[8, 2])),
            ("direction", "bidirectional".into()),
        ];
        testing::refuses("lstm", Target::Ios15, &arguments, "required parameter `weight_hh_back` is missing");
        testing::refuses(
            "lstm",
            Target::Ios15,
            &arguments[..5],
            "parameter `initial_h`: expected tensor<fp32, [1, 2]>, found tensor<fp32, [1, 4]>",
        );
    }

    #[test]
    fn other_activations_are_refused() {
        let arguments = [
            ("x", testing::float32(&[5, 1, 3])),
            ("initial_h", testing::float32(&[1, 2])),
            ("initial_c", testing::float32(&[1, 2])),
            ("weight_ih", testing::constant_zeros(&[8, 3])),
            ("weight_hh", testing::constant_zeros(&[8, 2])),
            ("activation", "gelu".into()),
        ];
        let why = "parameter `activation`: expected one of `tanh`, `scaled_tanh`, `sigmoid`, `hard_sigmoid`, \
             `sigmoid_hard`, `relu`, `linear`, \
                   found `gelu`";
        testing::refuses("lstm", Target::Ios15, &arguments, why);
    }
}
