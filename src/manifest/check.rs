//! Reads release manifests from anywhere: nothing that passes can place a file outside of its bundle, make two files collide on a file
//! system without case, or claim a segment that its blob does not have.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;

use super::{
    canonical::{CanonicalError, to_canonical},
    release::{Blob, Release, SCHEMA, Segment, SegmentContent, Variant},
};
use crate::base::{ByteRange, Digest, RelativePath};

/// Longest release manifest in bytes.
pub const RELEASE_LIMIT: usize = 256 << 20;

/// What is wrong with a release manifest.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Longer than any release.
    #[error("the release manifest has {found} bytes: expected at most {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Not JSON, or not of the schema's form.
    #[error("the release manifest is not of the form `{SCHEMA}`")]
    Form(#[source] serde_json::Error),
    /// Another document.
    #[error("the release manifest has the schema `{found}`: expected `{SCHEMA}`")]
    Schema {
        /// Its schema.
        found: String,
    },
    /// A later version of the schema.
    #[error("the release manifest has the schema `{found}`, which is newer than this mlreg: expected `{SCHEMA}`")]
    Newer {
        /// Its schema.
        found: String,
    },
    /// A number that has no canonical form.
    #[error("the release manifest has no canonical form")]
    Canonical(#[source] CanonicalError),
    /// A variant's id or name that is no file name.
    #[error("the variant id or name `{text}` is not a safe file name")]
    VariantName {
        /// The id or name.
        text: String,
    },
    /// Variants out of order, or two of one id.
    #[error("the variant `{id}` is out of order or not unique: expected ids in ascending order")]
    VariantOrder {
        /// The variant.
        id: String,
    },
    /// Ids that are one file name where case does not count.
    #[error("the variants `{first}` and `{second}` differ in case alone")]
    VariantCase {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A variant without files and folders.
    #[error("the variant `{id}` has no files")]
    Empty {
        /// The variant.
        id: String,
    },
    /// Files or folders out of order, or one twice.
    #[error("`{path}` of the variant `{id}` is out of order or not unique: expected paths in ascending order")]
    PathOrder {
        /// The variant.
        id: String,
        /// The path.
        path: RelativePath,
    },
    /// Paths that collide: in case alone, or as file and folder.
    #[error("`{first}` and `{second}` of the variant `{id}` collide: {why}")]
    PathCollision {
        /// The variant.
        id: String,
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// How they collide.
        why: &'static str,
    },
    /// A file whose blob is not listed.
    #[error("`{path}` of the variant `{id}` is the blob {digest}, which the release does not list")]
    MissingBlob {
        /// The variant.
        id: String,
        /// The file.
        path: RelativePath,
        /// Its digest.
        digest: Digest,
    },
    /// A file and its blob that differ in length.
    #[error("`{path}` of the variant `{id}` has {found} bytes, but its blob has {expected}")]
    FileSize {
        /// The variant.
        id: String,
        /// The file.
        path: RelativePath,
        /// Length of the file.
        found: u64,
        /// Length of the blob.
        expected: u64,
    },
    /// A blob that no file system holds, or that make too many bytes together.
    #[error("the blob {digest} has {size} bytes, which is more than any file has")]
    BlobSize {
        /// The blob.
        digest: Digest,
        /// Its length.
        size: u64,
    },
    /// Segments with gaps, overlaps, without bytes, or beyond the end.
    #[error("the segments of the blob {digest} do not cover it: expected one at byte {expected}, found byte {found}")]
    Segments {
        /// The blob.
        digest: Digest,
        /// Where the next segment has to start, or the blob has to end.
        expected: u64,
        /// Where it does.
        found: u64,
    },
    /// A segment whose inline bytes are not those it announces.
    #[error("the segment at byte {offset} of the blob {digest} does not hold {length} bytes in base64")]
    InlineData {
        /// The blob.
        digest: Digest,
        /// The segment.
        offset: u64,
        /// Its length.
        length: u64,
    },
}

impl ReleaseError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        matches!(self, Self::Newer { .. }).then(|| "install a newer mlreg to read this release".to_owned())
    }
}

impl Release {
    /// Reads a release manifest. Fields of a newer minor form are kept. Bytes that are not canonical are read, too; the release's identity
    /// is the sha256 of the bytes as they came (`Digest::of`), not of what this type would write.
    ///
    /// # Errors
    /// What [`ReleaseError`] lists.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        if bytes.len() > RELEASE_LIMIT {
            return Err(ReleaseError::TooLong { found: bytes.len(), limit: RELEASE_LIMIT });
        }
        let Head { schema } = serde_json::from_slice(bytes).map_err(ReleaseError::Form)?;
        check_schema(&schema)?;
        let release: Self = serde_json::from_slice(bytes).map_err(ReleaseError::Form)?;
        release.check()?;
        Ok(release)
    }

    /// Canonical JSON: what is stored, published and digested.
    ///
    /// # Errors
    /// When `other` holds a number that is not an integer.
    pub fn to_canonical(&self) -> Result<Vec<u8>, ReleaseError> {
        to_canonical(self).map_err(ReleaseError::Canonical)
    }

    /// The identity of a release that was made here: the sha256 of its canonical bytes.
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

    /// Checks everything that the types alone do not say. Whoever makes a release calls it before writing.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), ReleaseError> {
        check_schema(&self.schema)?;
        check_integers(self)?;
        for pair in self.variants.windows(2).filter(|pair| pair[0].id >= pair[1].id) {
            return Err(ReleaseError::VariantOrder { id: pair[1].id.clone() });
        }
        let mut folded: BTreeMap<String, &str> = BTreeMap::new();
        for variant in &self.variants {
            if let Some(first) = folded.insert(variant.id.to_lowercase(), &variant.id) {
                return Err(ReleaseError::VariantCase { first: first.to_owned(), second: variant.id.clone() });
            }
            check_variant(variant, &self.blobs)?;
        }
        self.blobs.iter().try_for_each(|(digest, blob)| check_blob(digest, blob))
    }
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

/// Numbers of a newer schema that are no integers would have no canonical text.
fn check_integers(release: &Release) -> Result<(), ReleaseError> {
    let sources = release.sources.values().map(|source| &source.other);
    let variants = release.variants.iter().map(|variant| &variant.other);
    let mut others = std::iter::once(&release.other).chain(sources).chain(variants).filter(|other| !other.is_empty());
    others.try_for_each(|other| to_canonical(other).map(|_| ()).map_err(ReleaseError::Canonical))
}

fn check_variant(variant: &Variant, blobs: &BTreeMap<Digest, Blob>) -> Result<(), ReleaseError> {
    let id = || variant.id.clone();
    for text in [&variant.id, &variant.name] {
        let path = format!("{text}{}", variant.kind.extension());
        if text.is_empty() || text.contains('/') || text.starts_with('.') || path.parse::<RelativePath>().is_err() {
            return Err(ReleaseError::VariantName { text: text.chars().take(80).collect() });
        }
    }
    if variant.files.is_empty() && variant.folders.is_empty() {
        return Err(ReleaseError::Empty { id: id() });
    }
    let files: Vec<&RelativePath> = variant.files.iter().map(|file| &file.path).collect();
    let folders: Vec<&RelativePath> = variant.folders.iter().collect();
    for paths in [&files, &folders] {
        for pair in paths.windows(2).filter(|pair| pair[0] >= pair[1]) {
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

/// No two paths are one where case does not count, and no file is a folder of another path.
fn check_collisions(variant: &Variant, files: &[&RelativePath], folders: &[&RelativePath]) -> Result<(), ReleaseError> {
    let collision = |first: &str, second: &str, why| {
        Err(ReleaseError::PathCollision { id: variant.id.clone(), first: first.to_owned(), second: second.to_owned(), why })
    };
    let parents = |path: &&RelativePath| {
        let text = path.as_str().to_owned();
        let slashes: Vec<usize> = text.match_indices('/').map(|(index, _)| index).collect();
        slashes.into_iter().map(move |slash| text[..slash].to_owned())
    };
    let all_folders: BTreeSet<String> =
        files.iter().chain(folders).flat_map(parents).chain(folders.iter().map(|folder| folder.as_str().to_owned())).collect();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for folder in &all_folders {
        if let Some(first) = seen.insert(folder.to_lowercase(), folder) {
            return collision(first, folder, "they differ in case alone");
        }
    }
    for file in files {
        if let Some(first) = seen.insert(file.as_str().to_lowercase(), file.as_str()) {
            let why = if all_folders.contains(first) { "one is a file, the other a folder" } else { "they differ in case alone" };
            return collision(first, file.as_str(), why);
        }
    }
    Ok(())
}

fn check_blob(digest: &Digest, blob: &Blob) -> Result<(), ReleaseError> {
    if i64::try_from(blob.size).is_err() {
        return Err(ReleaseError::BlobSize { digest: *digest, size: blob.size });
    }
    let mut end = 0;
    for segment in &blob.segments {
        let range = ByteRange::new(segment.offset, segment.length).filter(|range| range.offset() == end && range.end() <= blob.size);
        let Some(range) = range else {
            let found = if segment.offset == end { segment.offset.saturating_add(segment.length) } else { segment.offset };
            return Err(ReleaseError::Segments { digest: *digest, expected: if segment.offset == end { blob.size } else { end }, found });
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
