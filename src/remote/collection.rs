//! Collections: bundles that people uploaded without mlreg, and the release that is made of some of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use semver::{BuildMetadata, Version};

use super::documents;
use crate::{
    base::{Digest, PackageName, PathTree, RelativePath, name_key},
    manifest::release::{Blob, BundleKind, Delivery, FileEntry, Release, SCHEMA, Variant},
};

/// The bundles in a tree of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The name of the package made of them.
    pub package: PackageName,
    /// Its one version: `0.0.0+<commit>`.
    pub version: Version,
    /// The bundles by id: the file's stem, or its whole path where two have the same stem.
    pub bundles: BTreeMap<String, CollectedBundle>,
}

/// A bundle of a [`Collection`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedBundle {
    /// Its path in the tree.
    pub path: RelativePath,
    /// Its kind.
    pub kind: BundleKind,
    /// Its files by path inside it.
    pub files: BTreeMap<RelativePath, CollectedFile>,
}

/// A file of a [`CollectedBundle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedFile {
    /// Its length.
    pub size: u64,
    /// Its sha256, where the listing has it.
    pub sha256: Option<Digest>,
    /// The id of its bytes at the remote: a sha256 or git's sha1.
    pub id: String,
}

impl Collection {
    /// The bundles among `files`; those with names that some file system does not hold are left out. `name` becomes the
    /// package's name as far as the rules for names allow; `commit` identifies the tree.
    pub fn new(name: &str, commit: &str, files: &BTreeMap<String, CollectedFile>) -> Self {
        let mut found: BTreeMap<RelativePath, CollectedBundle> = BTreeMap::new();
        let mut unfit: BTreeSet<RelativePath> = BTreeSet::new();
        for (path, file) in files {
            let Some((bundle, kind, inner)) = inside_bundle(path) else { continue };
            let Some(inner) = inner else {
                unfit.insert(bundle);
                continue;
            };
            let empty = || CollectedBundle { path: bundle.clone(), kind, files: BTreeMap::new() };
            found.entry(bundle.clone()).or_insert_with(empty).files.insert(inner, file.clone());
        }
        found.retain(|path, bundle| !unfit.contains(path) && bundle.is_placeable());
        let mut stems: BTreeMap<String, usize> = BTreeMap::new();
        for bundle in found.values() {
            *stems.entry(name_key(bundle.stem())).or_default() += 1;
        }
        let id = |bundle: &CollectedBundle| match stems[&name_key(bundle.stem())] {
            1 => bundle.stem().to_owned(),
            _ => bundle.whole_name(),
        };
        let bundles = found.into_values().map(|bundle| (id(&bundle), bundle)).collect();
        let build = BuildMetadata::new(&commit[..commit.len().min(12)]).unwrap_or_default();
        Self { package: package_name(name), version: Version { build, ..Version::new(0, 0, 0) }, bundles }
    }

    /// The digest of the listing.
    pub fn digest(&self) -> Digest {
        let mut text = format!("{} {}\n", self.package, self.version);
        for bundle in self.bundles.values() {
            for (path, file) in &bundle.files {
                text += &format!("{}/{path} {} {}\n", bundle.path, file.size, file.id);
            }
        }
        Digest::of(text.as_bytes())
    }

    /// The release with the bundles `ids`. `sha256` has the digests of files, by id, for which the listing has none.
    ///
    /// A bundle with a file of unknown digest is left out.
    pub fn release(&self, ids: &BTreeSet<String>, sha256: &BTreeMap<String, Digest>) -> Vec<u8> {
        let mut release = Release {
            schema: SCHEMA.to_owned(),
            package: self.package.clone(),
            version: self.version.clone(),
            description: None,
            license: None,
            sources: BTreeMap::new(),
            variants: Vec::new(),
            blobs: BTreeMap::new(),
            other: Default::default(),
        };
        for (id, bundle) in self.bundles.iter().filter(|(id, _)| ids.contains(*id)) {
            let entry = |(path, file): (&RelativePath, &CollectedFile)| {
                let sha256 = file.sha256.or_else(|| sha256.get(&file.id).copied())?;
                Some(FileEntry { path: path.clone(), sha256, size: file.size, executable: false })
            };
            let Some(files) = bundle.files.iter().map(entry).collect::<Option<Vec<_>>>() else { continue };
            release.blobs.extend(files.iter().map(|file| (file.sha256, Blob::of_size(file.size))));
            release.variants.push(bundle.variant(id, files));
        }
        documents::to_bytes(&release)
    }
}

impl CollectedBundle {
    /// The name of its folder without the ending.
    pub fn stem(&self) -> &str {
        let name = self.path.file_name();
        name.strip_suffix(self.kind.extension()).unwrap_or(name)
    }

    /// Whether every file system can hold its files side by side.
    fn is_placeable(&self) -> bool {
        let mut tree = PathTree::default();
        self.files.keys().all(|path| tree.add(path.as_str(), true).is_ok())
    }

    /// Its path without the ending, as one name.
    fn whole_name(&self) -> String {
        let path = self.path.as_str();
        path.strip_suffix(self.kind.extension()).unwrap_or(path).replace('/', "-")
    }

    fn variant(&self, id: &str, files: Vec<FileEntry>) -> Variant {
        Variant {
            id: id.to_owned(),
            name: id.to_owned(),
            component: self.path.parent().map_or_else(|| id.to_owned(), |folder| folder.as_str().replace('/', "-")),
            target: None,
            kind: self.kind,
            axes: BTreeMap::new(),
            tags: BTreeSet::new(),
            delivery: Delivery::default(),
            interface: None,
            compiled: None,
            files,
            folders: Vec::new(),
            other: Default::default(),
        }
    }
}

/// The outermost bundle that contains a file, and the file's path in it. The inner path is `None` where it is no valid
/// path.
fn inside_bundle(path: &str) -> Option<(RelativePath, BundleKind, Option<RelativePath>)> {
    let mut ends = path.match_indices('/').map(|(at, _)| at);
    let end = ends.find(|end| is_folder_kind(kind_of(&path[..*end])))?;
    let kind = kind_of(&path[..end]);
    Some((path[..end].parse().ok()?, kind, path[end + 1..].parse().ok()))
}

fn kind_of(path: &str) -> BundleKind {
    BundleKind::of_file_name(path.rsplit('/').next().unwrap_or(path))
}

fn is_folder_kind(kind: BundleKind) -> bool {
    matches!(kind, BundleKind::MlPackage | BundleKind::MlModelC | BundleKind::AiModel)
}

/// The valid package name closest to `text`.
fn package_name(text: &str) -> PackageName {
    let lower = text.to_lowercase();
    let mut name: String =
        lower.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' }).collect();
    while name.contains("..") {
        name = name.replace("..", ".");
    }
    let name: String = name.trim_start_matches(['-', '_', '.']).chars().take(64).collect();
    name.trim_end_matches('.').parse().unwrap_or_else(|_| "bundles".parse().expect("this is a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(files: &[&str]) -> Collection {
        let file = |path: &&str| {
            (
                (*path).to_owned(),
                CollectedFile { size: 1, sha256: Some(Digest::of(path.as_bytes())), id: (*path).to_owned() },
            )
        };
        Collection::new("WhisperKit_CoreML", &"ab".repeat(20), &files.iter().map(file).collect())
    }

    #[test]
    fn bundles_are_folders_with_a_known_ending() {
        let found = collection(&[
            "tiny/Encoder.mlmodelc/weights/weight.bin",
            "tiny/Encoder.mlmodelc/model.mil",
            "base/Encoder.mlmodelc/x",
            "Decoder.mlpackage/y",
            "config.json",
            "z.mlmodel",
        ]);
        assert_eq!(found.bundles.keys().collect::<Vec<_>>(), ["Decoder", "base-Encoder", "tiny-Encoder"]);
        assert_eq!(found.bundles["tiny-Encoder"].files.len(), 2);
        assert_eq!(
            (found.package.as_str(), found.version.to_string()),
            ("whisperkit_coreml", "0.0.0+abababababab".to_owned())
        );
    }

    #[test]
    fn bundles_that_no_system_holds_whole_are_left_out() {
        let found = collection(&[
            "a/One.mlpackage/x",
            "b/one.mlpackage/x",
            "E\u{301}.mlpackage/x",
            "d/\u{e9}.mlpackage/x",
            "Odd.mlpackage/x",
            "Odd.mlpackage/y*",
            "Twice.mlmodelc/s",
            "Twice.mlmodelc/\u{17f}",
        ]);
        assert_eq!(found.bundles.keys().collect::<Vec<_>>(), ["E\u{301}", "a-One", "b-one", "d-\u{e9}"]);
        let all = found.bundles.keys().cloned().collect();
        assert_eq!(Release::parse(&found.release(&all, &BTreeMap::new())).unwrap().variants.len(), 4);
    }

    #[test]
    fn a_release_has_what_is_asked_for() {
        let found = collection(&["A.mlpackage/x", "B.mlpackage/y"]);
        let release = Release::parse(&found.release(&["B".to_owned()].into(), &BTreeMap::new())).unwrap();
        assert_eq!(release.variants.iter().map(|variant| variant.id.as_str()).collect::<Vec<_>>(), ["B"]);
        assert_eq!(release.blobs.len(), 1);
    }
}
