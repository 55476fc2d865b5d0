//! `space_to_batch`: padded pictures cut into blocks; pixels of one place in their blocks make a picture of their own.
//!
//! `x` [n, c, height, width], float16 or float32; the picture of place (i, j) of picture b is number `(i * block_width
//! + j) * n + b`. The same at every target.

use candle_core::Tensor;

use super::{
    Op,
    support::{
        shapes::single,
        tiles::{Tiles, mapped},
        types::{FLOAT, X, int},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{Call, InferError, OpDef, OpVersion, ValueType},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "space_to_batch",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("block_shape"), int("paddings")] }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let tiles = Tiles::of(call, "paddings")?;
    let x = call.tensor("x")?;
    let mut shape = x.shape.clone();
    shape[0] = mapped(shape[0], |n| Ok(n.saturating_mul(tiles.pieces())))?;
    for axis in 0..2 {
        let ((before, after), block) = (tiles.border[axis], tiles.block[axis]);
        shape[2 + axis] = mapped(shape[2 + axis], |length| {
            let padded = length.saturating_add(before).saturating_add(after);
            let misfit = || InferError::rule("block_shape", format!("{padded} padded pixels are no multiple of {block}"));
            padded.is_multiple_of(block).then(|| padded / block).ok_or_else(misfit)
        })?;
    }
    single(x.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let Tiles { block, border } = Tiles::of(arguments.call, "paddings")?;
    let mut padded = x.clone();
    for (axis, (before, after)) in border.into_iter().enumerate() {
        padded = padded.pad_with_zeros(2 + axis, before as usize, after as usize)?;
    }
    let (n, c) = (x.dims()[0], x.dims()[1]);
    let split = padded.contiguous()?.reshape(&[n, c, shape[2], block[0] as usize, shape[3], block[1] as usize])?;
    Ok(vec![split.permute([3, 5, 0, 1, 2, 4])?.contiguous()?.reshape(shape)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, mil::Value, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("space_to_batch");
    }

    #[test]
    fn blocks_must_fill_the_picture() {
        let paddings = testing::constant("int32", &[2, 2], &[]);
        let arguments = [("x", testing::float32(&[1, 1, 5, 4])), ("block_shape", testing::ints(&[2, 2])), ("paddings", paddings)];
        let why = "parameter `block_shape`: 5 padded pixels are no multiple of 2";
        testing::refuses("space_to_batch", Target::Ios15, &arguments, why);
        let flat = testing::Given::Constant(Value::ints(&[0; 4]).into());
        let arguments = [("x", testing::float32(&[1, 1, 4, 4])), ("block_shape", testing::ints(&[2, 2])), ("paddings", flat)];
        let why = "parameter `paddings`: expected tensor<int32, [2, 2]>, found tensor<int32, [4]>";
        testing::refuses("space_to_batch", Target::Ios15, &arguments, why);
    }
}
