//! `concat`: tensors one behind the other along `axis`; with `interleave` their slices take turns.
//!
//! `values`: several tensors of one element type whose other dimensions agree; scalars make a vector, whatever `axis`
//! is. iOS17: 8 and 16 bit integers too.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        defaults,
        shapes::{UNKNOWN, single},
        types::{PLAIN, WIDE, boolean, int, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

const PARAMETERS: &[Parameter] = &[var("values", 'T').variadic(), int("axis"), boolean("interleave").default(defaults::off)];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "concat",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN)], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// Tensors one behind the other.
    ///
    /// # Errors
    /// When their types or other dimensions differ.
    pub fn concat(&mut self, name: &str, values: &[Var], axis: i32) -> Result<Var, BuildError> {
        self.op1("concat", name, &[("values", values.to_vec().into()), ("axis", axis.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let values = call.tensors("values")?;
    let first = values[0];
    if values.iter().all(|value| value.rank() == 0) {
        return single(first.dtype, vec![Dimension::Known(values.len() as u64)]);
    }
    let axis = call.axis("axis", first.rank())?;
    let mut shape = first.shape.clone();
    let mut length = Some(0u64);
    for value in &values {
        if value.rank() != first.rank() {
            return Err(InferError::rule("values", format!("{value} and {first} have different ranks")));
        }
        length = length.zip(value.shape[axis].known()).and_then(|(a, b)| a.checked_add(b));
        for (i, (known, &other)) in shape.iter_mut().zip(&value.shape).enumerate().filter(|(i, _)| *i != axis) {
            if !known.agrees(other) {
                return Err(InferError::rule("values", format!("{value} and {first} differ in dimension {i}")));
            }
            if matches!(known, Dimension::Unknown { .. }) {
                *known = other;
            }
        }
        if call.bool("interleave")? && value.shape[axis] != first.shape[axis] {
            return Err(InferError::rule("values", format!("interleaved tensors must be equally long, found {value} and \
                 {first}")));
        }
    }
    shape[axis] = length.map_or(UNKNOWN, Dimension::Known);
    single(first.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (values, shape) = (arguments.tensors("values")?, arguments.shape(0)?);
    if values.iter().all(|value| value.rank() == 0) {
        return Ok(vec![Tensor::stack(values, 0)?]);
    }
    let axis = arguments.call.axis("axis", shape.len())?;
    let result =
        if arguments.call.bool("interleave")? { Tensor::stack(values, axis + 1)?.reshape(shape)? } else { Tensor::cat(values, axis)? };
    Ok(vec![result])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("concat");
    }

    #[test]
    fn tensors_must_agree_but_along_the_axis() {
        let values = |other| [("values", testing::several(&[testing::float32(&[2, 3]), other])), ("axis", 1.into())];
        let why = "parameter `values`: tensor<fp32, [3, 3]> and tensor<fp32, [2, 3]> differ in dimension 0";
        testing::refuses("concat", Target::Ios15, &values(testing::float32(&[3, 3])), why);
        let why = "parameter `values` is tensor<fp16, [2, 3]>, expected a tensor of fp32, as the other arguments";
        testing::refuses("concat", Target::Ios15, &values(testing::float16(&[2, 3])), why);
    }
}
