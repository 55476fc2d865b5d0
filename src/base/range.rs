//! A non-empty range of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `length` bytes from `offset`: never empty, and its end fits in 63 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteRange {
    offset: u64,
    length: u64,
}

impl ByteRange {
    /// The range, or `None` where it is empty or its end does not fit in an `i64`.
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (length > 0 && end <= i64::MAX as u64).then_some(Self { offset, length })
    }

    /// First byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes, at least 1.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Whether every byte of `other` is in this range.
    pub fn contains(&self, other: &ByteRange) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }
}

/// Formats the range as HTTP's `Range` header (RFC 9110 section 14.1.2): `bytes=first-last`.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes={}-{}", self.offset, self.end() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_empty_never_overflows() {
        assert_eq!(ByteRange::new(0, 0), None);
        assert_eq!(ByteRange::new(u64::MAX, 1), None);
        assert_eq!(ByteRange::new(64, 10).unwrap().to_string(), "bytes=64-73");
    }
}
