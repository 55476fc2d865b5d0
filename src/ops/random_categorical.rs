//! `random_categorical`: indices drawn with the probabilities (or their logarithms) in the last dimension of `x`.
//!
//! `x`: float16 or float32; the result has its type, and `size` draws as the last dimension. The same at every target;
//! not evaluated.

use super::{
    Op,
    support::{
        defaults,
        random::{KERNEL, SEED},
        shapes::{choice, integers, single},
        types::{FLOAT, X, int, text},
    },
};
use crate::{
    base::Target,
    mil::{Call, Dimension, InferError, OpDef, OpVersion, Value, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "random_categorical",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[X, text("mode").default(|_| Some(Value::string("logits"))), int("size").default(defaults::one), SEED],
        }],
        infer,
    },
    kernel: KERNEL,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    choice(call, "mode", &["logits", "probs"])?;
    let x = call.tensor("x")?;
    let mut shape = x.shape.clone();
    let last = shape.last_mut().ok_or_else(|| InferError::rule("x", "expected a dimension of probabilities, found a scalar"))?;
    *last = Dimension::Known(integers(call, "size", 1, 1)?[0]);
    single(x.dtype, shape)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn draws_are_the_last_dimension() {
        let arguments = [("x", testing::float16(&[2, 5])), ("size", 3.into())];
        testing::accepts("random_categorical", Target::Ios15, &arguments, "tensor<fp16, [2, 3]>");
        let why = "parameter `mode`: expected one of `logits`, `probs`, found `odds`";
        testing::refuses("random_categorical", Target::Ios15, &[("x", testing::float16(&[2, 5])), ("mode", "odds".into())], why);
    }
}
