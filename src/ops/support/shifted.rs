//! The inner loop of convolutions: weights times rows of numbers, where every row is a piece of one buffer, at an
//! offset of its own. Patches of a picture are such rows, so they need not be copied beside each other.
//!
//! Vectors are as wide as the processor has them. A sum is always taken in the order of the rows, however the places
//! are cut into blocks.

#![expect(clippy::needless_range_loop, reason = "the loops are spelled out, which is what makes them fast")]

use pulp::{Arch, Simd, WithSimd};

/// Filters that are computed at once where there are several.
const LANE_FILTERS: usize = 4;

/// Weights [filters, rows] in blocks of a few filters, those of one row side by side; filters that are missing in the
/// last block are zero.
#[derive(Debug)]
pub(in crate::ops) struct Panels {
    values: Vec<f32>,
    filters: usize,
    rows: usize,
}

impl Panels {
    /// The panels of weights [filters, rows].
    pub(in crate::ops) fn new(weights: &[f32], rows: usize) -> Self {
        let filters = weights.len() / rows.max(1);
        let width = width(filters);
        let mut values = vec![0.0; filters.div_ceil(width) * width * rows];
        for (filter, weights) in weights.chunks(rows.max(1)).enumerate() {
            let panel = &mut values[filter / width * width * rows..][..width * rows];
            panel
                .iter_mut()
                .skip(filter % width)
                .step_by(width)
                .zip(weights)
                .for_each(|(value, &weight)| *value = weight);
        }
        Self { values, filters, rows }
    }

    /// Number of filters.
    pub(in crate::ops) fn filters(&self) -> usize {
        self.filters
    }

    /// Adds the weights of the rows from `first` on times these rows to `sums` [filters, places]. Row `i` begins at
    /// `offsets[i]` of `source`.
    pub(in crate::ops) fn accumulate(&self, first: usize, offsets: &[usize], source: &[f32], sums: &mut [f32]) {
        let Some(places) = sums.len().checked_div(self.filters) else { return };
        Arch::new().dispatch(Accumulate { panels: self, first, offsets, source, places, sums });
    }
}

fn width(filters: usize) -> usize {
    if filters == 1 { 1 } else { LANE_FILTERS }
}

struct Accumulate<'a> {
    panels: &'a Panels,
    first: usize,
    offsets: &'a [usize],
    source: &'a [f32],
    places: usize,
    sums: &'a mut [f32],
}

impl WithSimd for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match (width(self.panels.filters), S::REGISTER_COUNT) {
            (1, _) => self.run::<S, 1, 6>(simd),
            (_, 32) => self.run::<S, LANE_FILTERS, 6>(simd),
            _ => self.run::<S, LANE_FILTERS, 3>(simd),
        }
    }
}

// The loops are spelled out: where an iterator's adapter is not inlined, every vector goes through memory.
impl Accumulate<'_> {
    /// Blocks of `V` vectors of places, then single vectors, then what is left of one. The rows of a block stay in the
    /// nearest cache while all filters go over them.
    #[inline(always)]
    fn run<S: Simd, const F: usize, const V: usize>(&mut self, simd: S) {
        let mut at = 0;
        while at + V * S::F32_LANES <= self.places {
            self.filters::<S, F, V>(simd, at, V * S::F32_LANES);
            at += V * S::F32_LANES;
        }
        while at < self.places {
            let rest = S::F32_LANES.min(self.places - at);
            self.filters::<S, F, 1>(simd, at, rest);
            at += rest;
        }
    }

    /// All filters of the places `at..at + count`, which fill `V` vectors, or one in part.
    #[inline(always)]
    fn filters<S: Simd, const F: usize, const V: usize>(&mut self, simd: S, at: usize, count: usize) {
        let panels = self.panels.values.chunks_exact(self.panels.rows * F);
        for (panel, sums) in panels.zip(self.sums.chunks_mut(F * self.places)) {
            let (weights, _) = panel[self.first * F..].as_chunks::<F>();
            let weights = &weights[..self.offsets.len()];
            let mut totals = [[simd.splat_f32s(0.0); V]; F];
            for row in 0..self.offsets.len() {
                let values = load::<S, V>(simd, &self.source[self.offsets[row] + at..][..count]);
                for filter in 0..F {
                    let weight = simd.splat_f32s(weights[row][filter]);
                    for v in 0..V {
                        totals[filter][v] = simd.mul_add_e_f32s(weight, values[v], totals[filter][v]);
                    }
                }
            }
            let filters = sums.len() / self.places;
            for filter in 0..F {
                if filter < filters {
                    add::<S, V>(simd, &mut sums[filter * self.places + at..][..count], totals[filter]);
                }
            }
        }
    }
}

/// `V` vectors, or a part of one.
#[inline(always)]
fn load<S: Simd, const V: usize>(simd: S, from: &[f32]) -> [S::f32s; V] {
    let (whole, rest) = S::as_simd_f32s(from);
    let mut values = [simd.splat_f32s(0.0); V];
    for v in 0..V {
        values[v] = if v < whole.len() { whole[v] } else { simd.partial_load_f32s(rest) };
    }
    values
}

#[inline(always)]
fn add<S: Simd, const V: usize>(simd: S, to: &mut [f32], values: [S::f32s; V]) {
    let (whole, rest) = S::as_mut_simd_f32s(to);
    for v in 0..V {
        if v < whole.len() {
            whole[v] = simd.add_f32s(whole[v], values[v]);
        } else {
            simd.partial_store_f32s(rest, simd.add_f32s(simd.partial_load_f32s(rest), values[v]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_weighted_and_summed_for_any_number_of_filters_and_places() {
        let source: Vec<f32> = (0..400).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let offsets = [3, 0, 17, 120, 5];
        for filters in [1, 2, 3, 4, 5, 9] {
            let weights: Vec<f32> = (0..filters * 5).map(|i| ((i * 13) % 7) as f32 - 3.0).collect();
            let panels = Panels::new(&weights, 5);
            for places in [1, 7, 16, 31, 97, 250] {
                let mut sums = vec![1.0; filters * places];
                panels.accumulate(0, &offsets[..2], &source, &mut sums);
                panels.accumulate(2, &offsets[2..], &source, &mut sums);
                let expected = |i: usize| -> f32 {
                    let rows = weights[i / places * 5..].iter().zip(offsets);
                    1.0 + rows.map(|(weight, offset)| weight * source[offset + i % places]).sum::<f32>()
                };
                assert_eq!(
                    sums,
                    (0..sums.len()).map(expected).collect::<Vec<_>>(),
                    "{filters} filters, {places} places"
                );
            }
        }
    }
}
