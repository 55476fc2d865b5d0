//! How much a document may claim before anything is planned, allocated or read: every limit of what strangers write, in
//! one place.
//!
//! | what | limit |
//! |---|---|
//! | bytes of a release manifest | 256 MiB |
//! | bytes of an index, catalogue or proof | 64 MiB |
//! | bytes of a `layout.json`, or the `Manifest.json` of a package | 16 MiB |
//! | values in one of these documents | 16 million |
//! | nesting of JSON | 128 (serde_json's) |
//! | variants of a release | 100,000 |
//! | files of all variants of a release | 1 million |
//! | segments of all blobs of a release | 2 million |
//! | bytes of a blob | 1 PiB |
//! | bytes of the blobs that one plan downloads | 8 TiB, and what the disk has free |
//! | length of a path, and its components | 1024 bytes, 64 |
//! | ranges in the journal of a download | 4 million |
//!
//! Real releases stay far below: a language model of 700 GB in segments of 4 MiB has 175,000 of them.

/// Longest release manifest in bytes.
pub const RELEASE_BYTES: u64 = 256 << 20;
/// Longest index, catalogue or proof in bytes.
pub const INDEX_BYTES: u64 = 64 << 20;
/// Longest `layout.json` or `Manifest.json` in bytes.
pub const SMALL_DOCUMENT_BYTES: u64 = 16 << 20;
/// Most values, keys included, of one JSON document.
pub const DOCUMENT_VALUES: usize = 16_000_000;
/// Most variants of a release.
pub const VARIANTS: usize = 100_000;
/// Most files, folders included, of all variants of a release.
pub const RELEASE_FILES: usize = 1_000_000;
/// Most segments of all blobs of a release.
pub const RELEASE_SEGMENTS: usize = 2_000_000;
/// Most bytes of a blob.
pub const BLOB_BYTES: u64 = 1 << 50;
/// Most bytes of all blobs that one plan brings in: its requests have to fit in memory.
pub const PLAN_BYTES: u64 = 8 << 40;
/// Longest path in bytes: what macOS takes.
pub const LONGEST_PATH: usize = 1024;
/// Most components of a path.
pub const DEEPEST_PATH: usize = 64;
/// Most ranges that the journal of a download may leave.
pub const JOURNAL_RANGES: usize = 4_000_000;

/// Whether a JSON text has at most [`DOCUMENT_VALUES`] values and keys, counted without parsing it.
pub fn is_parsable(json: &[u8]) -> bool {
    let (mut values, mut in_string, mut is_escaped) = (1_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values <= DOCUMENT_VALUES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        let many = vec![b','; DOCUMENT_VALUES];
        assert!(!is_parsable(&[b"[", &many[..], b"]"].concat()));
        assert!(is_parsable(&[b"[\"", &many[..], b"\"]"].concat()));
        assert!(is_parsable(&[b"[\"\\\"", &many[..], b"\"]"].concat()));
        assert!(is_parsable(br#"{"a":[1,2,3]}"#));
    }
}
