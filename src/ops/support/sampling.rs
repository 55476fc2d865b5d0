//! Sampling between elements: where the places of a result lie on the grid of an input, and what stands there.
//!
//! The grids are those of coremltools' `resize_bilinear`; [`Grid::positions`] has their formulas.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{shapes::choice, types::text};
use crate::{
    eval::{KernelError, view},
    mil::{Call, InferError, Parameter, Value},
};

/// How places are laid over a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Grid {
    StrictAlignCorners,
    AlignCorners,
    Default,
    OffsetCorners,
    UnalignCorners,
}

/// The parameter that names a grid.
pub(in crate::ops) const SAMPLING_MODE: Parameter = text("sampling_mode").default(|_| Some(Value::string("DEFAULT")));

impl Grid {
    /// The grid that the parameter `sampling_mode` names.
    pub(in crate::ops) fn of(call: &Call<'_>) -> Result<Self, InferError> {
        let names = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"];
        Ok(match choice(call, "sampling_mode", &names)?.as_str() {
            "STRICT_ALIGN_CORNERS" => Self::StrictAlignCorners,
            "ALIGN_CORNERS" => Self::AlignCorners,
            "OFFSET_CORNERS" => Self::OffsetCorners,
            "UNALIGN_CORNERS" => Self::UnalignCorners,
            _ => Self::Default,
        })
    }

    /// The positions of `count` places over `length` elements, within `0..=length - 1`. `length` need not be whole.
    pub(in crate::ops) fn positions(self, length: f64, count: usize) -> Vec<f64> {
        let last = length - 1.0;
        let places = count as f64;
        let (start, spacing) = match self {
            Self::AlignCorners if count == 1 => (last / 2.0, 0.0),
            Self::StrictAlignCorners | Self::AlignCorners if count == 1 => (0.0, 0.0),
            Self::StrictAlignCorners | Self::AlignCorners => (0.0, last / (places - 1.0)),
            Self::Default => (0.0, length / places),
            Self::OffsetCorners => (0.5 * last.max(1.0) / places, last.max(1.0) / places),
            Self::UnalignCorners => (0.5 * length / places - 0.5, length / places),
        };
        (0..count).map(|i| (start + i as f64 * spacing).min(last).max(0.0)).collect()
    }

    /// The element nearest to each position: the one before it with [`Grid::Default`], else halves go up, as in
    /// TensorFlow.
    pub(in crate::ops) fn nearest(self, length: usize, count: usize) -> Vec<usize> {
        let bias = if self == Self::Default { 0.0 } else { 0.5 };
        let positions = self.positions(length as f64, count).into_iter();
        positions.map(|position| ((position + bias) as usize).min(length.saturating_sub(1))).collect()
    }
}

/// What stands at a position: a mix of two elements.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Tap {
    pub(in crate::ops) low: usize,
    pub(in crate::ops) high: usize,
    /// How much of `high` there is.
    pub(in crate::ops) weight: f32,
}

impl Tap {
    /// The elements around a position within `0..=length - 1`.
    pub(in crate::ops) fn at(position: f64, length: usize) -> Self {
        let low = (position.max(0.0) as usize).min(length.saturating_sub(1));
        Self { low, high: (low + 1).min(length.saturating_sub(1)), weight: (position - low as f64) as f32 }
    }

    /// The mix of what `element` gives for both.
    pub(in crate::ops) fn mix(&self, element: impl Fn(usize) -> f32) -> f32 {
        let low = element(self.low);
        low + self.weight * (element(self.high) - low)
    }
}

/// `x` with dimension `axis` interpolated linearly at `taps`.
pub(in crate::ops) fn interpolated(x: &Tensor, axis: usize, taps: &[Tap]) -> Result<Tensor, KernelError> {
    let length = x.dims()[axis];
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let mut shape = x.dims().to_vec();
    shape[axis] = taps.len();
    let mut out = vec![0.0; shape.iter().product()];
    if !out.is_empty() && length > 0 {
        view(x, |x: &[f32]| {
            out.par_chunks_mut(taps.len() * inner).zip(x.par_chunks(length * inner)).for_each(|(out, x)| {
                for (out, tap) in out.chunks_mut(inner).zip(taps) {
                    let (low, high) = (&x[tap.low * inner..][..inner], &x[tap.high * inner..][..inner]);
                    out.iter_mut()
                        .zip(low.iter().zip(high))
                        .for_each(|(out, (low, high))| *out = low + tap.weight * (high - low));
                }
            });
        })?;
    }
    Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
}

/// `x` with its last two dimensions interpolated to `height` and `width` places.
pub(in crate::ops) fn resized(x: &Tensor, grid: Grid, height: usize, width: usize) -> Result<Tensor, KernelError> {
    let mut result = x.clone();
    for (axis, count) in [(x.rank() - 2, height), (x.rank() - 1, width)] {
        result = interpolated(&result, axis, &taps(grid, x.dims()[axis], count))?;
    }
    Ok(result)
}

/// The taps of every place.
pub(in crate::ops) fn taps(grid: Grid, length: usize, count: usize) -> Vec<Tap> {
    grid.positions(length as f64, count).into_iter().map(|position| Tap::at(position, length)).collect()
}

/// `x` with the elements `places` of dimension `axis`.
pub(in crate::ops) fn selected(x: &Tensor, axis: usize, places: &[usize]) -> Result<Tensor, KernelError> {
    let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    let count = places.len();
    Ok(x.contiguous()?.index_select(&Tensor::from_vec(places, count, &Device::Cpu)?, axis)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(grid: Grid, count: usize, expected: &[f64]) {
        let found = grid.positions(2.0, count);
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.005),
            "{grid:?}: {found:?}"
        );
    }

    #[test]
    fn grids_are_those_of_the_documentation() {
        check(Grid::UnalignCorners, 5, &[0.0, 0.1, 0.5, 0.9, 1.0]);
        check(Grid::StrictAlignCorners, 5, &[0.0, 0.25, 0.5, 0.75, 1.0]);
        check(Grid::AlignCorners, 5, &[0.0, 0.25, 0.5, 0.75, 1.0]);
        check(Grid::AlignCorners, 1, &[0.5]);
        check(Grid::StrictAlignCorners, 1, &[0.0]);
        check(Grid::Default, 5, &[0.0, 0.4, 0.8, 1.0, 1.0]);
        check(Grid::OffsetCorners, 5, &[0.1, 0.3, 0.5, 0.7, 0.9]);
        check(Grid::UnalignCorners, 6, &[0.0, 0.0, 0.333, 0.667, 1.0, 1.0]);
        check(Grid::Default, 6, &[0.0, 0.333, 0.667, 1.0, 1.0, 1.0]);
        check(Grid::OffsetCorners, 6, &[0.083, 0.25, 0.417, 0.583, 0.75, 0.917]);
    }
}
