//! Decodes PNG files.

use std::io::Cursor;

use png::{BitDepth, Decoder, Limits, Transformations};

use super::{Image, MOST_PIXELS, PictureProblem, Samples, exif::Orientation};
use crate::tensors::npz::DEFLATE_RATIO;

/// What the decoder may allocate for itself besides the picture.
const DECODER_BYTES: usize = 64 << 20;

pub(super) fn parse(bytes: &[u8]) -> Result<Image, PictureProblem> {
    let length = bytes.len() as u64;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODER_BYTES });
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
    let samples = match depth {
        BitDepth::Sixteen => {
            Samples::Words(samples.as_chunks::<2>().0.iter().map(|sample| u16::from_be_bytes(*sample)).collect())
        }
        _ => Samples::Bytes(samples),
    };
    let orientation = reader.info().exif_metadata.as_deref().map_or(Orientation::default(), Orientation::of_exif);
    Ok(Image { width: width as usize, height: height as usize, channels: color.samples(), samples }.turned(orientation))
}
