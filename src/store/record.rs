//! Small JSON files with a checksum: `{"blake3":"<of the body's text>","body":...}` and a line feed.
//!
//! A record may have a glance: a line before it of the same form, with the little that is read often. Glances are
//! believed alone.
//!
//! They say where releases came from and went, which no digest elsewhere covers; so a flipped bit must not pass for a
//! fact.

use std::{fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};

use crate::base::{AtomicFile, Blake3};

use super::error::{RecordDamage, StoreError};

const HEAD: &str = "{\"blake3\":\"";
const MIDDLE: &str = "\",\"body\":";
const TAIL: &str = "}";

/// Writes a record, whole or not at all.
pub(super) fn write<T: Serialize>(path: &Path, body: &T) -> Result<(), StoreError> {
    write_text(path, line(path, body)?)
}

/// Writes a record with its glance, whole or not at all.
pub(super) fn write_with_glance<T: Serialize, G: Serialize>(
    path: &Path,
    body: &T,
    glance: &G,
) -> Result<(), StoreError> {
    write_text(path, line(path, glance)? + &line(path, body)?)
}

fn line<T: Serialize>(path: &Path, body: &T) -> Result<String, StoreError> {
    let body = serde_json::to_string(body).map_err(|source| StoreError::Encode { path: path.to_owned(), source })?;
    Ok(format!("{HEAD}{}{MIDDLE}{body}{TAIL}\n", Blake3::of(body.as_bytes())))
}

fn write_text(path: &Path, text: String) -> Result<(), StoreError> {
    AtomicFile::write(path, text.as_bytes()).map_err(StoreError::io("write", path))
}

/// Reads a record; `None` where there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let last = bytes.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|&byte| byte == b'\n').next());
    decode(last.unwrap_or_default()).map(Some).map_err(|why| StoreError::DamagedRecord { path: path.to_owned(), why })
}

/// Reads the glance of a record; `None` where there is no file, no glance, or one of another form.
pub(super) fn read_glance<G: DeserializeOwned>(path: &Path) -> Result<Option<G>, StoreError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let first = bytes.iter().position(|&byte| byte == b'\n').filter(|end| end + 1 < bytes.len());
    Ok(first.and_then(|end| decode(&bytes[..end]).ok()))
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
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
        assert!(read::<serde_json::Value>(&path).unwrap().is_some());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            assert!(read::<serde_json::Value>(&path).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_glance_is_read_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write(&path, &1).unwrap();
        assert_eq!((read::<u8>(&path).unwrap(), read_glance::<u8>(&path).unwrap()), (Some(1), None));
        write_with_glance(&path, &1, &2).unwrap();
        let both = || (read::<u8>(&path).ok().flatten(), read_glance::<u8>(&path).unwrap());
        assert_eq!(both(), (Some(1), Some(2)));
        let bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            let (body, glance) = both();
            assert!(body.is_none() || body == Some(1), "bit {bit}");
            assert!(if bit / 8 < middle { glance.is_none() } else { body.is_none() }, "bit {bit}: {body:?} {glance:?}");
        }
        assert_eq!(read_glance::<u8>(&folder.path().join("none")).unwrap(), None);
    }
}
