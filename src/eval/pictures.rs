//! Pictures to look at: side by side with what is expected, and where they differ.

use candle_core::{Device, Tensor};
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};

use super::view;

/// Black pixels between the panels of a strip.
const GAP: usize = 4;

/// A picture in planes: channels, height, width; 3 channels of numbers in 0..1.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Red, green and blue, each row by row.
    pub planes: [Vec<f32>; 3],
}

impl Picture {
    /// The picture that a tensor of rank 4 holds, [1, C, H, W] or [1, H, W, C] of 1, 3 or 4 channels, alpha left out;
    /// `None` of any other. `black` and `white` become 0 and 1.
    pub fn of(tensor: &Tensor, (black, white): (f32, f32)) -> Option<Self> {
        let dims = tensor.dims();
        let places = [(1, 3), (3, 3), (1, 1), (1, 4), (3, 1), (3, 4)];
        let (axis, _) =
            places.into_iter().find(|&(axis, channels)| dims.len() == 4 && dims[0] == 1 && dims[axis] == channels)?;
        let tensor = if axis == 1 { tensor.clone() } else { tensor.permute((0, 3, 1, 2)).ok()? };
        let &[_, channels, height, width] = tensor.dims() else { return None };
        let scaled = |values: &[f32]| {
            let plane = |channel: usize| {
                let channel = if channels == 1 { 0 } else { channel };
                values[channel * height * width..][..height * width]
                    .iter()
                    .map(|value| (value - black) / (white - black))
                    .collect()
            };
            [plane(0), plane(1), plane(2)]
        };
        let planes = view(&tensor, scaled).ok()?;
        (height > 0 && width > 0).then_some(Self { width, height, planes })
    }

    /// The tensor [1, 3, H, W] of its numbers.
    ///
    /// # Errors
    /// When the tensor library refuses.
    pub fn tensor(&self) -> candle_core::Result<Tensor> {
        Tensor::from_vec(self.planes.concat(), (1, 3, self.height, self.width), &Device::Cpu)
    }

    /// Where two pictures of one size differ, as a heat map, and what its white means: the largest difference of a
    /// pixel.
    pub fn difference(&self, other: &Self) -> (Self, f32) {
        let distance = self.distance(other);
        let largest = distance.largest();
        (distance.heat(largest), largest)
    }

    /// How far each pixel is from the other picture's, mean over the channels, as a picture of grey.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Self {
        let pixel = |at: usize| {
            (0..3).map(|channel| (self.planes[channel][at] - other.planes[channel][at]).abs()).sum::<f32>() / 3.0
        };
        let distances: Vec<f32> = (0..self.planes[0].len()).map(pixel).collect();
        Self { width: self.width, height: self.height, planes: [distances.clone(), distances.clone(), distances] }
    }

    /// The largest finite number of the first channel; 0 where there is none above.
    pub fn largest(&self) -> f32 {
        self.planes[0].iter().copied().filter(|value| value.is_finite()).fold(0.0, f32::max)
    }

    /// A picture of grey as a heat map: black at 0, over red and yellow to white at `white`. What is not a number is
    /// white.
    #[must_use]
    pub fn heat(&self, white: f32) -> Self {
        let scale = if white > 0.0 { 3.0 / white } else { 0.0 };
        let level =
            |value: &f32, offset: f32| if value.is_finite() { (value * scale - offset).clamp(0.0, 1.0) } else { 1.0 };
        let heat = |offset: f32| self.planes[0].iter().map(|value| level(value, offset)).collect();
        Self { width: self.width, height: self.height, planes: [heat(0.0), heat(1.0), heat(2.0)] }
    }

    /// Pictures of one height next to each other.
    pub fn side_by_side(pictures: &[&Self]) -> Self {
        let height = pictures.iter().map(|picture| picture.height).max().unwrap_or(0);
        let width = pictures.iter().map(|picture| picture.width + GAP).sum::<usize>().saturating_sub(GAP);
        let mut strip = Self { width, height, planes: std::array::from_fn(|_| vec![0.0; width * height]) };
        let mut left = 0;
        for picture in pictures {
            for (plane, source) in strip.planes.iter_mut().zip(&picture.planes) {
                for (row, pixels) in source.chunks(picture.width).enumerate() {
                    plane[row * width + left..][..picture.width].copy_from_slice(pixels);
                }
            }
            left += picture.width + GAP;
        }
        strip
    }

    /// The picture with black where there is no number.
    #[must_use]
    pub fn without_nan(mut self) -> Self {
        self.planes.iter_mut().flatten().filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
        self
    }

    /// The picture in another size: every pixel is a mean over a triangle as wide as both pixels need, so that nothing
    /// is skipped.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let planes = self
            .planes
            .each_ref()
            .map(|plane| resized(plane, (self.width, self.height), Shape::Stretched, (width, height)));
        Self { width, height, planes }
    }

    /// The picture with no side longer than `most`.
    #[must_use]
    pub fn at_most(&self, most: usize) -> Self {
        let longest = self.width.max(self.height);
        if longest <= most {
            return self.clone();
        }
        let side = |length: usize| (length * most / longest).max(1);
        self.resized(side(self.width), side(self.height))
    }
}

/// What happens to a plane whose sides have another ratio than wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// It is stretched.
    Stretched,
    /// Its middle is taken.
    Cropped,
}

/// A plane of `from.0` x `from.1` numbers in the size `to`: every number is a mean over a triangle as wide as both
/// pixels need.
pub fn resized(plane: &[f32], from: (usize, usize), shape: Shape, to: (usize, usize)) -> Vec<f32> {
    let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let pixels: Vec<F32> = plane.iter().map(|&value| F32::new(value)).collect();
    let Ok(source) = TypedImageRef::new(side(from.0), side(from.1), &pixels) else { return vec![0.0; to.0 * to.1] };
    let mut target = TypedImage::<F32>::new(side(to.0), side(to.1));
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    if shape == Shape::Cropped {
        options = options.fit_into_destination(None);
    }
    let resized = Resizer::new().resize_typed(&source, &mut target, &options);
    resized.expect("what is taken lies inside of the picture");
    target.pixels().iter().map(|pixel| pixel.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, values: &[f32]) -> Picture {
        let plane = values.to_vec();
        Picture { width, height: values.len() / width, planes: [plane.clone(), plane.clone(), plane] }
    }

    #[test]
    fn both_layouts_and_ranges_are_the_same_picture() {
        let planes =
            Tensor::new(&[-1f32, 0.0, 1.0, 1.0, 0.0, -1.0], &Device::Cpu).unwrap().reshape((1, 3, 1, 2)).unwrap();
        let picture = Picture::of(&planes, (-1.0, 1.0)).unwrap();
        assert_eq!(picture.planes, [vec![0.0, 0.5], vec![1.0, 1.0], vec![0.5, 0.0]]);
        let pixels = planes.permute((0, 2, 3, 1)).unwrap();
        assert_eq!(Picture::of(&pixels, (-1.0, 1.0)), Some(picture));
        assert_eq!(
            Picture::of(&Tensor::zeros((1, 16, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap(), (0.0, 1.0)),
            None
        );
    }

    #[test]
    fn the_difference_is_black_where_nothing_differs_and_white_where_most() {
        let (map, largest) = grey(3, &[0.0, 0.5, 1.0]).difference(&grey(3, &[0.0, 0.25, 0.5]));
        assert_eq!(largest, 0.5);
        assert_eq!(map.planes, [vec![0.0, 1.0, 1.0], vec![0.0, 0.5, 1.0], vec![0.0, 0.0, 1.0]]);
        let (equal, largest) = grey(1, &[0.5]).difference(&grey(1, &[0.5]));
        assert_eq!((equal.planes[0][0], largest), (0.0, 0.0));
        let (wrong, _) = grey(1, &[f32::NAN]).difference(&grey(1, &[0.5]));
        assert_eq!(wrong.planes[2][0], 1.0);
    }

    #[test]
    fn panels_stand_next_to_each_other() {
        let strip = Picture::side_by_side(&[&grey(1, &[0.1, 0.2]), &grey(2, &[0.3, 0.4, 0.5, 0.6])]);
        assert_eq!((strip.width, strip.height), (7, 2));
        assert_eq!(strip.planes[1], [0.1, 0.0, 0.0, 0.0, 0.0, 0.3, 0.4, 0.2, 0.0, 0.0, 0.0, 0.0, 0.5, 0.6]);
    }

    #[test]
    fn resizing_keeps_means_and_edges() {
        let picture = grey(4, &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        let small = picture.resized(2, 1);
        assert_eq!((small.width, small.height), (2, 1));
        assert!((small.planes[0][0] + small.planes[0][1] - 1.0).abs() < 1e-6 && small.planes[0][0] < 0.2, "{small:?}");
        let large = grey(2, &[0.0, 1.0]).resized(4, 1);
        assert_eq!(large.planes[0], [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(grey(6, &[0.5; 12]).at_most(3).planes[0], [0.5; 3]);
    }
}
