//! Brings pictures to the size that a program takes.

use candle_core::{Device, Tensor};

use super::{MOST_PIXELS, PictureProblem};
use crate::eval::{
    pictures::{Shape, resized},
    view,
};

/// What happens to a picture of another shape than wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FitMode {
    /// It is stretched: both sides get their length.
    Stretch,
    /// Its middle is taken: it fills the size, and what is outside is cut off.
    Crop,
    /// It is shown whole, in the middle of black.
    Pad,
}

/// A picture [1, C, H, W] in the size `width` x `height`; `black` fills what it does not cover.
///
/// # Errors
/// For a size without pixels, or with more than a picture has.
pub fn fit(
    picture: &Tensor,
    (width, height): (usize, usize),
    mode: FitMode,
    black: f32,
) -> Result<Tensor, PictureProblem> {
    let (_, channels, own_height, own_width) = picture.dims4()?;
    let pixels = width.checked_mul(height).filter(|&n| n > 0 && n as u64 <= MOST_PIXELS);
    let target = pixels.ok_or(PictureProblem::Target { width, height })?;
    if (own_width, own_height) == (width, height) {
        return Ok(picture.clone());
    }
    let plane = |plane: &[f32]| match mode {
        FitMode::Stretch => resized(plane, (own_width, own_height), Shape::Stretched, (width, height)),
        FitMode::Crop => resized(plane, (own_width, own_height), Shape::Cropped, (width, height)),
        FitMode::Pad => {
            let scale = (width as f64 / own_width as f64).min(height as f64 / own_height as f64);
            let side = |own: usize, most: usize| ((own as f64 * scale).round() as usize).clamp(1, most);
            let (inner_width, inner_height) = (side(own_width, width), side(own_height, height));
            let inner = resized(plane, (own_width, own_height), Shape::Stretched, (inner_width, inner_height));
            let (left, top) = ((width - inner_width) / 2, (height - inner_height) / 2);
            let mut padded = vec![black; target];
            for (row, pixels) in inner.chunks(inner_width).enumerate() {
                padded[(top + row) * width + left..][..inner_width].copy_from_slice(pixels);
            }
            padded
        }
    };
    let planes =
        view(picture, |values: &[f32]| values.chunks(own_width * own_height).flat_map(plane).collect::<Vec<f32>>())?;
    Ok(Tensor::from_vec(planes, (1, channels, height, width), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(size: (usize, usize), mode: FitMode) -> Vec<Vec<f32>> {
        // 4 x 2 pixels: columns 0, 1, 2, 3.
        let picture = Tensor::new(&[0f32, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0], &Device::Cpu)
            .unwrap()
            .reshape((1, 1, 2, 4))
            .unwrap();
        fit(&picture, size, mode, -1.0).unwrap().squeeze(0).unwrap().squeeze(0).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn every_mode_gives_the_size() {
        assert_eq!(fitted((2, 2), FitMode::Crop), [[1.0, 2.0], [1.0, 2.0]]);
        let stretched = fitted((2, 2), FitMode::Stretch);
        assert!(
            stretched[0][0] > 0.4 && stretched[0][0] < 0.8 && (stretched[0][0] + stretched[0][1] - 3.0).abs() < 1e-5,
            "{stretched:?}"
        );
        let padded = fitted((4, 4), FitMode::Pad);
        assert_eq!(padded, [[-1.0; 4], [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], [-1.0; 4]]);
        assert_eq!(fitted((4, 2), FitMode::Pad)[1], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(fitted((1, 9), FitMode::Pad).len(), 9);
    }

    #[test]
    fn sizes_are_bounded() {
        let picture = Tensor::zeros((1, 3, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        for size in [(0, 3), (1 << 20, 1 << 20), (usize::MAX, 2)] {
            assert!(
                matches!(fit(&picture, size, FitMode::Stretch, 0.0), Err(PictureProblem::Target { .. })),
                "{size:?}"
            );
        }
    }
}
