//! One safetensors file, mapped. Format: <https://huggingface.co/docs/safetensors>: u64 header length, JSON header, data without gaps.
//!
//! The header is read here rather than by the `safetensors` crate, because that one takes repeated keys silently.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    fs::File,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::{CheckpointDtype, CheckpointError, TensorInfo, Weights, error::HeaderProblem};

/// Longest header that is read; the reference implementation has the same limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// A mapped file.
pub(super) struct SafeTensors {
    path: PathBuf,
    map: Mmap,
    tensors: BTreeMap<String, (TensorInfo, std::ops::Range<usize>)>,
}

impl fmt::Debug for SafeTensors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafeTensors").field("path", &self.path).field("tensors", &self.tensors.len()).finish()
    }
}

impl SafeTensors {
    /// Maps the file and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        #[expect(
            unsafe_code,
            reason = "mapping is what keeps memory flat; as everywhere, the file must not be cut short while it is mapped"
        )]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        if map.starts_with(b"version https://git-lfs") {
            return Err(CheckpointError::LfsPointer { path: path.to_owned() });
        }
        let tensors = read_header(&map).map_err(|problem| CheckpointError::Header { path: path.to_owned(), problem })?;
        Ok(Self { path: path.to_owned(), map, tensors })
    }
}

impl Weights for SafeTensors {
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info)
    }

    fn data(&self, name: &str) -> Result<Cow<'_, [u8]>, CheckpointError> {
        let (_, range) = self.tensors.get(name).ok_or_else(|| CheckpointError::NoTensor { name: name.to_owned() })?;
        Ok(Cow::Borrowed(&self.map[range.clone()]))
    }
}

type Tensors = BTreeMap<String, (TensorInfo, std::ops::Range<usize>)>;

/// Reads and checks the header of a whole file.
pub(super) fn read_header(file: &[u8]) -> Result<Tensors, HeaderProblem> {
    let length = file.len() as u64;
    let prefix: [u8; 8] = file.get(..8).and_then(|b| b.try_into().ok()).ok_or(HeaderProblem::TooShort { length })?;
    let claimed = u64::from_le_bytes(prefix);
    let limit = LONGEST_HEADER.min(length - 8);
    if claimed > limit {
        return Err(HeaderProblem::Length { claimed, limit });
    }
    let begin = 8 + claimed as usize;
    let header: Header = serde_json::from_slice(&file[8..begin]).map_err(|e| HeaderProblem::Json(e.to_string()))?;
    check(header, (file.len() - begin) as u64, begin)
}

fn check(header: Header, available: u64, base: usize) -> Result<Tensors, HeaderProblem> {
    let mut ranges: Vec<(u64, u64, String)> = Vec::with_capacity(header.0.len());
    let mut tensors = Tensors::new();
    for (name, entry) in header.0 {
        let dtype = CheckpointDtype::from_name(&entry.dtype)
            .ok_or_else(|| HeaderProblem::Dtype { tensor: name.clone(), dtype: entry.dtype.chars().take(40).collect() })?;
        let (begin, end) = entry.data_offsets;
        if begin > end || end > available {
            return Err(HeaderProblem::Range { tensor: name, begin, end, available });
        }
        let info = TensorInfo { dtype, shape: entry.shape };
        let expected = info.bytes();
        if expected != Some(end - begin) {
            return Err(HeaderProblem::Size { tensor: name, expected, found: end - begin });
        }
        ranges.push((begin, end, name.clone()));
        tensors.insert(name, (info, base + begin as usize..base + end as usize));
    }
    ranges.sort();
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
    if previous_end == available { Ok(tensors) } else { Err(HeaderProblem::Gap { begin: previous_end, end: available }) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's tensors; repeated names are refused.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut seen = std::collections::HashSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<BTreeMap<String, String>>()?;
                    } else {
                        entries.push((name, map.next_value::<Entry>()?));
                    }
                }
                Ok(Header(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(tensors["a"].0, TensorInfo { dtype: CheckpointDtype::F16, shape: vec![2, 3] });
        assert_eq!(tensors["b"].1.len(), 8);
    }

    #[test]
    fn hostile_headers_are_refused_with_the_reason() {
        assert!(problem(GOOD, 19).contains("claims the bytes 12..20"));
        assert!(problem(GOOD, 21).contains("the bytes 20..21 belong to no tensor"));
        assert!(problem(&GOOD.replace("\"b\"", "\"a\""), 20).contains("`a` is there twice"));
        assert!(problem(&GOOD.replace("I64", "I63"), 20).contains("dtype `I63`"));
        assert!(problem(&GOOD.replace("[2,3]", "[2,4]"), 20).contains("has 12 bytes, its dtype and shape need 16"));
        assert!(problem(&GOOD.replace("[2,3]", "[18446744073709551615,2]"), 20).contains("need more than fit"));
        assert!(problem(&GOOD.replace("[12,20]", "[4,12]"), 20).contains("inside the tensor before it"));
        assert!(problem(&GOOD.replace("[12,20]", "[20,12]"), 20).contains("claims the bytes 20..12"));
        assert!(problem("[]", 0).contains("not the JSON it should be"));
        assert!(read_header(&[1, 2, 3]).unwrap_err().to_string().contains("3 bytes cannot hold a header"));
        assert!(read_header(&u64::MAX.to_le_bytes()).unwrap_err().to_string().contains("at most 0 fit"));
    }

    #[test]
    fn mutated_headers_never_panic() {
        let original = file(GOOD, 20);
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut bytes = original.clone();
            for _ in 0..3 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state % bytes.len() as u64) as usize;
                bytes[at] = (state >> 32) as u8;
            }
            if let Ok(tensors) = read_header(&bytes) {
                accepted += 1;
                assert!(tensors.values().all(|(_, range)| range.end <= bytes.len()));
            }
        }
        assert!(accepted < 20_000);
    }
}
