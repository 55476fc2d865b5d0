//! How a camera was held, as EXIF says it: tag 0x0112 of the first directory (Exif 2.32, TIFF 6.0). Anything else of it
//! is not read, and what is damaged says nothing.

/// How stored rows and columns become those that are seen: the numbers of EXIF, 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation(u8);

const TAG: u16 = 0x0112;
/// The type of 16-bit numbers.
const SHORT: u16 = 3;
/// Bytes of an entry of a directory.
const ENTRY: usize = 12;

impl Default for Orientation {
    /// As it is stored.
    fn default() -> Self {
        Self(1)
    }
}

impl Orientation {
    /// What an EXIF block says, which begins with a TIFF header.
    pub(super) fn of_exif(exif: &[u8]) -> Self {
        orientation(exif)
            .filter(|number| (1..=8).contains(number))
            .and_then(|number| u8::try_from(number).ok())
            .map_or(Self(1), Self)
    }

    /// Width and height as they are seen.
    pub(super) fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.0 < 5 { (width, height) } else { (height, width) }
    }

    /// The stored pixel that is seen at (x, y).
    pub(super) fn source(self, x: usize, y: usize, width: usize, height: usize) -> usize {
        let (column, row) = match self.0 {
            2 => (width - 1 - x, y),
            3 => (width - 1 - x, height - 1 - y),
            4 => (x, height - 1 - y),
            5 => (y, x),
            6 => (y, height - 1 - x),
            7 => (width - 1 - y, height - 1 - x),
            8 => (width - 1 - y, x),
            _ => (x, y),
        };
        row * width + column
    }
}

fn orientation(exif: &[u8]) -> Option<u16> {
    let is_little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes: [u8; 2] = exif.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let bytes: [u8; 4] = exif.get(4..8)?.try_into().ok()?;
    let directory =
        usize::try_from(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }).ok()?;
    let entries = directory.checked_add(2)?;
    let mut places = (0..usize::from(short(directory)?)).map_while(|index| entries.checked_add(index * ENTRY));
    let entry = places.find(|&at| short(at) == Some(TAG))?;
    (short(entry.checked_add(2)?)? == SHORT).then(|| short(entry.checked_add(8)?)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(is_little: bool, number: u16) -> Vec<u8> {
        let short = |n: u16| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u32| if is_little { n.to_le_bytes() } else { n.to_be_bytes() };
        let head: &[u8] = if is_little { b"II*\0" } else { b"MM\0*" };
        let other = [&short(0x010f)[..], &short(2), &long(1), &long(0)].concat();
        let own = [&short(TAG)[..], &short(SHORT), &long(1), &short(number), &short(0)].concat();
        [head, &long(8), &short(2), &other, &own].concat()
    }

    #[test]
    fn both_byte_orders_are_read_and_damage_says_nothing() {
        for is_little in [true, false] {
            let bytes = exif(is_little, 6);
            assert_eq!(Orientation::of_exif(&bytes), Orientation(6));
            for end in 0..bytes.len() {
                let _ = Orientation::of_exif(&bytes[..end]);
            }
            assert_eq!(Orientation::of_exif(&exif(is_little, 9)), Orientation::default());
        }
        assert_eq!(Orientation::of_exif(b"MM\0*\xff\xff\xff\xff"), Orientation::default());
    }

    #[test]
    fn every_orientation_has_its_corners() {
        // A picture of 3 x 2: 0 1 2 / 3 4 5. Seen: first row.
        let seen = |number| {
            let orientation = Orientation(number);
            let (width, _) = orientation.size(3, 2);
            (0..width).map(|x| orientation.source(x, 0, 3, 2)).collect::<Vec<_>>()
        };
        let expected: [&[usize]; 8] =
            [&[0, 1, 2], &[2, 1, 0], &[5, 4, 3], &[3, 4, 5], &[0, 3], &[3, 0], &[5, 2], &[2, 5]];
        for (number, expected) in (1..).zip(expected) {
            assert_eq!(seen(number), expected, "{number}");
        }
    }
}
