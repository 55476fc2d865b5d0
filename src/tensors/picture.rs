//! `.png`: pictures as tensors of rank 4, [1, C, H, W] or [1, H, W, C], with the numbers of a value range. Read: 1 to 16 bits, grey, RGB, palette, with
//! or without alpha. Written: 8 bits, grey, RGB or RGBA. Colour profiles and gamma are left alone: numbers are what the file has.

use std::{
    fmt,
    io::{BufRead, Seek, Write},
};

use candle_core::{DType, Device, Tensor};
use png::{BitDepth, ColorType, Decoder, DecodingError, Encoder, EncodingError, Limits, Transformations};

use super::npz::DEFLATE_RATIO;
use crate::eval::view;

/// The most pixels of a picture that is read.
const MOST_PIXELS: u64 = 1 << 26;
/// What the decoder may allocate for itself besides the picture.
const DECODER_BYTES: usize = 64 << 20;

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
    /// Where the channels stand. Default: [`Layout::Nchw`] when read; when written where 1, 3 or 4 stands, first looked for at [1, C, H, W].
    pub layout: Option<Layout>,
    /// The numbers of black and white.
    pub range: ValueRange,
    /// How many channels are read: 1, 3 or 4. Default: those of the file (grey with alpha becomes RGBA). Grey becomes RGB, alpha is left out or opaque.
    pub channels: Option<usize>,
}

/// Why a picture cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// It is damaged.
    #[error("it is not a PNG file that can be read")]
    Decode(#[from] DecodingError),
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
    /// Channels that cannot be made of those of the file.
    #[error("it has {found} channels, expected {expected}")]
    Channels {
        /// Channels of the file.
        found: usize,
        /// Channels that were asked for.
        expected: usize,
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
            Self::Channels { expected: 1, .. } => Some("convert the picture to grey first".to_owned()),
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

pub(super) fn read(file: impl BufRead + Seek, length: u64, options: &PictureOptions) -> Result<Tensor, PictureProblem> {
    let mut decoder = Decoder::new_with_limits(file, Limits { bytes: DECODER_BYTES });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info()?;
    let (width, height) = reader.info().size();
    let too_large = PictureProblem::Size { width, height, length, limit: MOST_PIXELS };
    let raw = u64::try_from(reader.info().raw_bytes()).unwrap_or(u64::MAX);
    if u64::from(width) * u64::from(height) > MOST_PIXELS || raw > length.saturating_mul(DEFLATE_RATIO) {
        return Err(too_large);
    }
    let mut samples = vec![0; reader.output_buffer_size().ok_or(too_large)?];
    let (color, depth) = reader.output_color_type();
    reader.next_frame(&mut samples)?;
    reader.finish()?;
    let size = (height as usize, width as usize);
    match depth {
        BitDepth::Sixteen => assemble(&samples, |s: [u8; 2]| f32::from(u16::from_be_bytes(s)), 65535.0, color.samples(), size, options),
        _ => assemble(&samples, |[s]: [u8; 1]| f32::from(s), 255.0, color.samples(), size, options),
    }
}

/// The tensor of samples of `N` bytes, which stand pixel by pixel.
fn assemble<const N: usize>(
    samples: &[u8],
    sample: impl Fn([u8; N]) -> f32,
    max: f32,
    found: usize,
    (height, width): (usize, usize),
    options: &PictureOptions,
) -> Result<Tensor, PictureProblem> {
    let sources = sources(found, options.channels)?;
    let samples = samples.as_chunks::<N>().0;
    let value = |pixel: usize, source: Option<usize>| {
        options.range.of_sample(source.map_or(max, |channel| sample(samples[pixel * found + channel])), max)
    };
    let (pixels, channels) = (height * width, sources.len());
    let (values, shape): (Vec<f32>, _) = match options.layout.unwrap_or_default() {
        Layout::Nchw => {
            let values = sources.iter().flat_map(|&source| (0..pixels).map(move |pixel| (pixel, source)));
            (values.map(|(pixel, source)| value(pixel, source)).collect(), [1, channels, height, width])
        }
        Layout::Nhwc => {
            let values = (0..pixels).flat_map(|pixel| sources.iter().map(move |&source| (pixel, source)));
            (values.map(|(pixel, source)| value(pixel, source)).collect(), [1, height, width, channels])
        }
    };
    Ok(Tensor::from_vec(values, &shape, &Device::Cpu)?)
}

/// Which sample of a pixel each channel is; `None`: opaque.
fn sources(found: usize, expected: Option<usize>) -> Result<&'static [Option<usize>], PictureProblem> {
    let own = if found == 2 { 4 } else { found };
    Ok(match (found, expected.unwrap_or(own)) {
        (1 | 2, 1) => &[Some(0)],
        (1 | 2, 3) => &[Some(0), Some(0), Some(0)],
        (1, 4) => &[Some(0), Some(0), Some(0), None],
        (2, 4) => &[Some(0), Some(0), Some(0), Some(1)],
        (3 | 4, 3) => &[Some(0), Some(1), Some(2)],
        (3, 4) => &[Some(0), Some(1), Some(2), None],
        (4, 4) => &[Some(0), Some(1), Some(2), Some(3)],
        (_, expected) => return Err(PictureProblem::Channels { found, expected }),
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
