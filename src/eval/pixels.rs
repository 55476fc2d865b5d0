//! Images as a device has them: numbers from 0 to 255, in planes [n, channels, height, width].

use candle_core::{DType, Device, Tensor};
use half::f16;

use super::view;
use crate::emit::coreml::ColorSpace;

/// What a pixel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// A byte for each channel.
    Bytes,
    /// A float16 for the only channel.
    Halves,
}

impl Pixels {
    /// The pixels of a color space.
    pub fn of(color: ColorSpace) -> Self {
        if color == ColorSpace::GrayscaleFloat16 { Self::Halves } else { Self::Bytes }
    }
}

/// The numbers as pixels hold them. Bytes: cut off below 0 and above 255, and rounded to the nearest whole number.
///
/// # Errors
/// When the tensor library refuses. NaN stays.
pub fn rounded(tensor: &Tensor, pixels: Pixels) -> candle_core::Result<Tensor> {
    let round = |value: f32| match pixels {
        Pixels::Bytes => value.clamp(0.0, 255.0).round(),
        Pixels::Halves => f16::from_f32(value).to_f32(),
    };
    let tensor = tensor.to_dtype(DType::F32)?;
    let values = view(&tensor, |values: &[f32]| values.iter().map(|&value| round(value)).collect::<Vec<f32>>())?;
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}

/// The planes in reverse order: RGB of BGR, and back.
///
/// # Errors
/// When the tensor library refuses, as it does without a dimension of channels.
pub fn reversed(tensor: &Tensor) -> candle_core::Result<Tensor> {
    let channels = tensor.dim(1)?;
    let planes: Vec<Tensor> = (0..channels).rev().map(|plane| tensor.narrow(1, plane, 1)).collect::<Result<_, _>>()?;
    Tensor::cat(&planes, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_off_and_rounded() {
        let tensor = Tensor::new(&[-3f32, 0.4, 0.5, 254.6, 255.4, 300.0], &Device::Cpu).unwrap();
        assert_eq!(
            rounded(&tensor, Pixels::Bytes).unwrap().to_vec1::<f32>().unwrap(),
            [0.0, 0.0, 1.0, 255.0, 255.0, 255.0]
        );
        let halves = rounded(&tensor, Pixels::of(ColorSpace::GrayscaleFloat16)).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(
            halves,
            [
                -3.0,
                f16::from_f32(0.4).to_f32(),
                0.5,
                f16::from_f32(254.6).to_f32(),
                f16::from_f32(255.4).to_f32(),
                300.0
            ]
        );
    }

    #[test]
    fn planes_are_reversed() {
        let tensor = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((1, 3, 1, 2)).unwrap();
        assert_eq!(
            reversed(&tensor).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            [4.0, 5.0, 2.0, 3.0, 0.0, 1.0]
        );
    }
}
