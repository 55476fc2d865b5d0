//! Decodes JPEG files: 8 bits, baseline and progressive, grey and in colors. CMYK is refused, since its colors depend
//! on a profile.

use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{Image, MOST_PIXELS, PictureProblem, Samples, exif::Orientation};

/// The most pixels that a byte of a file can stand for: a bit for a block of 64, and room for chroma with more samples
/// than luma.
const MOST_PIXELS_PER_BYTE: u64 = 2048;
/// Second bytes of markers: start and end of the picture.
const START: u8 = 0xd8;
const END: u8 = 0xd9;

/// Whether the picture's end marker is there. Segments are skipped by their lengths, since a thumbnail in them is a
/// picture by itself; what follows the end is nobody's, such as the film that phones append.
fn has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let Some(at) = rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff)) else {
            return false;
        };
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            END => return true,
            // These have no length: restarts, start, and a private one.
            0x01 | 0xd0..=0xd7 | START => {}
            // What follows the header of a scan is its data, in which 0 or a restart follows each 0xff.
            _ => {
                let Some(after) =
                    rest.first_chunk().and_then(|length| rest.get(usize::from(u16::from_be_bytes(*length))..))
                else {
                    return false;
                };
                rest = after;
            }
        }
    }
}

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
    if !has_end(bytes) {
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
