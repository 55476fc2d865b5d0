//! `batch_to_space`: pictures of a batch become the pixels of larger ones, which are cropped; undoes `space_to_batch`.
//!
//! `x` [n, c, height, width], float16 or float32; n is a multiple of the pixels of a block. The same at every target.

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
        name: "batch_to_space",
        versions: &[OpVersion { since: Target::Ios15, domains: &[('T', FLOAT)], parameters: &[X, int("block_shape"), int("crops")] }],
        infer,
    },
    kernel,
};

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let tiles = Tiles::of(call, "crops")?;
    let x = call.tensor("x")?;
    let mut shape = x.shape.clone();
    let pieces = tiles.pieces();
    shape[0] = mapped(shape[0], |n| {
        let misfit = || InferError::rule("block_shape", format!("{n} pictures are no multiple of {pieces}"));
        n.is_multiple_of(pieces).then(|| n / pieces).ok_or_else(misfit)
    })?;
    for axis in 0..2 {
        let ((before, after), block) = (tiles.border[axis], tiles.block[axis]);
        shape[2 + axis] = mapped(shape[2 + axis], |length| {
            let whole = length.saturating_mul(block);
            let rest = whole.checked_sub(before.saturating_add(after));
            rest.ok_or_else(|| InferError::rule("crops", format!("{before} and {after} are more than {whole} pixels")))
        })?;
    }
    single(x.dtype, shape)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let Tiles { block, border } = Tiles::of(arguments.call, "crops")?;
    let block = block.map(|length| length as usize);
    let (c, h, w) = (x.dims()[1], x.dims()[2], x.dims()[3]);
    let split = x.contiguous()?.reshape(&[block[0], block[1], shape[0], c, h, w])?;
    let mut joined = split.permute([2, 3, 4, 0, 5, 1])?.contiguous()?.reshape(&[shape[0], c, h * block[0], w * block[1]])?;
    for (axis, (before, _)) in border.into_iter().enumerate() {
        joined = joined.narrow(2 + axis, before as usize, shape[2 + axis])?;
    }
    Ok(vec![joined.contiguous()?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("batch_to_space");
    }

    #[test]
    fn pictures_must_fill_blocks_and_survive_cropping() {
        let crops = || ("crops", testing::constant("int32", &[2, 2], &[3, 0, 0, 0]));
        let arguments = [("x", testing::float32(&[3, 1, 1, 1])), ("block_shape", testing::ints(&[2, 2])), crops()];
        testing::refuses("batch_to_space", Target::Ios15, &arguments, "parameter `block_shape`: 3 pictures are no \
             multiple of 4");
        let arguments = [("x", testing::float32(&[4, 1, 1, 1])), ("block_shape", testing::ints(&[2, 2])), crops()];
        testing::refuses("batch_to_space", Target::Ios15, &arguments, "parameter `crops`: 3 and 0 are more than 2 \
             pixels");
    }
}
