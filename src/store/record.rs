//! Small JSON files with a checksum: `{"blake3":"<of the body's text>","body":...}` and a line feed.
//!
//! They say where releases came from and went, which no digest elsewhere covers; so a flipped bit must not pass for a fact.

use std::{fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use crate::base::{AtomicFile, Blake3};

use super::error::{RecordDamage, StoreError};

const HEAD: &str = "{\"blake3\":\"";
const MIDDLE: &str = "\",\"body\":";
const TAIL: &str = "}\n";

/// Writes a record, whole or not at all.
pub(super) fn write<T: Serialize>(path: &Path, body: &T) -> Result<(), StoreError> {
    let body = serde_json::to_string(body).map_err(|source| StoreError::Encode { path: path.to_owned(), source })?;
    let text = format!("{HEAD}{}{MIDDLE}{body}{TAIL}", Blake3::of(body.as_bytes()));
    AtomicFile::write(path, text.as_bytes()).map_err(StoreError::io("write", path))
}

/// Reads a record; `None` where there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let text = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    decode(&text).map(Some).map_err(|why| StoreError::DamagedRecord { path: path.to_owned(), why })
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordDamage> {
    let parts = || {
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(HEAD)?.strip_suffix(TAIL)?;
        rest.split_once(MIDDLE)
    };
    let (expected, body) = parts().ok_or(RecordDamage::Form { expected: "a record with a checksum" })?;
    let found = Blake3::of(body.as_bytes()).to_string();
    if expected != found {
        return Err(RecordDamage::Digest { expected: expected.to_owned(), found });
    }
    serde_json::from_str(body).map_err(|_| RecordDamage::Form { expected: "the fields of this kind of record" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write(&path, &serde_json::json!({ "from": ["https://host/"], "number": 0.1 })).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(), "a record is JSON");
        assert!(decode::<serde_json::Value>(&bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<serde_json::Value>(&bytes).is_err(), "bit {bit}");
        }
    }
}
