//! Tables that hold one entry per block of a tensor: scales, offsets, look-up tables.

use candle_core::{Device, Tensor, WithDType};
use rayon::prelude::*;

use crate::{
    eval::{KernelError, view},
    mil::{Call, Dimension, InferError},
};

/// A tensor whose dimensions are cut into equal blocks.
#[derive(Debug)]
pub(in crate::ops) struct Blocks {
    /// Length of the tensor, length of a block, per dimension, innermost first.
    dimensions: Vec<(usize, usize)>,
}

impl Blocks {
    /// A tensor of `shape` cut into `counts` blocks per dimension. Inference has seen to it that they divide.
    pub(in crate::ops) fn new(shape: &[usize], counts: &[usize]) -> Self {
        Self {
            dimensions: shape
                .iter()
                .zip(counts)
                .rev()
                .map(|(&length, &count)| (length, length / count.max(1)))
                .collect(),
        }
    }

    /// The block that an element is in, both counted in row-major order.
    pub(in crate::ops) fn of(&self, mut element: usize) -> usize {
        let (mut block, mut step) = (0, 1);
        for &(length, size) in &self.dimensions {
            block += element % length / size * step;
            step *= length / size;
            element /= length;
        }
        block
    }

    /// How many elements one behind the other are in one block.
    fn run(&self) -> usize {
        let whole = self.dimensions.iter().take_while(|(length, size)| length == size).count();
        self.dimensions.iter().take(whole + 1).map(|&(_, size)| size).product::<usize>().max(1)
    }

    /// Fills `out` run by run: `fill` gets a run's block, the index of its first element, and its part of `out`, which
    /// holds `each` numbers per element.
    fn fill<T: Send>(&self, out: &mut [T], each: usize, fill: impl Fn(usize, usize, &mut [T]) + Sync) {
        let run = self.run();
        // Short runs are walked together, so that threads have something to do.
        let many = run * (PIECE / run).max(1);
        out.par_chunks_mut(many * each).enumerate().for_each(|(piece, out)| {
            for (i, out) in out.chunks_mut(run * each).enumerate() {
                let first = piece * many + i * run;
                fill(self.of(first), first, out);
            }
        });
    }
}

/// Elements that a thread takes at once.
const PIECE: usize = 1 << 14;

/// Refuses a table whose dimensions do not divide those of `shape`.
pub(in crate::ops) fn expect_blocks(
    name: &'static str,
    table: &[Dimension],
    shape: &[Dimension],
) -> Result<(), InferError> {
    let divides = |(blocks, length): (&Dimension, &Dimension)| match (blocks.known(), length.known()) {
        (Some(blocks), Some(length)) => blocks > 0 && length.is_multiple_of(blocks),
        _ => true,
    };
    if table.len() == shape.len() && !shape.is_empty() && table.iter().zip(shape).all(divides) {
        return Ok(());
    }
    let text = |shape: &[Dimension]| shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(InferError::rule(name, format!("[{}] does not cut [{}] into blocks", text(table), text(shape))))
}

/// The elements of a float or integer tensor as float64.
pub(in crate::ops) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, KernelError> {
    Ok(tensor.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1()?)
}

/// `scale * (data - offset)` with one scale and offset per block.
pub(in crate::ops) fn dequantized(
    data: &Tensor,
    blocks: &Blocks,
    scale: &Tensor,
    offset: Option<&Tensor>,
) -> Result<Tensor, KernelError> {
    let (scale, offset) = (numbers(scale)?, offset.map(numbers).transpose()?);
    let mut values = vec![0.0f32; data.elem_count()];
    let mut fill = |number: &(dyn Fn(usize) -> f64 + Sync)| {
        blocks.fill(&mut values, 1, |block, first, out| {
            let (scale, offset) = (scale[block], offset.as_ref().map_or(0.0, |offset| offset[block]));
            out.iter_mut().enumerate().for_each(|(i, out)| *out = ((number(first + i) - offset) * scale) as f32);
        });
    };
    if data.dtype().is_float() {
        view(data, |data: &[f32]| fill(&|i| f64::from(data[i])))?;
    } else {
        view(data, |data: &[i64]| fill(&|i| data[i] as f64))?;
    }
    Ok(Tensor::from_vec(values, data.shape(), &Device::Cpu)?)
}

/// Elements of a look-up table [blocks.., entries, vector]: for every index, the `vector` numbers of its entry in its
/// block's table, one behind the other along `axis`.
pub(in crate::ops) fn looked_up(indices: &Tensor, table: &Tensor, axis: usize) -> Result<Tensor, KernelError> {
    let rank = indices.rank();
    let (entries, vector) = (table.dims()[rank], table.dims()[rank + 1]);
    let outside = |indices: &[i64]| indices.iter().copied().find(|&index| index < 0 || index >= entries as i64);
    if let Some(index) = view(indices, outside)? {
        return Err(KernelError::Index { parameter: "indices", index, length: entries });
    }
    let picked =
        if table.dtype().is_float() { entries_of::<f32>(indices, table) } else { entries_of::<i64>(indices, table) }?;
    if vector == 1 {
        return Ok(picked.reshape(indices.shape())?);
    }
    // [.., vector] -> the vector next to its axis -> joined with it.
    let mut shape = indices.dims().to_vec();
    shape.push(vector);
    let mut order: Vec<usize> = (0..rank).collect();
    order.insert(axis + 1, rank);
    let mut joined = indices.dims().to_vec();
    joined[axis] *= vector;
    Ok(picked.reshape(shape)?.permute(order)?.contiguous()?.reshape(joined)?)
}

/// The entries that indices name, one behind the other.
fn entries_of<T: WithDType + Default>(indices: &Tensor, table: &Tensor) -> Result<Tensor, KernelError> {
    let rank = indices.rank();
    let (entries, vector) = (table.dims()[rank], table.dims()[rank + 1]);
    let blocks = Blocks::new(indices.dims(), &table.dims()[..rank]);
    let mut out = vec![T::default(); indices.elem_count() * vector];
    view(indices, |indices: &[i64]| {
        view(table, |table: &[T]| {
            blocks.fill(&mut out, vector, |block, first, out| {
                let own = &table[block * entries * vector..][..entries * vector];
                for (out, &index) in out.chunks_mut(vector).zip(&indices[first..]) {
                    out.copy_from_slice(&own[index as usize * vector..][..vector]);
                }
            });
        })
    })??;
    let count = out.len();
    Ok(Tensor::from_vec(out, count, &Device::Cpu)?)
}

/// The type and axis of what a look-up makes; refuses tables that do not fit the indices.
pub(in crate::ops) fn look_up_shape(
    call: &Call<'_>,
    shape: &[Dimension],
    bits: u64,
) -> Result<(Vec<Dimension>, usize, u64), InferError> {
    let table = call.tensor("lut")?;
    let misfit = || {
        InferError::rule(
            "lut",
            format!("expected [blocks.., {}, vector] for {} dimensions, found {table}", 1u64 << bits, shape.len()),
        )
    };
    if table.rank() != shape.len() + 2 || table.shape[shape.len()].known() != Some(1 << bits) {
        return Err(misfit());
    }
    expect_blocks("lut", &table.shape[..shape.len()], shape)?;
    let vector = table.shape[shape.len() + 1].known().filter(|&n| n > 0).ok_or_else(misfit)?;
    if !call.has("vector_axis") {
        let single = (vector == 1).then(|| (shape.to_vec(), shape.len() - 1, vector));
        return single.ok_or_else(|| InferError::rule("vector_axis", format!("vectors of {vector} need an axis")));
    }
    let axis = call.axis("vector_axis", shape.len())?;
    let mut result = shape.to_vec();
    if let Some(length) = result[axis].known() {
        result[axis] = Dimension::Known(length.saturating_mul(vector));
    }
    Ok((result, axis, vector))
}

/// A dense tensor of `mask`'s shape with `values` where the mask is set, else 0.
pub(in crate::ops) fn scattered(values: &Tensor, mask: &Tensor) -> Result<Tensor, KernelError> {
    if values.dtype().is_float() { spread::<f32>(values, mask) } else { spread::<i64>(values, mask) }
}

fn spread<T: WithDType + Default>(values: &Tensor, mask: &Tensor) -> Result<Tensor, KernelError> {
    let dense = view(values, |values: &[T]| {
        view(mask, |mask: &[i64]| {
            let mut values = values.iter().copied();
            let set = mask.iter().filter(|&&bit| bit != 0).count();
            let dense: Vec<T> = mask
                .iter()
                .map(|&bit| if bit == 0 { T::default() } else { values.next().unwrap_or_default() })
                .collect();
            (set, dense)
        })
    })??;
    if dense.0 != values.elem_count() {
        return Err(KernelError::Index {
            parameter: "nonzero_data",
            index: dense.0 as i64,
            length: values.elem_count(),
        });
    }
    Ok(Tensor::from_vec(dense.1, mask.shape(), &Device::Cpu)?)
}

/// The elements of `dense` where `mask` is set, in order.
pub(in crate::ops) fn compacted(dense: &Tensor, mask: &Tensor) -> Result<Tensor, KernelError> {
    let places: Vec<i64> = view(mask, |mask: &[i64]| {
        mask.iter().enumerate().filter(|(_, bit)| **bit != 0).map(|(i, _)| i as i64).collect()
    })?;
    let count = places.len();
    Ok(dense.flatten_all()?.index_select(&Tensor::from_vec(places, count, &Device::Cpu)?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_find_their_blocks() {
        let blocks = Blocks::new(&[2, 6], &[2, 3]);
        assert_eq!((0..12).map(|i| blocks.of(i)).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        let blocks = Blocks::new(&[4, 2], &[2, 1]);
        assert_eq!((0..8).map(|i| blocks.of(i)).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn runs_end_with_their_block() {
        let shape = [2, 3, 4];
        for counts in [[1, 1, 1], [2, 1, 1], [1, 3, 1], [1, 1, 2], [2, 3, 4], [1, 1, 4], [2, 1, 2]] {
            let blocks = Blocks::new(&shape, &counts);
            let mut found = vec![usize::MAX; 24];
            blocks.fill(&mut found, 1, |block, _, out| out.fill(block));
            assert_eq!(found, (0..24).map(|i| blocks.of(i)).collect::<Vec<_>>(), "{counts:?}");
        }
    }
}
