//! Pictures sampled at places that are computed: coordinates in three conventions, four ways to continue a picture
//! beyond its border.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::eval::{KernelError, view};

/// How coordinates count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Coordinates {
    /// In pixels.
    Pixels,
    /// From -1 to 1.
    MinusOneToOne,
    /// From 0 to 1.
    ZeroToOne,
}

/// What stands beyond the border.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::ops) enum Border {
    /// One number.
    Constant(f32),
    /// The border itself.
    Edge,
    /// The picture mirrored at its outermost pixels.
    Reflection,
    /// The picture mirrored at its outermost edges.
    Symmetric,
}

/// How a picture is sampled.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Sampler {
    pub(in crate::ops) coordinates: Coordinates,
    pub(in crate::ops) border: Border,
    /// Whether the extremes of normalized coordinates are the centres of the outermost pixels, not their outer edges.
    pub(in crate::ops) align_corners: bool,
    /// The nearest pixel (halves to even), not a mix of four.
    pub(in crate::ops) nearest: bool,
}

impl Sampler {
    /// A coordinate in pixels, brought inside as the border says.
    fn position(&self, coordinate: f32, length: usize) -> f32 {
        let (n, last) = (length as f32, length as f32 - 1.0);
        let position = match (self.coordinates, self.align_corners) {
            (Coordinates::Pixels, _) => coordinate,
            (Coordinates::MinusOneToOne, true) => (coordinate + 1.0) / 2.0 * last,
            (Coordinates::MinusOneToOne, false) => ((coordinate + 1.0) * n - 1.0) / 2.0,
            (Coordinates::ZeroToOne, true) => coordinate * last,
            (Coordinates::ZeroToOne, false) => coordinate * n - 0.5,
        };
        match self.border {
            Border::Constant(_) => position,
            Border::Edge => position.clamp(0.0, last),
            Border::Reflection => mirrored(position, 0.0, last).clamp(0.0, last),
            Border::Symmetric => mirrored(position, -0.5, n).clamp(0.0, last),
        }
    }

    /// `x` [n, c, height, width] sampled at `places` [n, rows, columns, 2] of (x, y).
    pub(in crate::ops) fn sample(&self, x: &Tensor, places: &Tensor) -> Result<Tensor, KernelError> {
        let &[pictures, channels, height, width] = x.dims() else {
            return Err(KernelError::Shape { computed: x.dims().to_vec(), inferred: "four dimensions".to_owned() });
        };
        let (rows, columns) = (places.dims()[1], places.dims()[2]);
        let plane = rows * columns;
        let mut out = vec![0.0; pictures * channels * plane];
        if !out.is_empty() {
            view(x, |x: &[f32]| {
                view(places, |places: &[f32]| {
                    out.par_chunks_mut(plane).enumerate().for_each(|(i, out)| {
                        let picture = &x[i * height * width..][..height * width];
                        let own = places[i / channels * plane * 2..].chunks_exact(2);
                        out.iter_mut()
                            .zip(own)
                            .for_each(|(out, place)| *out = self.at(picture, height, width, place[0], place[1]));
                    });
                })
            })??;
        }
        Ok(Tensor::from_vec(out, (pictures, channels, rows, columns), &Device::Cpu)?)
    }

    fn at(&self, picture: &[f32], height: usize, width: usize, x: f32, y: f32) -> f32 {
        let (x, y) = (self.position(x, width), self.position(y, height));
        let outside = if let Border::Constant(value) = self.border { value } else { 0.0 };
        let pixel = |y: f32, x: f32| {
            let inside = x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32;
            if inside { picture[y as usize * width + x as usize] } else { outside }
        };
        if self.nearest {
            return pixel(y.round_ties_even(), x.round_ties_even());
        }
        let (left, top) = (x.floor(), y.floor());
        let (right_share, bottom_share) = (x - left, y - top);
        let row = |y: f32| pixel(y, left) * (1.0 - right_share) + pixel(y, left + 1.0) * right_share;
        row(top) * (1.0 - bottom_share) + row(top + 1.0) * bottom_share
    }
}

/// `position` mirrored at `low` and at `low + span` until it lies between them.
fn mirrored(position: f32, low: f32, span: f32) -> f32 {
    if span <= 0.0 {
        return 0.0;
    }
    let offset = (position - low).abs();
    let rest = offset % span;
    if (offset / span).floor() % 2.0 == 0.0 { rest + low } else { span - rest + low }
}
