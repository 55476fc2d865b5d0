//! Products of few rows with matrices: what a language model does with its weights for one token. Every weight is read
//! once, by all processors.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Numbers that a thread multiplies at a time.
const BLOCK: usize = 1 << 16;

/// The dot product of every row of `x` with every row of `y`, both of rows of `length`: [rows of x, rows of y].
pub(in crate::ops) fn products(x: &[f32], y: &[f32], length: usize) -> Vec<f32> {
    let (rows, columns) = (x.len() / length.max(1), y.len() / length.max(1));
    let mut out = vec![0.0; rows * columns];
    if length == 0 || out.is_empty() {
        return out;
    }
    let block = (BLOCK / length).max(1);
    let work = out.par_chunks_mut(block * rows).zip(y.par_chunks(block * length));
    work.for_each(|(out, y)| Arch::new().dispatch(Dots { x, y, length, out }));
    if rows == 1 {
        return out;
    }
    (0..rows).flat_map(|row| out.iter().skip(row).step_by(rows)).copied().collect()
}

/// Every row of `x`, of `length`, times `y`, [length, columns]: [rows of x, columns]. What a model does with scores and
/// values for one token.
pub(in crate::ops) fn weighted_sums(x: &[f32], y: &[f32], length: usize, columns: usize) -> Vec<f32> {
    let rows = x.len() / length.max(1);
    if rows * columns == 0 {
        return Vec::new();
    }
    let width = (BLOCK / length).max(64);
    let part = |from: usize| {
        let width = width.min(columns - from);
        let mut out = vec![0.0; rows * width];
        Arch::new().dispatch(Sums { x, y, length, columns, from, width, out: &mut out });
        out
    };
    if columns <= width {
        return part(0);
    }
    let parts: Vec<Vec<f32>> = (0..columns).into_par_iter().step_by(width).map(part).collect();
    let row = |row: usize| {
        parts.iter().flat_map(move |part| part.chunks_exact(part.len() / rows).nth(row).into_iter().flatten())
    };
    (0..rows).flat_map(row).copied().collect()
}

/// The columns `from..from + width`: [rows of x, width], added to `out`.
struct Sums<'a> {
    x: &'a [f32],
    y: &'a [f32],
    length: usize,
    columns: usize,
    from: usize,
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, y, length, columns, from, width, out } = self;
        for (k, y) in y.chunks_exact(columns).enumerate() {
            for (x, out) in x.chunks_exact(length).zip(out.chunks_exact_mut(width)) {
                add_scaled(simd, x[k], &y[from..from + width], out);
            }
        }
    }
}

#[inline(always)]
fn add_scaled<S: Simd>(simd: S, scale: f32, y: &[f32], out: &mut [f32]) {
    let ((y, y_rest), (out, out_rest)) = (S::as_simd_f32s(y), S::as_mut_simd_f32s(out));
    let (y, scales) = (&y[..out.len()], simd.splat_f32s(scale));
    for at in 0..out.len() {
        out[at] = simd.mul_add_e_f32s(scales, y[at], out[at]);
    }
    let rest = simd.mul_add_e_f32s(scales, simd.partial_load_f32s(y_rest), simd.partial_load_f32s(out_rest));
    simd.partial_store_f32s(out_rest, rest);
}

/// The results are [rows of y, rows of x].
struct Dots<'a> {
    x: &'a [f32],
    y: &'a [f32],
    length: usize,
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.x.len() / self.length;
        for (y, out) in self.y.chunks_exact(self.length).zip(self.out.chunks_exact_mut(rows)) {
            for (x, out) in self.x.chunks_exact(self.length).zip(out) {
                *out = dot(simd, x, y);
            }
        }
    }
}

// The loops are spelled out: where an iterator's adapter is not inlined, every vector goes through memory.
#[inline(always)]
fn dot<S: Simd>(simd: S, x: &[f32], y: &[f32]) -> f32 {
    let ((x, x_rest), (y, y_rest)) = (S::as_simd_f32s(x), S::as_simd_f32s(y));
    let y = &y[..x.len()];
    let mut sums = [simd.splat_f32s(0.0); 4];
    let mut at = 0;
    while at + 4 <= x.len() {
        for i in 0..4 {
            sums[i] = simd.mul_add_e_f32s(x[at + i], y[at + i], sums[i]);
        }
        at += 4;
    }
    while at < x.len() {
        sums[0] = simd.mul_add_e_f32s(x[at], y[at], sums[0]);
        at += 1;
    }
    sums[1] = simd.mul_add_e_f32s(simd.partial_load_f32s(x_rest), simd.partial_load_f32s(y_rest), sums[1]);
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_weigh_rows() {
        for (rows, length, columns) in [(1, 3, 1), (2, 5, 77), (3, 700, 200), (2, 0, 4), (2, 3, 0)] {
            let number = |i: usize| ((i * 31) % 17) as f32 - 8.0;
            let x: Vec<f32> = (0..rows * length).map(number).collect();
            let y: Vec<f32> = (0..length * columns).map(|i| number(i + 5)).collect();
            let expected =
                |i: usize| (0..length).map(|k| x[i / columns * length + k] * y[k * columns + i % columns]).sum();
            let count = if length == 0 { 0 } else { rows * columns };
            assert_eq!(weighted_sums(&x, &y, length, columns), (0..count).map(expected).collect::<Vec<f32>>());
        }
    }

    #[test]
    fn every_row_meets_every_row() {
        for (rows, columns, length) in [(1, 3, 1), (1, 5, 77), (3, 70, 1000), (2, 0, 4), (2, 3, 0)] {
            let number = |i: usize| ((i * 31) % 17) as f32 - 8.0;
            let (x, y): (Vec<f32>, Vec<f32>) =
                ((0..rows * length).map(number).collect(), (0..columns * length).map(|i| number(i + 5)).collect());
            let expected =
                |i: usize| (0..length).map(|k| x[i / columns * length + k] * y[i % columns * length + k]).sum();
            let count = if length == 0 { 0 } else { rows * columns };
            assert_eq!(products(&x, &y, length), (0..count).map(expected).collect::<Vec<f32>>());
        }
    }
}
