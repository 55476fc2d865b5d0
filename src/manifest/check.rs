//! Parses release manifests from untrusted sources. A release that passes places no file outside of its bundle, has no
//! files that collide on any file system and no segments beyond their blob, and stays within the
//! [limits](crate::base::limits).

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

use super::{
    canonical::{CanonicalError, to_canonical},
    release::{Blob, Release, SCHEMA, Segment, SegmentContent, Variant},
};
use crate::base::{ByteRange, ClashKind, Digest, PathClash, PathTree, RelativePath, limits, name_key, name_problem};

/// A rule that a release manifest breaks.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The document is too long.
    #[error("the release manifest has {found} bytes: expected at most {limit}")]
    TooLong { found: u64, limit: u64 },
    /// A list has too many elements.
    #[error("the release manifest has more {what} than any release: expected at most {limit}")]
    TooMany { what: &'static str, limit: usize },
    /// The document is no JSON, or does not have the schema's form.
    #[error("the release manifest is not of the form `{SCHEMA}`")]
    Form(#[source] serde_json::Error),
    /// The document has another schema.
    #[error("the release manifest has the schema `{found}`: expected `{SCHEMA}`")]
    Schema { found: String },
    /// The schema's version is newer than this mlreg.
    #[error("the release manifest has the schema `{found}`, which is newer than this mlreg: expected `{SCHEMA}`")]
    Newer { found: String },
    /// A number that has no canonical form.
    #[error("the release manifest has no canonical form")]
    Canonical(#[source] CanonicalError),
    /// The version is too long for a file name.
    #[error("the version `{version}` is too long for the name of a file")]
    VersionName { version: String },
    /// A variant's id or name is no file name.
    #[error("the variant id or name `{text}` is not a safe file name")]
    VariantName { text: String },
    /// Variants are not sorted by id, or two have one id.
    #[error("the variant `{id}` is out of order or not unique: expected ids in ascending order")]
    VariantOrder { id: String },
    /// Two ids are the same file name on some file system.
    #[error("the variants `{first}` and `{second}` cannot be told apart by their file names: {why}")]
    VariantClash { first: String, second: String, why: ClashKind },
    /// Two variants have one name and one target.
    #[error("the variants `{first}` and `{second}` have the same target, and both are called `{name}` without it")]
    SameName { first: String, second: String, name: String },
    /// A variant has neither files nor folders.
    #[error("the variant `{id}` has no files")]
    Empty { id: String },
    /// Files or folders are not sorted, or one is listed twice.
    #[error("`{path}` of the variant `{id}` is out of order or not unique: expected paths in ascending order")]
    PathOrder { id: String, path: RelativePath },
    /// Two paths are the same on some file system, or a file is also a folder of another path.
    #[error("`{first}` and `{second}` of the variant `{id}` collide: {why}")]
    PathCollision { id: String, first: String, second: String, why: ClashKind },
    /// A file refers to a blob that is not listed.
    #[error("`{path}` of the variant `{id}` is the blob {digest}, which the release does not list")]
    MissingBlob { id: String, path: RelativePath, digest: Digest },
    /// A file and its blob have different lengths.
    #[error("`{path}` of the variant `{id}` has {found} bytes, but its blob has {expected}")]
    FileSize { id: String, path: RelativePath, found: u64, expected: u64 },
    /// A blob is larger than any disk.
    #[error("the blob {digest} has {size} bytes, which is more than any file has: expected at most {limit}", limit = limits::BLOB_BYTES)]
    BlobSize { digest: Digest, size: u64 },
    /// The sum of all files is too large.
    #[error("the files of the release have more than {limit} bytes together, which no machine has room for")]
    TotalSize { limit: u64 },
    /// Segments overlap, are empty, leave a gap, or exceed their blob.
    #[error("the segments of the blob {digest} do not cover it: expected one at byte {expected}, found byte {found}")]
    Segments { digest: Digest, expected: u64, found: u64 },
    /// Inline bytes of a segment do not have the segment's length.
    #[error("the segment at byte {offset} of the blob {digest} does not hold {length} bytes in base64")]
    InlineData { digest: Digest, offset: u64, length: u64 },
}

impl ReleaseError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        matches!(self, Self::Newer { .. }).then(|| "install a newer mlreg to read this release".to_owned())
    }
}

impl Release {
    /// Parses a release manifest and keeps unknown fields. Accepts bytes that are not canonical: the identity of the
    /// release is the sha256 of the given bytes (`Digest::of`), not of what this type would write.
    ///
    /// # Errors
    /// The first rule that the manifest breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        if bytes.len() as u64 > limits::RELEASE_BYTES {
            return Err(ReleaseError::TooLong { found: bytes.len() as u64, limit: limits::RELEASE_BYTES });
        }
        if !limits::is_parsable(bytes) {
            return Err(ReleaseError::TooMany { what: "values", limit: limits::DOCUMENT_VALUES });
        }
        let Head { schema } = serde_json::from_slice(bytes).map_err(ReleaseError::Form)?;
        check_schema(&schema)?;
        let release: Self = serde_json::from_slice(bytes).map_err(ReleaseError::Form)?;
        release.check()?;
        Ok(release)
    }

    /// Canonical JSON, which is stored, published and hashed.
    ///
    /// # Errors
    /// When `other` holds a number that is not an integer.
    pub fn to_canonical(&self) -> Result<Vec<u8>, ReleaseError> {
        to_canonical(self).map_err(ReleaseError::Canonical)
    }

    /// The identity of a release that this mlreg built: the sha256 of its canonical bytes.
    ///
    /// # Errors
    /// As [`Release::to_canonical`].
    pub fn digest(&self) -> Result<Digest, ReleaseError> {
        self.to_canonical().map(|bytes| Digest::of(&bytes))
    }

    /// The variant of that id.
    pub fn variant(&self, id: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.id == id)
    }

    /// Checks all rules that the types do not guarantee. Call it before a new release is written.
    ///
    /// # Errors
    /// The first rule that the release breaks.
    pub fn check(&self) -> Result<(), ReleaseError> {
        check_schema(&self.schema)?;
        if !is_version_name(&self.version) {
            return Err(ReleaseError::VersionName { version: self.version.to_string().chars().take(80).collect() });
        }
        check_counts(self)?;
        check_integers(self)?;
        if let Some(pair) = self.variants.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(ReleaseError::VariantOrder { id: pair[1].id.clone() });
        }
        let (mut ids, mut files, mut names) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for variant in &self.variants {
            let (id, name) = (variant.kind.file_name(&variant.id), variant.kind.file_name(&variant.name));
            let before = ids.insert(name_key(&variant.id), &variant.id).or(files.insert(name_key(&id), &variant.id));
            if let Some(first) = before {
                let PathClash { first, second, why } = PathClash::of(first, &variant.id);
                return Err(ReleaseError::VariantClash { first, second, why });
            }
            if let Some(first) = names.insert((name_key(&name), variant.target), &variant.id) {
                return Err(ReleaseError::SameName { first: first.clone(), second: variant.id.clone(), name });
            }
            check_variant(variant, &self.blobs)?;
        }
        self.blobs.iter().try_for_each(|(digest, blob)| check_blob(digest, blob))
    }
}

/// Limits counts and sums, so that no later sum overflows and no plan exhausts memory.
fn check_counts(release: &Release) -> Result<(), ReleaseError> {
    let count = |what: &'static str, found: usize, limit: usize| match found <= limit {
        true => Ok(()),
        false => Err(ReleaseError::TooMany { what, limit }),
    };
    count("variants", release.variants.len(), limits::VARIANTS)?;
    count(
        "files",
        release.variants.iter().map(|variant| variant.files.len() + variant.folders.len()).sum(),
        limits::RELEASE_FILES,
    )?;
    count("segments", release.blobs.values().map(|blob| blob.segments.len()).sum(), limits::RELEASE_SEGMENTS)?;
    let files = release.variants.iter().flat_map(|variant| &variant.files).map(|file| file.size);
    let limit = i64::MAX as u64;
    let total = files.chain(release.blobs.values().map(|blob| blob.size)).try_fold(0_u64, u64::checked_add);
    match release.blobs.iter().find(|(_, blob)| blob.size > limits::BLOB_BYTES) {
        Some((digest, blob)) => Err(ReleaseError::BlobSize { digest: *digest, size: blob.size }),
        None if total.is_none_or(|total| total > limit) => Err(ReleaseError::TotalSize { limit }),
        None => Ok(()),
    }
}

/// Whether a version, with the suffixes of stores and registries, is a valid file name.
pub(super) fn is_version_name(version: &semver::Version) -> bool {
    name_problem(&format!("{version}.locations.json")).is_none()
}

fn check_schema(schema: &str) -> Result<(), ReleaseError> {
    let found = || schema.chars().take(80).collect();
    let version = |schema: &str| schema.strip_prefix("mlreg/release/")?.parse::<u32>().ok();
    match (version(schema), version(SCHEMA)) {
        _ if schema == SCHEMA => Ok(()),
        (Some(theirs), Some(ours)) if theirs > ours => Err(ReleaseError::Newer { found: found() }),
        _ => Err(ReleaseError::Schema { found: found() }),
    }
}

/// Refuses numbers in unknown fields that are no integers, because they have no canonical text.
fn check_integers(release: &Release) -> Result<(), ReleaseError> {
    let sources = release
        .sources
        .values()
        .flat_map(|source| std::iter::once(source).chain(&source.more))
        .map(|source| &source.other);
    let variants = release.variants.iter().map(|variant| &variant.other);
    let mut others = std::iter::once(&release.other).chain(sources).chain(variants).filter(|other| !other.is_empty());
    others.try_for_each(|other| to_canonical(other).map(|_| ()).map_err(ReleaseError::Canonical))
}

fn check_variant(variant: &Variant, blobs: &BTreeMap<Digest, Blob>) -> Result<(), ReleaseError> {
    let id = || variant.id.clone();
    for text in [&variant.id, &variant.name] {
        if !variant.kind.is_file_name(text) {
            return Err(ReleaseError::VariantName { text: text.chars().take(80).collect() });
        }
    }
    if variant.files.is_empty() && variant.folders.is_empty() {
        return Err(ReleaseError::Empty { id: id() });
    }
    let files: Vec<&RelativePath> = variant.files.iter().map(|file| &file.path).collect();
    let folders: Vec<&RelativePath> = variant.folders.iter().collect();
    for paths in [&files, &folders] {
        if let Some(pair) = paths.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(ReleaseError::PathOrder { id: id(), path: pair[1].clone() });
        }
    }
    check_collisions(variant, &files, &folders)?;
    for file in &variant.files {
        let path = file.path.clone();
        match blobs.get(&file.sha256) {
            None => return Err(ReleaseError::MissingBlob { id: id(), path, digest: file.sha256 }),
            Some(blob) if blob.size != file.size => {
                return Err(ReleaseError::FileSize { id: id(), path, found: file.size, expected: blob.size });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Refuses two paths that are the same on some file system, and a file that is also a folder of another path.
fn check_collisions(variant: &Variant, files: &[&RelativePath], folders: &[&RelativePath]) -> Result<(), ReleaseError> {
    let mut tree = PathTree::default();
    let folders = folders.iter().map(|folder| (folder.as_str(), false));
    let mut all = files.iter().map(|file| (file.as_str(), true)).chain(folders);
    let collision =
        |PathClash { first, second, why }| ReleaseError::PathCollision { id: variant.id.clone(), first, second, why };
    all.try_for_each(|(path, is_file)| tree.add(path, is_file)).map_err(collision)
}

fn check_blob(digest: &Digest, blob: &Blob) -> Result<(), ReleaseError> {
    let mut end = 0;
    for segment in &blob.segments {
        let range = ByteRange::new(segment.offset, segment.length)
            .filter(|range| range.offset() == end && range.end() <= blob.size);
        let Some(range) = range else {
            let starts = segment.offset == end;
            let (expected, found) =
                if starts { (blob.size, end.saturating_add(segment.length)) } else { (end, segment.offset) };
            return Err(ReleaseError::Segments { digest: *digest, expected, found });
        };
        check_inline(digest, segment)?;
        end = range.end();
    }
    if !blob.segments.is_empty() && end != blob.size {
        return Err(ReleaseError::Segments { digest: *digest, expected: blob.size, found: end });
    }
    Ok(())
}

fn check_inline(digest: &Digest, segment: &Segment) -> Result<(), ReleaseError> {
    let SegmentContent::Data(text) = &segment.content else { return Ok(()) };
    let holds = BASE64.decode(text).is_ok_and(|bytes| bytes.len() as u64 == segment.length);
    let (offset, length) = (segment.offset, segment.length);
    if holds { Ok(()) } else { Err(ReleaseError::InlineData { digest: *digest, offset, length }) }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// What the canonical form of fixtures/releases/v1.json has been since version 1 of the schema.
    const GOLDEN_DIGEST: &str = "6fe384792321939a9096848f7f8cfc6fc16cdb916838df235109c281fda72f78";

    fn golden() -> Vec<u8> {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/releases/v1.json")).unwrap()
    }

    /// The golden release with a change.
    fn changed(change: impl Fn(&mut Value)) -> Result<Release, ReleaseError> {
        let mut document: Value = serde_json::from_slice(&golden()).unwrap();
        change(&mut document);
        Release::parse(&serde_json::to_vec(&document).unwrap())
    }

    fn error(change: impl Fn(&mut Value)) -> String {
        changed(change).unwrap_err().to_string()
    }

    #[test]
    fn releases_of_version_1_are_read_and_written_forever() {
        let release = Release::parse(&golden()).unwrap();
        assert_eq!(release.digest().unwrap().to_string(), GOLDEN_DIGEST);
        assert_eq!(release.variants.len(), 7);
        assert_eq!(release.variant("tokenizer").unwrap().files[0].path.as_str(), "run.sh");
    }

    #[test]
    fn nothing_is_lost_or_added() {
        let document: Value = serde_json::from_slice(&golden()).unwrap();
        let release = Release::parse(&golden()).unwrap();
        let written: Value = serde_json::from_slice(&release.to_canonical().unwrap()).unwrap();
        assert_eq!(written, document);
        assert_eq!(Release::parse(&release.to_canonical().unwrap()).unwrap(), release);
    }

    #[test]
    fn without_unknown_fields_nothing_of_them_shows() {
        let release = changed(|document| {
            document.as_object_mut().unwrap().remove("later");
            document["sources"]["decoder"].as_object_mut().unwrap().remove("later");
            document["variants"]
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|variant| _ = variant.as_object_mut().unwrap().remove("later"));
        });
        let text = String::from_utf8(release.unwrap().to_canonical().unwrap()).unwrap();
        assert!(!text.contains("other") && !text.contains("later"), "{text}");
    }

    #[test]
    fn other_schemas_are_told_apart() {
        let newer = changed(|document| document["schema"] = json!("mlreg/release/2")).unwrap_err();
        assert_eq!(
            newer.to_string(),
            "the release manifest has the schema `mlreg/release/2`, which is newer than this mlreg: expected \
             `mlreg/release/1`"
        );
        assert_eq!(newer.hint().unwrap(), "install a newer mlreg to read this release");
        assert_eq!(
            error(|document| document["schema"] = json!("mlreg/index/1")),
            "the release manifest has the schema `mlreg/index/1`: expected `mlreg/release/1`"
        );
        // A newer release may have any form.
        assert!(matches!(
            Release::parse(br#"{"schema":"mlreg/release/9","variants":7}"#),
            Err(ReleaseError::Newer { .. })
        ));
        assert!(matches!(Release::parse(b"{"), Err(ReleaseError::Form(_))));
    }

    #[test]
    fn fractions_are_refused_wherever_they_are() {
        for pointer in ["/later/kept", "/sources/decoder/later/0", "/variants/2/later/number"] {
            let result = changed(|document| *document.pointer_mut(pointer).expect(pointer) = json!(0.5));
            assert!(matches!(result, Err(ReleaseError::Canonical(_))), "{pointer}: {result:?}");
        }
    }

    #[test]
    fn variants_are_sorted_unique_and_safe() {
        assert_eq!(
            error(|document| document["variants"].as_array_mut().unwrap().swap(0, 1)),
            "the variant `decoder-768-nhwc-float16-ios15` is out of order or not unique: expected ids in ascending order"
        );
        assert_eq!(
            error(|document| document["variants"][0]["id"] = json!("Vendor-ONNX")),
            "the variants `Vendor-ONNX` and `vendor-onnx` cannot be told apart by their file names: they differ in \
             case alone"
        );
        assert_eq!(
            error(|document| document["variants"][1]["target"] = json!("iOS15")),
            "the variants `decoder-768-nhwc-float16-ios15` and `decoder-768-nhwc-float16-ios18` have the same target, \
             and both are called \
             `decoder-768-nhwc-float16.mlpackage` without it"
        );
        for name in ["../x", "", ".mlreg.json", "a/b", "con", "a\\b", "a\n", "a?", ".\u{200d}x"] {
            let result = changed(|document| document["variants"][0]["name"] = json!(name));
            assert!(matches!(result, Err(ReleaseError::VariantName { .. })), "{name}: {result:?}");
        }
    }

    #[test]
    fn versions_are_file_names() {
        assert!(changed(|document| document["version"] = json!(format!("1.0.0+{}", "a".repeat(200)))).is_ok());
        assert!(
            error(|document| document["version"] = json!(format!("1.0.0+{}", "a".repeat(250))))
                .ends_with("is too long for the name of a file")
        );
    }

    fn with_paths(files: &[&str], folders: &[&str]) -> Result<Release, ReleaseError> {
        changed(|document| {
            let file = document["variants"][0]["files"][2].clone();
            let file = |path: &&str| {
                let mut file = file.clone();
                file["path"] = json!(path);
                file
            };
            document["variants"][0]["files"] = files.iter().map(file).collect();
            document["variants"][0]["folders"] = json!(folders);
        })
    }

    #[test]
    fn paths_cannot_collide_or_escape() {
        let text = |files: &[&str], folders: &[&str]| with_paths(files, folders).unwrap_err().to_string();
        let start = "of the variant `decoder-768-nhwc-float16-ios15`";
        assert!(with_paths(&["a/x", "a/y", "b"], &["a/z", "c"]).is_ok());
        assert_eq!(text(&["A", "a"], &[]), format!("`A` and `a` {start} collide: they differ in case alone"));
        assert_eq!(text(&["A/x", "a/y"], &[]), format!("`A` and `a` {start} collide: they differ in case alone"));
        assert_eq!(text(&["a", "a/x"], &[]), format!("`a` and `a` {start} collide: one is a file, the other a folder"));
        assert_eq!(text(&["A", "a/x"], &[]), format!("`A` and `a` {start} collide: they differ in case alone"));
        assert_eq!(text(&["a"], &["a"]), format!("`a` and `a` {start} collide: one is a file, the other a folder"));
        let normalization = "they are one name where case and Unicode normalization do not count, as on a Mac";
        let case = "they differ in case alone";
        for (first, second, shown, why) in [
            ("e\u{301}", "\u{e9}", "`e\\u{301}` and `\\u{e9}`", normalization),
            ("d/s", "d/\u{17f}", "`d/s` and `d/\\u{17f}`", normalization),
            ("\u{df}/x", "\u{1e9e}/y", "`\u{df}` and `\u{1e9e}`", case),
        ] {
            assert_eq!(text(&[first, second], &[]), format!("{shown} {start} collide: {why}"));
        }
        assert_eq!(
            text(&["b", "a"], &[]),
            format!("`a` {start} is out of order or not unique: expected paths in ascending order")
        );
        assert!(matches!(with_paths(&["a", "a"], &[]), Err(ReleaseError::PathOrder { .. })));
        assert!(matches!(with_paths(&["a"], &["b", "b"]), Err(ReleaseError::PathOrder { .. })));
        assert!(matches!(with_paths(&[], &[]), Err(ReleaseError::Empty { .. })));
        for path in ["../a", "/a", "a/../b", "a//b", "C:a", "aux", "a.", "b /c", "COM\u{b9}", "x*", "x\u{7}"] {
            assert!(matches!(with_paths(&[path], &[]), Err(ReleaseError::Form(_))), "{path}");
        }
    }

    #[test]
    fn files_have_blobs_of_their_length() {
        assert_eq!(
            error(|document| document["variants"][0]["files"][2]["size"] = json!(618)),
            "`Manifest.json` of the variant `decoder-768-nhwc-float16-ios15` has 618 bytes, but its blob has 617"
        );
        let digest = "0".repeat(64);
        assert_eq!(
            error(|document| document["variants"][0]["files"][2]["sha256"] = json!(digest)),
            format!(
                "`Manifest.json` of the variant `decoder-768-nhwc-float16-ios15` is the blob sha256:{digest}, \
                 which the release does not list"
            )
            .replace("sha256:", "")
        );
    }

    /// A release with one blob of ten bytes.
    fn with_segments(segments: &Value) -> Result<Release, ReleaseError> {
        let digest = "0".repeat(64);
        let document = json!({
            "schema": SCHEMA, "package": "x", "version": "1.0.0",
            "variants": [{
                "id": "x", "name": "x", "component": "x", "kind": "files", "delivery": "on-demand",
                "files": [{ "path": "x", "sha256": digest, "size": 10 }],
            }],
            "blobs": { &digest: { "size": 10, "blake3": digest, "segments": segments } },
        });
        Release::parse(&serde_json::to_vec(&document).unwrap())
    }

    fn segment(offset: u64, length: u64) -> Value {
        json!({ "offset": offset, "length": length, "blake3": "0".repeat(64) })
    }

    #[test]
    fn segments_cover_their_blob() {
        assert!(with_segments(&json!([])).is_ok());
        assert!(with_segments(&json!([segment(0, 4), segment(4, 6)])).is_ok());
        for (segments, expected, found) in [
            (json!([segment(0, 4), segment(5, 5)]), 4, 5),
            (json!([segment(0, 4), segment(3, 7)]), 4, 3),
            (json!([segment(1, 9)]), 0, 1),
            (json!([segment(0, 4), segment(4, 5)]), 10, 9),
            (json!([segment(0, 11)]), 10, 11),
            (json!([segment(0, 10), segment(10, u64::MAX)]), 10, u64::MAX),
            (json!([segment(0, 0), segment(0, 10)]), 10, 0),
        ] {
            let error = with_segments(&segments).unwrap_err().to_string();
            let digest = "0".repeat(64);
            let text = format!(
                "the segments of the blob {digest} do not cover it: expected one at byte {expected}, found byte {found}"
            );
            assert_eq!(error, text, "{segments}");
        }
    }

    #[test]
    fn claims_are_bounded() {
        let with = |size: u64, blob: u64, copies: usize| {
            let digest = "0".repeat(64);
            let files: Vec<Value> = (0..copies)
                .map(|index| json!({ "path": format!("{index:05}"), "sha256": digest, "size": size }))
                .collect();
            let document = json!({
                "schema": SCHEMA, "package": "x", "version": "1.0.0", "blobs": { &digest: { "size": blob } },
                "variants": [{ "id": "x", "name": "x", "component": "x", "kind": "files", "delivery": "on-demand", "files": files }],
            });
            Release::parse(&serde_json::to_vec(&document).unwrap())
        };
        assert!(with(limits::BLOB_BYTES, limits::BLOB_BYTES, 1).is_ok());
        for size in [limits::BLOB_BYTES + 1, (1 << 53) + 1, 1 << 63, u64::MAX] {
            let error = with(size, size, 1).unwrap_err();
            assert!(
                matches!(error, ReleaseError::BlobSize { .. }) && error.to_string().contains(&size.to_string()),
                "{error}"
            );
        }
        assert!(
            matches!(with(limits::BLOB_BYTES, limits::BLOB_BYTES, 9000), Err(ReleaseError::TotalSize { .. })),
            "the sum of all files"
        );
        assert!(matches!(with(u64::MAX, 1, 2), Err(ReleaseError::TotalSize { .. })), "a sum that overflows");
        let segments: Vec<Value> = (0..10).map(|at| segment(at, 1)).collect();
        assert!(with_segments(&json!(segments)).is_ok());
        assert!(matches!(with_segments(&json!(vec![segment(0, 0); 1000])), Err(ReleaseError::Segments { .. })));
        let nested = format!("{{\"schema\":\"{SCHEMA}\",\"later\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(Release::parse(nested.as_bytes()), Err(ReleaseError::Form(_))), "no stack overflows");
        let many = format!("{{\"schema\":\"{SCHEMA}\",\"later\":[0{}]}}", ",0".repeat(limits::DOCUMENT_VALUES));
        assert!(matches!(Release::parse(many.as_bytes()), Err(ReleaseError::TooMany { what: "values", .. })));
    }

    #[test]
    fn inline_segments_hold_their_bytes() {
        let inline = |length: u64, data: &str| {
            with_segments(&json!([{ "offset": 0, "length": length, "data": data }, segment(length, 10 - length)]))
        };
        assert!(inline(4, "AAECAw==").is_ok());
        for (length, data) in [(3, "AAECAw=="), (4, "AAECAw"), (4, "!AECAw=="), (5, "AAECAw==")] {
            assert!(matches!(inline(length, data), Err(ReleaseError::InlineData { .. })), "{length} {data}");
        }
    }

    fn unknown_fields() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            ".{0,5}".prop_map(Value::from)
        ];
        let inner = prop::collection::vec(leaf, 0..3).prop_map(Value::from);
        prop::collection::btree_map("new_[a-z]{1,6}", inner, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    fn merge(into: &mut Value, fields: &Value) {
        let fields = fields.as_object().unwrap().clone();
        into.as_object_mut().unwrap().extend(fields);
    }

    proptest! {
        #[test]
        fn unknown_fields_survive(top in unknown_fields(), source in unknown_fields(), variant in unknown_fields(), index in 0..7_usize) {
            let mut document: Value = serde_json::from_slice(&golden()).unwrap();
            merge(&mut document, &top);
            merge(&mut document["sources"]["vendor"], &source);
            merge(&mut document["variants"][index], &variant);
            let release = Release::parse(&serde_json::to_vec_pretty(&document).unwrap()).unwrap();
            let canonical = release.to_canonical().unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&canonical).unwrap(), document);
            prop_assert_eq!(Release::parse(&canonical).unwrap().to_canonical().unwrap(), canonical);
        }

        #[test]
        fn damage_never_panics(position in 0..10_000_usize, byte in any::<u8>(), cut in 0..10_000_usize) {
            let mut bytes = golden();
            let position = position % bytes.len();
            bytes[position] = byte;
            // Any answer will do.
            let _ = Release::parse(&bytes);
            bytes.truncate(cut);
            prop_assert!(cut >= golden().len() || Release::parse(&bytes).is_err());
        }
    }
}
