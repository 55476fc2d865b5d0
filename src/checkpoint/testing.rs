//! What tests of this room share: changes that look random and are the same every time.

/// Marsaglia's xorshift.
pub(super) struct Xorshift(u64);

impl Xorshift {
    pub(super) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A copy with up to three bytes changed, and sometimes cut short.
    pub(super) fn mutate(&mut self, original: &[u8]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            bytes[at] = match self.below(3) {
                // Characters that matter to JSON and lengths get a better chance than others.
                0 => b"{}[]\",:0189-\\\xFF"[self.below(14)],
                1 => bytes[at] ^ (1 << self.below(8)),
                _ => (self.next() >> 32) as u8,
            };
        }
        if self.below(8) == 0 {
            bytes.truncate(self.below(original.len()));
        }
        bytes
    }
}
