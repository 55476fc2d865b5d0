//! Elements that are not in row-major order: steps from index to place.

use std::ops::Range;

/// Steps of a row-major tensor, in elements.
pub(crate) fn row_major(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

/// Splits a range of elements into (row, range inside the row) for rows of `length` elements.
pub(crate) fn by_row(range: Range<u64>, length: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let row = at / length;
        let part = at - row * length..length.min(range.end - row * length);
        at = row * length + part.end;
        Some((row, part))
    })
}

/// The elements `range` (counted row-major) of a tensor whose elements are `width` bytes wide and lie at `strides` in
/// `data`.
pub(crate) fn gather(data: &[u8], width: usize, shape: &[u64], strides: &[u64], range: Range<u64>) -> Vec<u8> {
    match width {
        1 => gather_wide::<1>(data, shape, strides, range),
        2 => gather_wide::<2>(data, shape, strides, range),
        4 => gather_wide::<4>(data, shape, strides, range),
        _ => gather_wide::<8>(data, shape, strides, range),
    }
}

/// The width as a constant, so that an element is a move and not a call.
fn gather_wide<const WIDTH: usize>(data: &[u8], shape: &[u64], strides: &[u64], range: Range<u64>) -> Vec<u8> {
    let element = |place: u64| {
        let at = place as usize * WIDTH;
        <[u8; WIDTH]>::try_from(&data[at..at + WIDTH]).expect("the slice is that long")
    };
    let (Some((&row, outer)), Some((&step, outer_strides))) = (shape.split_last(), strides.split_last()) else {
        return element(0).to_vec();
    };
    let mut out = Vec::with_capacity((range.end - range.start) as usize * WIDTH);
    for (index, part) in by_row(range, row) {
        let begin = place(index, outer, outer_strides);
        for column in part {
            out.extend_from_slice(&element(begin + column * step));
        }
    }
    out
}

/// Where the element `index` (counted row-major) lies.
pub(crate) fn place(index: u64, shape: &[u64], strides: &[u64]) -> u64 {
    let mut rest = index;
    let mut place = 0;
    for (&length, &stride) in shape.iter().zip(strides).rev() {
        place += rest % length * stride;
        rest /= length;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_transposed_tensor_can_be_gathered() {
        let data: Vec<u8> = (0..24u16).flat_map(u16::to_le_bytes).collect();
        // numpy.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).ravel()
        let expected = [0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22, 3, 7, 11, 15, 19, 23];
        for (begin, end) in [(0, 24), (0, 1), (5, 6), (7, 19), (23, 24), (4, 4)] {
            let bytes = gather(&data, 2, &[4, 2, 3], &[1, 12, 4], begin as u64..end as u64);
            let found: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
            assert_eq!(found, expected[begin..end], "{begin}..{end}");
        }
    }

    #[test]
    fn steps_of_a_row_major_tensor() {
        assert_eq!(row_major(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(row_major(&[]), [0u64; 0]);
    }
}
