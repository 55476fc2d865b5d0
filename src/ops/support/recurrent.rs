//! What recurrent layers share: a sequence walked step by step, gates as one matrix product, activations by name.

use candle_core::{Device, Tensor};

use super::{
    defaults,
    shapes::{choice, expect_shape, lengths, rank_between},
    types::{boolean, text, var},
};
use crate::{
    eval::{Arguments, KernelError, view},
    mil::{Call, Dimension, InferError, Parameter, TensorType, Value, ValueType},
};

/// The first state.
pub(in crate::ops) const INITIAL_H: Parameter = var("initial_h", 'T');
/// Weights of the input.
pub(in crate::ops) const WEIGHT_IH: Parameter = var("weight_ih", 'T').constant();
/// Weights of the state.
pub(in crate::ops) const WEIGHT_HH: Parameter = var("weight_hh", 'T').constant();
/// Sum of both biases.
pub(in crate::ops) const BIAS: Parameter = optional("bias");
/// `forward`, `reverse`, and where an operator knows it `bidirectional`.
pub(in crate::ops) const DIRECTION: Parameter = text("direction").default(|_| Some(Value::string("forward")));
/// Whether every step is a result, not the last one only.
pub(in crate::ops) const OUTPUT_SEQUENCE: Parameter = boolean("output_sequence").default(defaults::off);
/// Activation of gates.
pub(in crate::ops) const RECURRENT_ACTIVATION: Parameter =
    text("recurrent_activation").default(|_| Some(Value::string("sigmoid")));
/// Activation of the result.
pub(in crate::ops) const ACTIVATION: Parameter = text("activation").default(|_| Some(Value::string("tanh")));

/// A constant of the layer's element type that may be left out.
pub(in crate::ops) const fn optional(name: &'static str) -> Parameter {
    var(name, 'T').constant().optional()
}

/// The activation that a parameter names. Core ML runs them with its standard parameters, so `scaled_tanh` is `tanh`.
pub(in crate::ops) fn activation(call: &Call<'_>, name: &'static str) -> Result<fn(f32) -> f32, InferError> {
    let names = ["tanh", "scaled_tanh", "sigmoid", "hard_sigmoid", "sigmoid_hard", "relu", "linear"];
    Ok(match choice(call, name, &names)?.as_str() {
        "sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "hard_sigmoid" | "sigmoid_hard" => |x| (0.2 * x + 0.5).clamp(0.0, 1.0),
        "relu" => |x| x.max(0.0),
        "linear" => |x| x,
        _ => f32::tanh,
    })
}

/// Checks the weights of a layer of `gates` gates and gives the length of its state.
pub(in crate::ops) fn hidden_size(call: &Call<'_>, gates: u64, names: [&'static str; 3]) -> Result<u64, InferError> {
    rank_between(call, "x", 3, 3)?;
    let [input, hidden, bias] = names;
    let weight = call.tensor(hidden)?;
    let misfit = || InferError::rule(hidden, format!("expected [{gates} * h, h], found {weight}"));
    let shape = lengths(&weight.shape).filter(|shape| shape.len() == 2).ok_or_else(misfit)?;
    if shape[1] == 0 || shape[1].checked_mul(gates) != Some(shape[0]) {
        return Err(misfit());
    }
    let rows = Dimension::Known(shape[0]);
    expect_shape(call, input, &[rows, call.tensor("x")?.shape[2]])?;
    call.tensor(input)?;
    expect_shape(call, bias, &[rows])?;
    Ok(shape[1])
}

/// The types of the results: the sequence or its last step, then `states` states, each `length` long.
pub(in crate::ops) fn results(
    call: &Call<'_>,
    length: u64,
    states: &[&'static str],
) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let steps = if call.bool("output_sequence")? { x.shape[0] } else { Dimension::Known(1) };
    let state = vec![x.shape[1], Dimension::Known(length)];
    states.iter().try_for_each(|&name| expect_shape(call, name, &state))?;
    let mut types: Vec<ValueType> = vec![TensorType { dtype: x.dtype, shape: vec![steps, state[0], state[1]] }.into()];
    types.extend(states.iter().map(|_| ValueType::from(TensorType { dtype: x.dtype, shape: state.clone() })));
    Ok(types)
}

/// The order of steps: time turned round for `reverse`.
pub(in crate::ops) fn steps(count: usize, reverse: bool) -> Box<dyn Iterator<Item = usize>> {
    if reverse { Box::new((0..count).rev()) } else { Box::new(0..count) }
}

/// `x` [steps, batch, inputs] times the transposed `weight` plus `bias`: [steps, batch, rows of weight].
pub(in crate::ops) fn projected(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, KernelError> {
    let (steps, batch, inputs) = x.dims3()?;
    let product = x.contiguous()?.reshape((steps * batch, inputs))?.matmul(&weight.t()?)?;
    let product = match bias {
        Some(bias) => product.broadcast_add(bias)?,
        None => product,
    };
    Ok(product.reshape((steps, batch, ()))?)
}

/// The elements of a tensor.
pub(in crate::ops) fn elements(tensor: &Tensor) -> Result<Vec<f32>, KernelError> {
    Ok(view(tensor, <[f32]>::to_vec)?)
}

/// The sequence (or its last step) as the first result. `sequence` holds the states after every step.
pub(in crate::ops) fn sequence(
    arguments: &Arguments<'_>,
    sequence: &[Tensor],
    last: &Tensor,
) -> Result<Tensor, KernelError> {
    if arguments.call.bool("output_sequence")? {
        if sequence.is_empty() {
            let shape = [&[0], last.dims()].concat();
            return Ok(Tensor::zeros(shape, last.dtype(), &Device::Cpu)?);
        }
        return Ok(Tensor::stack(sequence, 0)?);
    }
    Ok(last.unsqueeze(0)?)
}
