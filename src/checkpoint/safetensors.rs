//! The header of a safetensors file. Format: <https://huggingface.co/docs/safetensors>: u64 header length, JSON header,
//! data without gaps.
//!
//! The header is read here rather than by the `safetensors` crate, because that one takes repeated keys silently.

use std::collections::BTreeMap;

use serde::{Deserialize, de::MapAccess};

use super::{
    CheckpointDtype, TensorInfo,
    error::HeaderProblem,
    json::{self, Entries, Keyed},
    mapped::{StoredTensor, StoredTensors},
};

/// Reads and checks the header of a whole file: every byte behind it belongs to exactly one tensor.
///
/// # Errors
/// When it breaks a rule of the format.
pub fn read_header(file: &[u8]) -> Result<StoredTensors, HeaderProblem> {
    let length = file.len() as u64;
    let prefix: [u8; 8] = file.get(..8).and_then(|b| b.try_into().ok()).ok_or(HeaderProblem::TooShort { length })?;
    let claimed = u64::from_le_bytes(prefix);
    let limit = json::LONGEST.min(length - 8);
    if claimed > limit {
        return Err(HeaderProblem::Length { claimed, limit });
    }
    let begin = 8 + claimed;
    let header = &file[8..begin as usize];
    if header.first() != Some(&b'{') {
        return Err(HeaderProblem::Start { found: header.first().copied() });
    }
    let Entries(entries) = serde_json::from_slice(header).map_err(HeaderProblem::Json)?;
    check(entries, begin, length - begin)
}

/// Checks the entries against the `available` bytes of data, which begin at `base`.
fn check(entries: Vec<(String, Entry)>, base: u64, available: u64) -> Result<StoredTensors, HeaderProblem> {
    let mut metadata = false;
    let mut ranges: Vec<(u64, u64, String)> = Vec::with_capacity(entries.len());
    let mut tensors = StoredTensors::new();
    for (name, entry) in entries {
        let repeated = match entry {
            Entry::Metadata => std::mem::replace(&mut metadata, true),
            Entry::Tensor(entry) => {
                let (info, (begin, end)) = entry.check(&name, available)?;
                ranges.push((begin, end, name.clone()));
                tensors.insert(name.clone(), StoredTensor { info, begin: base + begin, strides: None }).is_some()
            }
        };
        if repeated {
            return Err(HeaderProblem::Repeated { name });
        }
    }
    ranges.sort_unstable();
    check_cover(ranges, available)?;
    Ok(tensors)
}

/// Checks that sorted ranges cover the data without overlap and gap.
fn check_cover(ranges: Vec<(u64, u64, String)>, available: u64) -> Result<(), HeaderProblem> {
    let mut previous_end = 0;
    for (begin, end, tensor) in ranges {
        if begin < previous_end {
            return Err(HeaderProblem::Overlap { tensor, begin, previous_end });
        }
        if begin > previous_end {
            return Err(HeaderProblem::Gap { begin: previous_end, end: begin });
        }
        previous_end = end;
    }
    if previous_end == available { Ok(()) } else { Err(HeaderProblem::Gap { begin: previous_end, end: available }) }
}

/// A value of the header.
enum Entry {
    Metadata,
    Tensor(TensorEntry),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Keyed for Entry {
    fn read<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Self, A::Error> {
        if key == "__metadata__" {
            return map.next_value::<BTreeMap<String, String>>().map(|_| Self::Metadata);
        }
        map.next_value().map(Self::Tensor)
    }
}

impl TensorEntry {
    /// Type and range of the tensor, once they agree with each other and with the `available` bytes.
    fn check(self, name: &str, available: u64) -> Result<(TensorInfo, (u64, u64)), HeaderProblem> {
        let tensor = || name.to_owned();
        let dtype = CheckpointDtype::from_name(&self.dtype)
            .ok_or_else(|| HeaderProblem::Dtype { tensor: tensor(), dtype: self.dtype.chars().take(40).collect() })?;
        let (begin, end) = self.data_offsets;
        if begin > end || end > available {
            return Err(HeaderProblem::Range { tensor: tensor(), begin, end, available });
        }
        let info = TensorInfo { dtype, shape: self.shape };
        let (expected, found) = (info.bytes(), end - begin);
        if expected != Some(found) {
            return Err(HeaderProblem::Size { tensor: tensor(), expected, found });
        }
        Ok((info, (begin, end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::Xorshift;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn problem(header: &str, data: usize) -> String {
        read_header(&file(header, data)).unwrap_err().to_string()
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"I64","shape":[],"data_offsets":[12,20]}}"#;

    #[test]
    fn tensors_lie_where_the_header_says() {
        let tensors = read_header(&file(GOOD, 20)).unwrap();
        assert_eq!(tensors["a"].info, TensorInfo { dtype: CheckpointDtype::F16, shape: vec![2, 3] });
        let begin = 8 + GOOD.len() as u64;
        assert_eq!((tensors["a"].begin, tensors["b"].begin), (begin, begin + 12));
        assert_eq!(tensors["b"].info.bytes(), Some(8));
    }

    #[test]
    fn hostile_headers_are_refused_with_the_reason() {
        assert!(problem(GOOD, 19).contains("claims the bytes 12..20"));
        assert!(problem(GOOD, 21).contains("the bytes 20..21 belong to no tensor"));
        assert!(problem(&GOOD.replace("[12,20]", "[13,21]"), 21).contains("the bytes 12..13 belong to no tensor"));
        assert!(problem(&GOOD.replace("\"b\"", "\"a\""), 20).contains("`a` is there twice"));
        assert!(problem(&GOOD.replace("I64", "I63"), 20).contains("dtype `I63`"));
        assert!(problem(&GOOD.replace("[2,3]", "[2,4]"), 20).contains("has 12 bytes, its dtype and shape need 16"));
        assert!(problem(&GOOD.replace("[2,3]", "[18446744073709551615,2]"), 20).contains("need more than fit"));
        assert!(problem(&GOOD.replace("[12,20]", "[4,12]"), 20).contains("inside the tensor before it"));
        assert!(problem(&GOOD.replace("[12,20]", "[20,12]"), 20).contains("claims the bytes 20..12"));
        assert!(problem(&GOOD.replace("\"pt\"", "3"), 20).contains("not the JSON it should be"));
        assert!(
            problem(&GOOD.replace("\"dtype\":\"F16\"", "\"dtype\":\"F16\",\"dtype\":\"F16\""), 20)
                .contains("not the JSON")
        );
        assert!(problem(&GOOD.replace("\"b\"", "\"__metadata__\""), 20).contains("not the JSON"));
        assert!(problem(r#"{"__metadata__":{},"__metadata__":{}}"#, 0).contains("`__metadata__` is there twice"));
        assert!(problem("[]", 0).contains("begins with `[`"));
        assert!(problem(&format!(" {GOOD}"), 20).contains("begins with ` `"));
        assert!(problem(&format!("{GOOD}x"), 20).contains("not the JSON"));
        assert!(read_header(&file(&format!("{GOOD}   "), 20)).is_ok(), "padding is part of the format");
        assert!(problem("", 0).contains("header is empty"));
        assert!(
            problem(&format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)), 0).contains("not the JSON")
        );
        assert!(read_header(&[1, 2, 3]).unwrap_err().to_string().contains("3 bytes cannot hold a header"));
        assert!(read_header(&u64::MAX.to_le_bytes()).unwrap_err().to_string().contains("at most 0 fit"));
    }

    #[test]
    fn tensors_without_elements_have_a_place() {
        let header = r#"{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
        let bytes = file(header, 2);
        let tensors = read_header(&bytes).unwrap();
        assert!(tensors["a"].data(&bytes).is_empty());
        assert_eq!(tensors["b"].data(&bytes).as_ref(), [0, 0]);
    }

    #[test]
    fn mutated_headers_never_panic() {
        let original = file(GOOD, 20);
        let mut random = Xorshift::new();
        let mut accepted = 0;
        for _ in 0..20_000 {
            let bytes = random.mutate(&original);
            if let Ok(tensors) = read_header(&bytes) {
                accepted += 1;
                for tensor in tensors.values() {
                    assert_eq!(Some(tensor.data(&bytes).len() as u64), tensor.info.bytes());
                }
            }
        }
        assert!((1..20_000).contains(&accepted), "{accepted} of 20000 accepted");
    }
}
