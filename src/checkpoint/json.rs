//! JSON from strangers: files of a bounded length, and objects whose repeated keys are seen.
//!
//! `serde_json` keeps the last of two equal keys without a word, which lets a file say two things at once.

use std::{
    fmt,
    fs::{self, File},
    io::Read,
    marker::PhantomData,
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};

use super::{CheckpointError, mapped::LFS_POINTER};

/// Longest JSON that is read; the reference implementation of safetensors has this limit for headers.
pub(super) const LONGEST: u64 = 100_000_000;

/// Reads a JSON file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(io)?.len();
    if length > LONGEST {
        return Err(CheckpointError::TooLong { path: path.to_owned(), length, limit: LONGEST });
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(LONGEST).read_to_end(&mut bytes).map_err(io)?;
    if bytes.starts_with(LFS_POINTER) {
        return Err(CheckpointError::LfsPointer { path: path.to_owned() });
    }
    serde_json::from_slice(&bytes).map_err(|source| CheckpointError::Json { path: path.to_owned(), source })
}

/// A value of an object, whose type may depend on its key.
pub(super) trait Keyed: Sized {
    /// Reads the value of `key`.
    fn read<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Self, A::Error>;
}

impl Keyed for String {
    fn read<'de, A: MapAccess<'de>>(_key: &str, map: &mut A) -> Result<Self, A::Error> {
        map.next_value()
    }
}

/// The entries of an object in their order, repeated keys included.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Keyed> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);

        impl<'de, T: Keyed> Visitor<'de> for Each<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = T::read(&key, &mut map)?;
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Each(PhantomData))
    }
}
