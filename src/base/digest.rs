//! Digests: sha256 addresses files (what LFS, OCI and the Hub use), BLAKE3 everything finer than a file.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} digest: expected 64 lower-case hexadecimal digits")]
pub struct DigestError {
    kind: &'static str,
    text: String,
}

fn parse_hex(kind: &'static str, text: &str) -> Result<[u8; 32], DigestError> {
    let error = || DigestError { kind, text: text.chars().take(80).collect() };
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return Err(error());
    }
    let (mut out, mut seen) = ([0; 32], 0);
    for (o, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        let [high, low] = pair.map(|byte| NIBBLES[byte as usize]);
        seen |= high | low;
        *o = high << 4 | low;
    }
    if seen > 0xf { Err(error()) } else { Ok(out) }
}

/// What a lower-case hexadecimal digit stands for; 255 for any other byte. Digests are most of what a build reads that
/// changes nothing.
const NIBBLES: [u8; 256] = {
    let (mut table, mut value) = ([u8::MAX; 256], 0);
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 0xf].map(|nibble| b"0123456789abcdef"[nibble as usize]);
    }
    // They are digits.
    f.write_str(std::str::from_utf8(&text).unwrap_or_default())
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 raw digest bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first 12 hexadecimal digits, for messages.
            pub fn short(&self) -> String {
                self.to_string()[..12].to_owned()
            }
        }

        /// 64 lower-case hexadecimal digits, without a prefix.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, ":{}"), self)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;
            fn from_str(text: &str) -> Result<Self, DigestError> {
                parse_hex($kind, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": concat!($kind, " digest in lower-case hexadecimal") })
            }
        }
    };
}

digest_type!(
    /// The sha256 of a whole file: the address of a blob, and of a release (of its canonical manifest).
    Digest,
    "sha256"
);
digest_type!(
    /// The BLAKE3 of a blob or of a range inside it.
    Blake3,
    "blake3"
);

impl Digest {
    /// The sha256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl Blake3 {
    /// The BLAKE3 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// The sha256 of a long byte stream. It is ring's, which is the faster one where the processor has no instructions for
/// it.
#[derive(Clone)]
pub struct DigestHasher(ring::digest::Context);

impl fmt::Debug for DigestHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestHasher")
    }
}

impl Default for DigestHasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl DigestHasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything seen.
    pub fn finish(self) -> Digest {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.0.finish().as_ref());
        Digest(sha256)
    }
}

/// sha256, BLAKE3 and length of a byte stream, computed in one pass.
#[derive(Debug, Clone, Default)]
pub struct BlobHasher {
    sha256: DigestHasher,
    blake3: blake3::Hasher,
    length: u64,
}

/// What a [`BlobHasher`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashedBytes {
    /// sha256 of all bytes.
    pub sha256: Digest,
    /// BLAKE3 of all bytes.
    pub blake3: Blake3,
    /// Number of bytes.
    pub size: u64,
}

impl BlobHasher {
    /// Adds bytes to both hashes. Large inputs hash on two threads at once.
    pub fn update(&mut self, bytes: &[u8]) {
        const WORTH_A_THREAD: usize = 256 << 10;
        self.length += bytes.len() as u64;
        let Self { sha256, blake3, .. } = self;
        if bytes.len() >= WORTH_A_THREAD {
            rayon::join(|| sha256.update(bytes), || blake3.update(bytes));
        } else {
            sha256.update(bytes);
            blake3.update(bytes);
        }
    }

    /// The digests of everything seen.
    pub fn finish(self) -> HashedBytes {
        HashedBytes {
            sha256: self.sha256.finish(),
            blake3: Blake3(*self.blake3.finalize().as_bytes()),
            size: self.length,
        }
    }

    /// The digests of `bytes`.
    pub fn hash(bytes: &[u8]) -> HashedBytes {
        let mut hasher = Self::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_values() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Blake3::of(b"").to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(BlobHasher::hash(&[7; 1 << 20]).sha256, Digest::of(&[7; 1 << 20]));
    }

    #[test]
    fn only_64_lower_case_digits_parse() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
        assert!(EMPTY.to_uppercase().parse::<Digest>().is_err());
        assert!(EMPTY[1..].parse::<Digest>().is_err());
        assert!("ü".repeat(32).parse::<Digest>().is_err());
    }
}
