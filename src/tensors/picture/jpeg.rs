//! Decodes JPEG files: 8 bits, baseline and progressive, grey and in colors. CMYK is refused, since its colors depend on a profile.

use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{Image, MOST_PIXELS, PictureProblem, Samples, exif::Orientation};

/// The most pixels that a byte of a file can stand for: a bit for a block of 64, and room for chroma with more samples than luma.
const MOST_PIXELS_PER_BYTE: u64 = 2048;
/// Markers of the start of a scan and of the end of the picture.
const SCAN: [u8; 2] = [0xff, 0xda];
const END: [u8; 2] = [0xff, 0xd9];

pub(super) fn parse(bytes: &[u8]) -> Result<Image, PictureProblem> {
    // Damage in the middle is an error, too: the decoder would fill in grey.
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    let (pixels, length) = (width as u64 * height as u64, bytes.len() as u64);
    if pixels > MOST_PIXELS || pixels > length.saturating_mul(MOST_PIXELS_PER_BYTE) {
        return Err(PictureProblem::Size { width: width as u32, height: height as u32, length, limit: MOST_PIXELS });
    }
    let components = decoder.info().map_or(0, |info| info.components);
    let (color, channels) = match (decoder.input_colorspace(), components) {
        (_, 4) => return Err(PictureProblem::Colors("CMYK")),
        (Some(ColorSpace::Luma), _) | (_, 1) => (ColorSpace::Luma, 1),
        (_, 3) => (ColorSpace::RGB, 3),
        _ => return Err(PictureProblem::Colors("two channels")),
    };
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|found| found == marker);
    if last(END) < last(SCAN) {
        return Err(PictureProblem::Truncated);
    }
    let orientation = decoder.exif().map_or(Orientation::default(), |exif| Orientation::of_exif(exif));
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let samples = decoder.decode()?;
    if samples.len() != width * height * channels {
        return Err(PictureProblem::Truncated);
    }
    Ok(Image { width, height, channels, samples: Samples::Bytes(samples) }.turned(orientation))
}
