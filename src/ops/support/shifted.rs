//! The inner loop of convolutions: weights times rows of numbers, where every row is a piece of one buffer, at an offset of its own. Patches of
//! a picture are such rows, so they need not be copied beside each other.
//!
//! Vectors are as wide as the processor has them. A sum is always taken in the order of the rows, however the places are cut into blocks.

use pulp::{Arch, Simd, WithSimd};

/// Filters that are computed at once where there are several.
const LANE_FILTERS: usize = 4;

/// Weights [filters, rows] in blocks of a few filters, those of one row side by side; filters that are missing in the last block are zero.
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
            panel.iter_mut().skip(filter % width).step_by(width).zip(weights).for_each(|(value, &weight)| *value = weight);
        }
        Self { values, filters, rows }
    }

    /// Number of filters.
    pub(in crate::ops) fn filters(&self) -> usize {
        self.filters
    }

    /// Adds the weights of the rows from `first` on times these rows to `sums` [filters, places]. Row `i` begins at `offsets[i]` of `source`.
    pub(in crate::ops) fn accumulate(&self, first: usize, offsets: &[usize], source: &[f32], sums: &mut [f32]) {
        if self.filters > 0 {
            Arch::new().dispatch(Accumulate { panels: self, first, offsets, source, places: sums.len() / self.filters, sums });
        }
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

impl Accumulate<'_> {
    /// Blocks of `V` vectors of places, then single vectors, then what is left of one. The rows of a block stay in the nearest cache while all
    /// filters go over them.
    #[inline(always)]
    fn run<S: Simd, const F: usize, const V: usize>(&mut self, simd: S) {
        let mut at = 0;
        while at + V * S::F32_LANES <= self.places {
            self.filters::<S, F, V>(
                simd,
                at,
                |row| std::array::from_fn(|v| S::as_simd_f32s(&row[..V * S::F32_LANES]).0[v]),
                V * S::F32_LANES,
            );
            at += V * S::F32_LANES;
        }
        while at < self.places {
            let rest = S::F32_LANES.min(self.places - at);
            self.filters::<S, F, 1>(simd, at, |row| [simd.partial_load_f32s(row)], rest);
            at += rest;
        }
    }

    /// All filters of the places `at..at + count`.
    #[inline(always)]
    fn filters<S: Simd, const F: usize, const V: usize>(
        &mut self,
        simd: S,
        at: usize,
        load: impl Fn(&[f32]) -> [S::f32s; V],
        count: usize,
    ) {
        let panels = self.panels.values.chunks_exact(self.panels.rows * F);
        for (panel, sums) in panels.zip(self.sums.chunks_mut(F * self.places)) {
            let (weights, _) = panel[self.first * F..].as_chunks::<F>();
            let mut totals = [[simd.splat_f32s(0.0); V]; F];
            for (weights, &offset) in weights.iter().zip(self.offsets) {
                let row = load(&self.source[offset + at..offset + at + count]);
                for (totals, &weight) in totals.iter_mut().zip(weights) {
                    let weight = simd.splat_f32s(weight);
                    totals.iter_mut().zip(row).for_each(|(total, value)| *total = simd.mul_add_e_f32s(weight, value, *total));
                }
            }
            for (totals, sums) in totals.iter().zip(sums.chunks_mut(self.places)) {
                let (whole, rest) = S::as_mut_simd_f32s(&mut sums[at..at + count]);
                whole.iter_mut().zip(totals).for_each(|(sum, &total)| *sum = simd.add_f32s(*sum, total));
                if !rest.is_empty() {
                    simd.partial_store_f32s(rest, simd.add_f32s(simd.partial_load_f32s(rest), totals[V - 1]));
                }
            }
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
                assert_eq!(sums, (0..sums.len()).map(expected).collect::<Vec<_>>(), "{filters} filters, {places} places");
            }
        }
    }
}
