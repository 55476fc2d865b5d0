//! `stack`: tensors of one shape side by side along a new dimension `axis`.
//!
//! `values`: several tensors of one element type of iOS15. The same at every target.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::single,
        types::{PLAIN, int, var},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "stack",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[var("values", 'T').variadic(), int("axis")],
        }],
        infer,
    },
    kernel: |arguments| {
        let values = arguments.tensors("values")?;
        Ok(vec![Tensor::stack(values, arguments.call.axis("axis", values[0].rank() + 1)?)?])
    },
};

impl Builder {
    /// Tensors of one shape side by side along a new dimension.
    ///
    /// # Errors
    /// When their types differ.
    pub fn stack(&mut self, name: &str, values: &[Var], axis: i32) -> Result<Var, BuildError> {
        self.op1("stack", name, &[("values", values.to_vec().into()), ("axis", axis.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let values = call.tensors("values")?;
    let first = values[0];
    let axis = call.axis("axis", first.rank() + 1)?;
    if let Some(other) = values.iter().find(|value| value.shape != first.shape) {
        return Err(InferError::rule("values", format!("{other} has not the shape of {first}")));
    }
    let mut shape = first.shape.clone();
    shape.insert(axis, Dimension::Known(values.len() as u64));
    single(first.dtype, shape)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("stack");
    }

    #[test]
    fn shapes_must_be_equal() {
        let values = testing::several(&[testing::float32(&[2]), testing::float32(&[3])]);
        let why = "parameter `values`: tensor<fp32, [3]> has not the shape of tensor<fp32, [2]>";
        testing::refuses("stack", Target::Ios15, &[("values", values), ("axis", 0.into())], why);
    }
}
