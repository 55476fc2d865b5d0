//! Sorting along a dimension.

use candle_core::Tensor;

use crate::eval::{KernelError, view};

/// For every row along `axis` (which is the last dimension of the result's order), the indices of its elements in
/// sorted order; equal elements keep their order. Rows are in row-major order of the other dimensions.
pub(in crate::ops) fn order(x: &Tensor, axis: usize, ascending: bool) -> Result<Vec<Vec<usize>>, KernelError> {
    let last = x.rank() - 1;
    let moved = x.transpose(axis, last)?.contiguous()?;
    let length = moved.dims()[last].max(1);
    // Integers of up to 32 bits are exact in float64.
    let values: Vec<f64> = moved.to_dtype(candle_core::DType::F64)?.flatten_all()?.to_vec1()?;
    let sorted = |row: &[f64]| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| if ascending { row[a].total_cmp(&row[b]) } else { row[b].total_cmp(&row[a]) });
        order
    };
    Ok(values.chunks(length).map(sorted).collect())
}

/// The first `count` indices of every row as a tensor whose dimension `axis` is `count` long.
pub(in crate::ops) fn indices(
    x: &Tensor,
    axis: usize,
    count: usize,
    order: &[Vec<usize>],
) -> Result<Tensor, KernelError> {
    let last = x.rank() - 1;
    let flat: Vec<i64> = order.iter().flat_map(|row| row.iter().take(count).map(|&i| i as i64)).collect();
    let mut shape = x.transpose(axis, last)?.dims().to_vec();
    shape[last] = count;
    Ok(Tensor::from_vec(flat, shape, x.device())?.transpose(axis, last)?.contiguous()?)
}

/// The first extreme element of every row, as [`indices`] with a count of 1 gives it.
pub(in crate::ops) fn extreme(x: &Tensor, axis: usize, largest: bool) -> Result<Tensor, KernelError> {
    let last = x.rank() - 1;
    let moved = x.transpose(axis, last)?.contiguous()?.to_dtype(candle_core::DType::F64)?;
    let length = moved.dims()[last].max(1);
    let better = |a: f64, b: f64| if largest { a > b } else { a < b };
    let flat: Vec<i64> = view(&moved, |values: &[f64]| {
        let first =
            |row: &[f64]| (1..row.len()).fold(0, |best, i| if better(row[i], row[best]) { i } else { best }) as i64;
        values.chunks(length).map(first).collect()
    })?;
    let mut shape = moved.dims().to_vec();
    shape[last] = 1;
    Ok(Tensor::from_vec(flat, shape, x.device())?.transpose(axis, last)?.contiguous()?)
}
