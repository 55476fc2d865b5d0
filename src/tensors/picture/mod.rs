//! Pictures as tensors of rank 4, [1, C, H, W] or [1, H, W, C], with the numbers of a value range.
//!
//! Read: PNG of 1 to 16 bits, grey, RGB, palette, with or without alpha; JPEG, baseline and progressive, grey or in
//! colors, turned as its EXIF orientation says. Written: PNG of 8 bits, grey, RGB or RGBA. Color profiles and gamma are
//! left alone: numbers are what the file has. A file is known by its first bytes, whatever its name says. Sizes are
//! compared with the length of the file before anything is allocated.

mod exif;
mod fit;
mod jpeg;
mod png;

use std::{fmt, io::Write};

use ::png::{BitDepth, ColorType, DecodingError, Encoder, EncodingError};
use candle_core::{DType, Device, Tensor};

pub use fit::{FitMode, fit};

use self::exif::Orientation;
use crate::eval::view;

/// The most pixels of a picture that is read or made.
const MOST_PIXELS: u64 = 1 << 26;
/// The longest file of a picture that is read.
pub(super) const MOST_BYTES: u64 = 1 << 29;

/// Where the channels stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// [1, C, H, W].
    #[default]
    Nchw,
    /// [1, H, W, C].
    Nhwc,
}

/// The numbers of black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ValueRange {
    /// 0 to 1.
    #[default]
    Unit,
    /// -1 to 1.
    Signed,
    /// 0 to 255.
    Byte,
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unit => "unit",
            Self::Signed => "signed",
            Self::Byte => "byte",
        })
    }
}

impl ValueRange {
    /// The numbers of black and white.
    pub fn limits(self) -> (f32, f32) {
        match self {
            Self::Unit => (0.0, 1.0),
            Self::Signed => (-1.0, 1.0),
            Self::Byte => (0.0, 255.0),
        }
    }

    /// The number of a sample of at most `max`.
    fn of_sample(self, sample: f32, max: f32) -> f32 {
        match self {
            Self::Unit => sample / max,
            Self::Signed => sample / max * 2.0 - 1.0,
            Self::Byte => sample / (max / 255.0),
        }
    }

    /// The nearest of 256 levels, halves away from zero; what is outside of the range is clamped.
    fn to_byte(self, value: f32) -> u8 {
        let level = match self {
            Self::Unit => value * 255.0,
            Self::Signed => (value + 1.0) / 2.0 * 255.0,
            Self::Byte => value,
        };
        level.clamp(0.0, 255.0).round() as u8
    }
}

/// How pictures become tensors, and tensors pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureOptions {
    /// Where the channels stand. Default: [`Layout::Nchw`] when read; when written where 1, 3 or 4 stands, first looked
    /// for at [1, C, H, W].
    pub layout: Option<Layout>,
    /// The numbers of black and white.
    pub range: ValueRange,
    /// How many channels are read: 1, 3 or 4. Default: those of the file (grey with alpha becomes RGBA). Grey becomes
    /// RGB, RGB becomes the grey of ITU-R BT.601, alpha is left out or opaque.
    pub channels: Option<usize>,
}

/// Why a picture cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// A PNG file that is damaged.
    #[error("it is not a PNG file that can be read")]
    Decode(#[from] DecodingError),
    /// A JPEG file that is damaged.
    #[error("it is not a JPEG file that can be read")]
    Jpeg(#[from] zune_jpeg::errors::DecodeErrors),
    /// A JPEG file that ends too early.
    #[error("the JPEG file is cut off: it has no end marker")]
    Truncated,
    /// A JPEG file of a kind that is not read.
    #[error("it is a JPEG file in {0}: expected grey or RGB")]
    Colors(&'static str),
    /// Neither PNG nor JPEG, whatever its name says.
    #[error("it is neither a PNG nor a JPEG file")]
    Kind,
    /// A file longer than pictures are.
    #[error("it has {length} bytes: expected at most {MOST_BYTES}")]
    Long {
        /// Its length.
        length: u64,
    },
    /// It cannot be written.
    #[error("the PNG file cannot be written")]
    Encode(#[from] EncodingError),
    /// More pixels than are read, or than the file's bytes can make.
    #[error("it claims {width} x {height} pixels in {length} bytes, more than can be there or are read ({limit})")]
    Size {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
        /// Length of the file.
        length: u64,
        /// The most pixels that are read.
        limit: u64,
    },
    /// Channels that no picture has.
    #[error("pictures have 1, 3 or 4 channels: expected {expected}")]
    Channels {
        /// Channels that were asked for.
        expected: usize,
    },
    /// A size that a picture cannot be brought to.
    #[error("a picture of {width} x {height} pixels cannot be made: expected 1 to {MOST_PIXELS} pixels")]
    Target {
        /// Pixels from left to right.
        width: usize,
        /// Pixels from top to bottom.
        height: usize,
    },
    /// A tensor that is no picture.
    #[error("the tensor has the shape {found:?}, expected {expected} with 1, 3 or 4 channels")]
    Shape {
        /// Its shape.
        found: Vec<usize>,
        /// What pictures have.
        expected: &'static str,
    },
    /// Numbers that are none.
    #[error("{count} of its numbers are NaN, the first at element {first}")]
    NotANumber {
        /// How many.
        count: usize,
        /// Where the first is, in row-major order.
        first: usize,
    },
    /// The tensor library refused.
    #[error("the tensor cannot be used")]
    Tensor(#[from] candle_core::Error),
}

impl PictureProblem {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotANumber { .. } => Some("write it as .safetensors to look at the numbers".to_owned()),
            Self::Colors(_) => Some("convert it first, e.g. `magick photo.jpg -colorspace sRGB photo.png`".to_owned()),
            Self::Shape { .. } => Some("write it as .safetensors or .npy".to_owned()),
            _ => None,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        })
    }
}

/// A picture as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    /// Grey, grey and alpha, RGB, or RGBA.
    channels: usize,
    samples: Samples,
}

/// Samples, pixel by pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Samples {
    /// The number of a sample.
    fn number(&self, at: usize) -> f32 {
        match self {
            Self::Bytes(samples) => f32::from(samples[at]),
            Self::Words(samples) => f32::from(samples[at]),
        }
    }

    /// The number of white.
    fn max(&self) -> f32 {
        match self {
            Self::Bytes(_) => 255.0,
            Self::Words(_) => 65535.0,
        }
    }
}

impl Image {
    /// Reads the bytes of a PNG or JPEG file.
    ///
    /// # Errors
    /// When it is neither, damaged, or larger than pictures are.
    pub fn parse(bytes: &[u8]) -> Result<Self, PictureProblem> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => png::parse(bytes),
            [0xff, 0xd8, 0xff, ..] => jpeg::parse(bytes),
            _ => Err(PictureProblem::Kind),
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Whether some pixel is not opaque.
    pub fn is_transparent(&self) -> bool {
        let alphas = (0..self.width * self.height).map(|pixel| pixel * self.channels + self.channels - 1);
        matches!(self.channels, 2 | 4) && alphas.into_iter().any(|at| self.samples.number(at) < self.samples.max())
    }

    /// The tensor of its numbers.
    ///
    /// # Errors
    /// For a number of channels that no picture has.
    pub fn tensor(&self, options: &PictureOptions) -> Result<Tensor, PictureProblem> {
        let sources = sources(self.channels, options.channels)?;
        let (pixels, channels, max) = (self.width * self.height, sources.len(), self.samples.max());
        let sample = |pixel: usize, channel: usize| self.samples.number(pixel * self.channels + channel);
        let value = |pixel: usize, source: Source| {
            let number = match source {
                Source::Channel(channel) => sample(pixel, channel),
                Source::Opaque => max,
                Source::Luma => luma([0, 1, 2].map(|channel| sample(pixel, channel))),
            };
            options.range.of_sample(number, max)
        };
        let (values, shape): (Vec<f32>, _) = match options.layout.unwrap_or_default() {
            Layout::Nchw => {
                let values = sources.iter().flat_map(|&source| (0..pixels).map(move |pixel| (pixel, source)));
                (values.map(|(pixel, source)| value(pixel, source)).collect(), [1, channels, self.height, self.width])
            }
            Layout::Nhwc => {
                let values = (0..pixels).flat_map(|pixel| sources.iter().map(move |&source| (pixel, source)));
                (values.map(|(pixel, source)| value(pixel, source)).collect(), [1, self.height, self.width, channels])
            }
        };
        Ok(Tensor::from_vec(values, &shape, &Device::Cpu)?)
    }

    /// The picture as its camera was held.
    fn turned(self, orientation: Orientation) -> Self {
        let (width, height) = orientation.size(self.width, self.height);
        let from =
            (0..width * height).map(|pixel| orientation.source(pixel % width, pixel / width, self.width, self.height));
        let channels = self.channels;
        let places = from.flat_map(|pixel| (0..channels).map(move |channel| pixel * channels + channel));
        let samples = match &self.samples {
            _ if orientation == Orientation::default() => return self,
            Samples::Bytes(samples) => Samples::Bytes(places.map(|at| samples[at]).collect()),
            Samples::Words(samples) => Samples::Words(places.map(|at| samples[at]).collect()),
        };
        Self { width, height, channels, samples }
    }
}

/// Where the numbers of a channel come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Channel(usize),
    /// Alpha that the file does not have.
    Opaque,
    /// Grey of colors.
    Luma,
}

/// Grey of ITU-R BT.601, with the weights in 1/65536 that Pillow has.
fn luma([red, green, blue]: [f32; 3]) -> f32 {
    (red * 19595.0 + green * 38470.0 + blue * 7471.0) / 65536.0
}

fn sources(found: usize, expected: Option<usize>) -> Result<&'static [Source], PictureProblem> {
    use Source::{Channel, Luma, Opaque};
    let own = if found == 2 { 4 } else { found };
    Ok(match (found, expected.unwrap_or(own)) {
        (1 | 2, 1) => &[Channel(0)],
        (1 | 2, 3) => &[Channel(0), Channel(0), Channel(0)],
        (1, 4) => &[Channel(0), Channel(0), Channel(0), Opaque],
        (2, 4) => &[Channel(0), Channel(0), Channel(0), Channel(1)],
        (_, 1) => &[Luma],
        (_, 3) => &[Channel(0), Channel(1), Channel(2)],
        (3, 4) => &[Channel(0), Channel(1), Channel(2), Opaque],
        (4, 4) => &[Channel(0), Channel(1), Channel(2), Channel(3)],
        (_, expected) => return Err(PictureProblem::Channels { expected }),
    })
}

pub(super) fn write(file: &mut dyn Write, tensor: &Tensor, options: &PictureOptions) -> Result<(), PictureProblem> {
    let (layout, [channels, height, width]) = place(tensor.dims(), options.layout)?;
    let tensor = tensor.to_dtype(DType::F32)?;
    let tensor = if layout == Layout::Nchw { tensor.permute((0, 2, 3, 1))? } else { tensor };
    let bytes = view(&tensor, |values: &[f32]| to_bytes(values, options.range))??;
    let mut encoder = Encoder::new(file, width, height);
    encoder.set_color([ColorType::Grayscale, ColorType::Rgb, ColorType::Rgba][channels as usize / 2]);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&bytes)?;
    Ok(writer.finish()?)
}

fn to_bytes(values: &[f32], range: ValueRange) -> Result<Vec<u8>, PictureProblem> {
    if let Some(first) = values.iter().position(|value| value.is_nan()) {
        return Err(PictureProblem::NotANumber { count: values.iter().filter(|value| value.is_nan()).count(), first });
    }
    Ok(values.iter().map(|&value| range.to_byte(value)).collect())
}

/// Layout, channels, height and width of a tensor that is a picture.
fn place(shape: &[usize], layout: Option<Layout>) -> Result<(Layout, [u32; 3]), PictureProblem> {
    let candidates = [(Layout::Nchw, [1, 2, 3]), (Layout::Nhwc, [3, 1, 2])];
    let fits = |order: [usize; 3]| {
        let [channels, height, width] = order.map(|axis| shape.get(axis).and_then(|&n| u32::try_from(n).ok()));
        let (channels, height, width) = (channels.filter(|n| [1, 3, 4].contains(n))?, height?, width?);
        (shape.len() == 4 && shape[0] == 1 && height > 0 && width > 0).then_some([channels, height, width])
    };
    let wanted = candidates.into_iter().filter(|(candidate, _)| layout.is_none_or(|layout| layout == *candidate));
    wanted.into_iter().find_map(|(layout, order)| Some((layout, fits(order)?))).ok_or_else(|| PictureProblem::Shape {
        found: shape.to_vec(),
        expected: match layout {
            None => "[1, C, H, W] or [1, H, W, C]",
            Some(Layout::Nchw) => "[1, C, H, W]",
            Some(Layout::Nhwc) => "[1, H, W, C]",
        },
    })
}
