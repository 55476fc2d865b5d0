//! Which way the pictures and latents of a case are laid out: NCHW or NHWC, whatever the program has.

use candle_core::Tensor;

/// How a tensor of rank 4 comes into the program's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Keep,
    ToNhwc,
    ToNchw,
}

impl Turn {
    const ALL: [Self; 3] = [Self::Keep, Self::ToNhwc, Self::ToNchw];

    fn axes(self) -> [usize; 4] {
        match self {
            Self::Keep => [0, 1, 2, 3],
            Self::ToNhwc => [0, 2, 3, 1],
            Self::ToNchw => [0, 3, 1, 2],
        }
    }

    /// The tensor in the program's layout.
    pub(super) fn apply(self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        if self == Self::Keep { Ok(tensor.clone()) } else { tensor.permute(self.axes())?.contiguous() }
    }
}

/// The ways in which a tensor of rank 4 has a shape that the program accepts.
pub(super) fn turns(dims: &[usize], accepts: impl Fn(&[usize]) -> bool) -> Vec<Turn> {
    let turned = |turn: Turn| turn.axes().map(|axis| dims[axis]);
    if dims.len() != 4 {
        return Vec::new();
    }
    Turn::ALL.into_iter().filter(|&turn| accepts(&turned(turn))).collect()
}

/// The one way for all tensors of a case: shapes like [1, 16, 16, 16] fit in every layout, and follow the others.
/// `None` where they do not agree.
pub(super) fn common<'a>(possible: impl Iterator<Item = &'a [Turn]> + Clone) -> Option<Turn> {
    Turn::ALL.into_iter().find(|turn| possible.clone().all(|turns| turns.contains(turn)))
}
