//! Windows that slide over spatial dimensions: convolution and pooling. Lengths follow coremltools'
//! `spatial_dimensions_out_shape`.

use super::shapes::{UNKNOWN, choice, integers};
use crate::{
    base::Target,
    mil::{Call, Dimension, InferError},
};

/// How a window moves along one dimension.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Window {
    pub(in crate::ops) kernel: u64,
    pub(in crate::ops) stride: u64,
    pub(in crate::ops) dilation: u64,
    /// Padding in front; 0 where it depends on an unknown length.
    pub(in crate::ops) before: u64,
    /// Padding behind; 0 where it depends on an unknown length.
    pub(in crate::ops) after: u64,
    same: bool,
}

impl Window {
    /// Elements that a window spans.
    pub(in crate::ops) fn span(&self) -> u64 {
        (self.kernel.saturating_sub(1)).saturating_mul(self.dilation).saturating_add(1)
    }
}

/// The windows of `kernel` over `input` (spatial dimensions only), from the parameters `strides`, `pad_type`, `pad`
/// and, where the operator has it, `dilations`.
pub(in crate::ops) fn windows(call: &Call<'_>, kernel: &[u64], input: &[Dimension]) -> Result<Vec<Window>, InferError> {
    let count = kernel.len();
    let kind = choice(call, "pad_type", &["valid", "custom", "same", "same_lower"])?;
    if kind == "same_lower" && call.target() < Target::Ios16 {
        return Err(InferError::rule("pad_type", "`same_lower` needs iOS16"));
    }
    let strides = integers(call, "strides", count, 1)?;
    let dilated = call.version().parameter("dilations").is_some();
    let dilations = if dilated { integers(call, "dilations", count, 1)? } else { vec![1; count] };
    let pad = if kind == "custom" { integers(call, "pad", 2 * count, 0)? } else { vec![0; 2 * count] };
    let window = |i: usize| {
        let mut window = Window {
            kernel: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            before: pad[2 * i],
            after: pad[2 * i + 1],
            same: kind.starts_with("same"),
        };
        if let (true, Some(length)) = (window.same, input[i].known()) {
            let total = (length.div_ceil(window.stride).saturating_sub(1) * window.stride)
                .saturating_add(window.span())
                .saturating_sub(length);
            let small = total / 2;
            (window.before, window.after) =
                if kind == "same" { (small, total - small) } else { (total - small, small) };
        }
        window
    };
    Ok((0..count).map(window).collect())
}

/// How many places each window has; with `ceil`, a last window may stand over the end (of pooling only).
pub(in crate::ops) fn places(
    windows: &[Window],
    input: &[Dimension],
    ceil: bool,
) -> Result<Vec<Dimension>, InferError> {
    let place = |(window, dimension): (&Window, &Dimension)| {
        let Some(length) = dimension.known() else { return Ok(UNKNOWN) };
        let padded = length.saturating_add(window.before).saturating_add(window.after);
        let Some(room) = padded.checked_sub(window.span()) else {
            return Err(InferError::rule(
                "x",
                format!("a window of {} does not fit into {padded} elements", window.span()),
            ));
        };
        let mut count = if ceil { room.div_ceil(window.stride) } else { room / window.stride } + 1;
        let padding = window.before + window.after;
        if ceil && padding > 0 && 2 * (count - 1) * window.stride >= 2 * length + padding {
            count -= 1;
        }
        Ok(Dimension::Known(count))
    };
    windows.iter().zip(input).map(place).collect()
}
