//! `einsum`: the two products that Core ML has by name: `nchw,nwhu->nchu` and `chw,whr->chr`, in any letters.
//!
//! `values`: two tensors of one float type; dimensions `n` and `h` broadcast. The same at every target.

use std::collections::HashMap;

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::single,
        types::{FLOAT, text, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{BuildError, Builder, Call, InferError, OpDef, OpVersion, TensorType, ValueType, Var, broadcast},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "einsum",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', FLOAT)],
            parameters: &[var("values", 'T').variadic(), text("equation")],
        }],
        infer,
    },
    kernel,
};

impl Builder {
    /// One of the two products that Core ML has.
    ///
    /// # Errors
    /// When it is another, or shapes do not fit.
    pub fn einsum(&mut self, name: &str, x: Var, y: Var, equation: &str) -> Result<Var, BuildError> {
        self.op1("einsum", name, &[("values", vec![x, y].into()), ("equation", equation.into())])
    }
}

/// The equation with its letters replaced by `a`, `b`, .. in the order in which they come.
fn canonical(equation: &str) -> String {
    let mut letters = HashMap::new();
    let rename = |c: char| {
        if !c.is_alphabetic() {
            return c;
        }
        let next = letters.len() as u8;
        char::from(b'a' + *letters.entry(c).or_insert(next).min(&mut 25))
    };
    equation.chars().map(rename).collect()
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let values = call.tensors("values")?;
    let &[x, y] = values.as_slice() else {
        return Err(InferError::rule("values", format!("expected 2 tensors, found {}", values.len())));
    };
    let equation = call.text("equation")?;
    let rank = match canonical(&equation).as_str() {
        "abcd,adce->abce" => 4,
        "abc,cbd->abd" => 3,
        _ => return Err(InferError::rule("equation", format!("expected `nchw,nwhu->nchu` or `chw,whr->chr`, found \
             `{equation}`"))),
    };
    check(x, y, rank)?;
    let batch = |ty: &TensorType| [&ty.shape[..rank - 3], &ty.shape[rank - 2..rank - 1]].concat();
    let joined = broadcast(&batch(x), &batch(y)).ok_or_else(|| InferError::rule("values", format!("{x} and {y} do not broadcast")))?;
    let mut shape = joined;
    shape.insert(rank - 3, x.shape[rank - 3]);
    shape.push(y.shape[rank - 1]);
    single(x.dtype, shape)
}

fn check(x: &TensorType, y: &TensorType, rank: usize) -> Result<(), InferError> {
    if x.rank() != rank || y.rank() != rank {
        return Err(InferError::rule("values", format!("expected rank {rank}, found {x} and {y}")));
    }
    let (inner, other) = (x.shape[rank - 1], y.shape[rank - 3]);
    if !inner.agrees(other) {
        return Err(InferError::rule("values", format!("{x} and {y} differ in the length to multiply: {inner} and \
             {other}")));
    }
    Ok(())
}

/// `h` becomes a batch dimension: [.., h, c, w] times [.., h, w, u].
fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let values = arguments.tensors("values")?;
    let rank = values[0].rank();
    let inward = |tensor: &Tensor| tensor.transpose(rank - 3, rank - 2)?.contiguous();
    let product = inward(&values[0])?.broadcast_matmul(&inward(&values[1])?)?;
    Ok(vec![inward(&product)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("einsum");
    }

    #[test]
    fn other_equations_are_refused() {
        let values = testing::several(&[testing::float32(&[1, 2, 3, 4]), testing::float32(&[1, 2, 4, 3])]);
        let arguments = [("values", values), ("equation", "nhqc,nhck->nhqk".into())];
        let why = "parameter `equation`: expected `nchw,nwhu->nchu` or `chw,whr->chr`, found `nhqc,nhck->nhqk`";
        testing::refuses("einsum", Target::Ios15, &arguments, why);
    }
}
