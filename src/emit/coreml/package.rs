//! The file tree of a `.mlpackage`: `Manifest.json`, the specification and the weight files.
//!
//! ```text
//! X.mlpackage/
//!   Manifest.json
//!   Data/com.apple.CoreML/model.mlmodel          a `Model` message
//!   Data/com.apple.CoreML/weights/weight.bin     absent where the program refers to no weight file
//! ```
//!
//! The manifest's identifiers are UUIDs made from the item's path (version 5), so that equal content has an equal
//! manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::CoreMlError;
use crate::{
    base::RelativePath,
    emit::{BundleFile, FileSource},
};

/// Author of the items, by which Core ML's tools find them.
const AUTHOR: &str = "com.apple.CoreML";
const MODEL: (&str, &str) = ("model.mlmodel", "CoreML Model Specification");
const WEIGHTS: (&str, &str) = ("weights", "CoreML Model Weights");
const FORMAT: [u32; 3] = [1, 0, 0];
/// Namespace of the items' identifiers, which are version 5 UUIDs of their paths.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d6c_7265_672f_5d1c_9a4e_7061_636b_6167);
/// Prefix of a weight file's reference: the folder of the program.
const MODEL_PATH: &str = "@model_path/";

/// The item list of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageManifest {
    /// Identifier of the specification's item.
    pub root: String,
    /// Items by identifier.
    pub items: BTreeMap<String, PackageItem>,
}

/// One file or folder of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageItem {
    /// Path below `Data/`.
    pub path: RelativePath,
    /// Name, unique per author.
    pub name: String,
    /// Author, e.g. `com.apple.CoreML`.
    pub author: String,
    /// Description for people.
    pub description: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestJson {
    file_format_version: String,
    item_info_entries: BTreeMap<String, ItemJson>,
    root_model_identifier: String,
}

#[derive(Serialize, Deserialize)]
struct ItemJson {
    author: String,
    description: String,
    name: String,
    path: String,
}

impl PackageManifest {
    /// The manifest of a package with a specification and, with `has_weights`, a weights folder.
    pub fn new(has_weights: bool) -> Self {
        let entry = |(name, description): (&str, &str)| {
            let path = format!("{AUTHOR}/{name}");
            let id = Uuid::new_v5(&NAMESPACE, path.as_bytes()).to_string();
            let path = fixed(&path);
            (
                id,
                PackageItem {
                    path,
                    name: name.to_owned(),
                    author: AUTHOR.to_owned(),
                    description: description.to_owned(),
                },
            )
        };
        let model = entry(MODEL);
        let root = model.0.clone();
        let items = [Some(model), has_weights.then(|| entry(WEIGHTS))].into_iter().flatten().collect();
        Self { root, items }
    }

    /// The text of `Manifest.json`, formatted as Apple's writer does.
    pub fn to_json(&self) -> String {
        let entry = |(id, item): (&String, &PackageItem)| {
            let PackageItem { path, name, author, description } = item.clone();
            (id.clone(), ItemJson { author, description, name, path: path.into() })
        };
        let json = ManifestJson {
            file_format_version: FORMAT.map(|n| n.to_string()).join("."),
            item_info_entries: self.items.iter().map(entry).collect(),
            root_model_identifier: self.root.clone(),
        };
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        json.serialize(&mut serializer).expect("text with string keys is valid JSON");
        bytes.push(b'\n');
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    /// Reads a `Manifest.json`. Unknown keys and items of other authors are allowed, as in Apple's reader.
    ///
    /// # Errors
    /// For a newer format, missing keys, unsafe paths, two items with one name and author, and a root that is no item.
    pub fn parse(bytes: &[u8]) -> Result<Self, CoreMlError> {
        let json: ManifestJson = serde_json::from_slice(bytes).map_err(CoreMlError::Manifest)?;
        check_version(&json.file_format_version)?;
        let mut items = BTreeMap::new();
        for (id, item) in json.item_info_entries {
            let ItemJson { author, description, name, path } = item;
            let path = path.parse().map_err(|source| CoreMlError::ItemPath { item: id.clone(), source })?;
            if items.values().any(|other: &PackageItem| other.name == name && other.author == author) {
                return Err(CoreMlError::RepeatedItem { name, author });
            }
            items.insert(id, PackageItem { path, name, author, description });
        }
        if !items.contains_key(&json.root_model_identifier) {
            return Err(CoreMlError::RootItem { identifier: json.root_model_identifier });
        }
        Ok(Self { root: json.root_model_identifier, items })
    }

    /// Path of the specification inside the package.
    pub fn specification(&self) -> Option<RelativePath> {
        self.items.get(&self.root).map(|item| fixed("Data").join(&item.path))
    }
}

pub(super) fn fixed(path: &str) -> RelativePath {
    path.parse().expect("the names of a package's own files are safe")
}

fn check_version(text: &str) -> Result<(), CoreMlError> {
    let error = || CoreMlError::FormatVersion { found: text.chars().take(40).collect() };
    let numbers = text.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().map_err(|_| error())?;
    let version: [u32; 3] = numbers.try_into().map_err(|_| error())?;
    if version > FORMAT { Err(error()) } else { Ok(()) }
}

/// The files of a package, sorted by path; `weight_files` are names such as `weight.bin`.
///
/// # Errors
/// For a weight file whose name is not a plain file name.
pub fn package_files(specification: Vec<u8>, weight_files: &[&str]) -> Result<Vec<BundleFile>, CoreMlError> {
    let manifest = PackageManifest::new(!weight_files.is_empty());
    let mut files = vec![
        (fixed("Manifest.json"), FileSource::Bytes(manifest.to_json().into_bytes())),
        (fixed(&format!("Data/{AUTHOR}/{}", MODEL.0)), FileSource::Bytes(specification)),
    ];
    let folder = fixed(&format!("Data/{AUTHOR}"));
    for &name in weight_files {
        files.push((folder.join(&weight_path(name)?), FileSource::WeightFile(name.to_owned())));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// Path of the weight file `name` relative to its program: `weights/<name>`.
pub(super) fn weight_path(name: &str) -> Result<RelativePath, CoreMlError> {
    let plain = name.parse::<RelativePath>().ok().filter(|path| path.parent().is_none());
    let path = plain.ok_or_else(|| CoreMlError::WeightPath { file: name.to_owned() })?;
    Ok(fixed(WEIGHTS.0).join(&path))
}

/// Reference of programs to the weight file `name` of their package: `@model_path/weights/<name>`.
pub fn weight_reference(name: &str) -> String {
    format!("{MODEL_PATH}{}/{name}", WEIGHTS.0)
}

/// Resolves a reference of the program at `model`, e.g. `@model_path/weights/weight.bin`, to a path in the bundle. A
/// program in a folder of a pipeline may refer to sibling folders through `..`.
///
/// # Errors
/// For malformed references and those that leave the bundle.
pub fn resolve_weight_file(model: &RelativePath, reference: &str) -> Result<RelativePath, CoreMlError> {
    let error = || CoreMlError::WeightPath { file: reference.chars().take(200).collect() };
    let path = reference.strip_prefix(MODEL_PATH).ok_or_else(error)?;
    let mut parts: Vec<&str> = model.components().collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop().ok_or_else(error)?),
            part => parts.push(part),
        }
    }
    parts.join("/").parse().map_err(|_| error())
}

/// Whether a file is a Git LFS pointer, whose real bytes were not downloaded; its first 64 bytes are enough.
pub fn is_lfs_pointer(start: &[u8]) -> bool {
    start.starts_with(b"version https://git-lfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_a_function_of_the_content() {
        let expected = r#"{
    "fileFormatVersion": "1.0.0",
    "itemInfoEntries": {
        "e7cc125b-5791-597d-96a9-90df1dede32e": {
            "author": "com.apple.CoreML",
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": "com.apple.CoreML/model.mlmodel"
        }
    },
    "rootModelIdentifier": "e7cc125b-5791-597d-96a9-90df1dede32e"
}
"#;
        assert_eq!(PackageManifest::new(false).to_json(), expected);
    }

    #[test]
    fn a_manifest_is_read_back() {
        for has_weights in [false, true] {
            let manifest = PackageManifest::new(has_weights);
            assert_eq!(PackageManifest::parse(manifest.to_json().as_bytes()).unwrap(), manifest);
            assert_eq!(manifest.specification().unwrap().as_str(), "Data/com.apple.CoreML/model.mlmodel");
            assert_eq!(manifest.items.len(), 1 + usize::from(has_weights));
        }
    }

    fn parse_with(from: &str, to: &str) -> CoreMlError {
        let json = PackageManifest::new(true).to_json();
        assert!(json.contains(from), "{from}");
        PackageManifest::parse(json.replace(from, to).as_bytes()).unwrap_err()
    }

    #[test]
    fn bad_manifests_are_refused() {
        assert!(matches!(parse_with("1.0.0", "1.0.1"), CoreMlError::FormatVersion { found } if found == "1.0.1"));
        assert!(matches!(parse_with("1.0.0", "one"), CoreMlError::FormatVersion { .. }));
        assert!(matches!(parse_with("com.apple.CoreML/weights", "../weights"), CoreMlError::ItemPath { .. }));
        assert!(matches!(parse_with("com.apple.CoreML/weights", "/etc"), CoreMlError::ItemPath { .. }));
        assert!(matches!(parse_with("\"weights\"", "\"model.mlmodel\""), CoreMlError::RepeatedItem { .. }));
        assert!(matches!(parse_with("\"author\"", "\"writer\""), CoreMlError::Manifest(_)));
        let root = PackageManifest::new(true).root;
        let other = parse_with(&format!("\"rootModelIdentifier\": \"{root}\""), "\"rootModelIdentifier\": \"x\"");
        assert!(matches!(other, CoreMlError::RootItem { identifier } if identifier == "x"));
        assert!(matches!(PackageManifest::parse(b"[]"), Err(CoreMlError::Manifest(_))));
    }

    #[test]
    fn a_package_has_its_files_in_order() {
        let paths = |names: &[&str]| -> Vec<String> {
            package_files(vec![1], names).unwrap().into_iter().map(|(path, _)| path.into()).collect()
        };
        let weights = "Data/com.apple.CoreML/weights/weight.bin";
        assert_eq!(paths(&[]), ["Data/com.apple.CoreML/model.mlmodel", "Manifest.json"]);
        assert_eq!(paths(&["weight.bin"]), ["Data/com.apple.CoreML/model.mlmodel", weights, "Manifest.json"]);
        for bad in ["", "..", "a/b", "/a"] {
            assert!(matches!(package_files(vec![], &[bad]), Err(CoreMlError::WeightPath { .. })), "{bad}");
        }
    }

    #[test]
    fn weight_references_stay_inside_the_bundle() {
        let resolve =
            |model: &str, file: &str| resolve_weight_file(&model.parse().unwrap(), file).map(String::from).ok();
        let model = "Data/com.apple.CoreML/model.mlmodel";
        assert_eq!(
            resolve(model, &weight_reference("weight.bin")).unwrap(),
            "Data/com.apple.CoreML/weights/weight.bin"
        );
        assert_eq!(resolve("model1/model.mil", "@model_path/../weights/w.bin").unwrap(), "weights/w.bin");
        assert_eq!(resolve("model.mil", "@model_path/../w.bin"), None);
        assert_eq!(resolve(model, "/weights/w.bin"), None);
        assert_eq!(resolve(model, "@model_path//w.bin"), None);
        assert_eq!(resolve(model, "@model_path/./w.bin"), None);
    }

    #[test]
    fn lfs_pointers_are_recognized() {
        assert!(is_lfs_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"));
        assert!(!is_lfs_pointer(b"version https://example.com"));
        assert!(!is_lfs_pointer(b""));
    }
}
