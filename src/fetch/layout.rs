//! What a placed folder should be, as a value: bundles with their files, what stands beside them, and under which
//! names.
//!
//! ```text
//! DIR/<package>/
//!   decoder-768-float16.mlpackage/...    a bundle; in the layout `shared` without its weight files
//!   weight.bin                           `shared`: the weight file; several distinct ones: <component>-<precision or compression>.weight.bin
//!   layout.json                          `shared`: which bundle wants which of them where
//!   .mlreg.json                          the proof: everything above with its sha256, and its own BLAKE3
//! ```
//! In `shared` every `weights/*.bin` is lifted out, also one that a single bundle wants: so a bundle stays as it is
//! when others join. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::FetchError;
use crate::{
    base::{
        Blake3, Digest, FolderError, PackageName, PathClash, PathTree, RelativePath, Target, limits, name_key,
        read_plain,
    },
    manifest::release::{BundleKind, FileEntry, Release, Variant},
};

/// The name of the proof in a placed folder.
pub const PROOF_NAME: &str = ".mlreg.json";
/// The `schema` field of a proof.
pub const PROOF_SCHEMA: &str = "mlreg/proof/1";
/// The name of the file that says which bundle wants which weight file.
pub const LAYOUT_NAME: &str = "layout.json";
/// The `schema` field of a `layout.json`.
pub const LAYOUT_SCHEMA: &str = "mlreg/layout/1";
/// How names of mlreg's own files in a placed folder begin.
pub(super) const RESERVED: &str = ".mlreg";

/// Where bundles lie, for messages.
const PLACE: &str = "the package's folder";
const ONLY_WEIGHTS: &str = "weight.bin";
/// The key of a proof that has its BLAKE3.
const CHECKSUM: &str = "blake3";

/// How bundles are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Complete bundles, whose equal files are hard links to one file.
    #[default]
    Linked,
    /// Bundles without weight files, which stand beside them.
    Shared,
    /// Complete bundles without links.
    Copied,
}

/// A variant and the name that its folder gets.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The name, with the extension of its kind, e.g. `decoder-768-float16.mlpackage`.
    pub name: &'a str,
    /// The variant.
    pub variant: &'a Variant,
}

/// What a placed folder holds, or should hold. Nothing in it depends on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Always `mlreg/proof/1`.
    pub schema: String,
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// What it was placed for; absent: every target, under full ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Target>,
    /// How.
    pub layout: Layout,
    /// The bundles by the name of their folder.
    pub bundles: BTreeMap<String, PlacedBundle>,
    /// Files beside the bundles by name, `layout.json` too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, PlacedFile>,
}

/// A bundle as it lies in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedBundle {
    /// The variant's id.
    pub variant: String,
    /// The variant's id without target.
    pub name: String,
    /// What kind of tree it is.
    pub kind: BundleKind,
    /// Its files by path.
    pub files: BTreeMap<RelativePath, PlacedFile>,
    /// Folders without files in them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub folders: BTreeSet<RelativePath>,
    /// Files that stand beside the bundle, by their path in it: the layout `shared`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lifted: BTreeMap<RelativePath, String>,
}

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    /// The sha256 of its bytes.
    pub sha256: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Whether it is executable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// What `layout.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutDocument {
    /// Always `mlreg/layout/1`.
    pub schema: String,
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// For every bundle that lacks files: their path in the bundle, and the file beside it that belongs there.
    pub bundles: BTreeMap<String, BTreeMap<RelativePath, String>>,
    /// The files that were lifted out, by name.
    pub files: BTreeMap<String, PlacedFile>,
}

/// A bundle, or a file beside the bundles: its files and folders by `/`-separated paths from the package's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) files: BTreeMap<String, PlacedFile>,
    pub(super) folders: BTreeSet<String>,
    /// Files that were lifted out of the bundle, and may be there all the same: whoever links them completes it.
    lifted: BTreeMap<String, PlacedFile>,
}

impl Entry {
    /// The files that should be there, with those that may be, where `is_there` has them.
    pub(super) fn files_with(&self, is_there: impl Fn(&str) -> bool) -> BTreeMap<String, PlacedFile> {
        let completing = self.lifted.iter().filter(|(path, _)| is_there(path));
        self.files.iter().chain(completing).map(|(path, file)| (path.clone(), *file)).collect()
    }
}

/// The document with the key that makes every changed byte show.
fn sealed(mut fields: Map<String, Value>) -> Vec<u8> {
    let checksum = Blake3::of(&canonical(&fields));
    fields.insert(CHECKSUM.to_owned(), Value::String(checksum.to_string()));
    canonical(&fields)
}

/// Plain JSON with sorted keys.
fn canonical<T: Serialize>(document: &T) -> Vec<u8> {
    // serde_json's maps are sorted; a `Value` in between sorts the fields of structs too.
    let value = serde_json::to_value(document).expect("plain fields and maps with text keys always convert");
    serde_json::to_vec(&value).expect("a value always prints")
}

impl From<&FileEntry> for PlacedFile {
    fn from(entry: &FileEntry) -> Self {
        Self { sha256: entry.sha256, size: entry.size, executable: entry.executable }
    }
}

impl Proof {
    /// What the folder of a release should hold that has these variants. The same variant twice under one name counts
    /// once.
    ///
    /// # Errors
    /// `PlacedName` and `Collision` where the names of variants or files are not fit for every file system.
    pub fn new(
        release: &Release,
        digest: Digest,
        floor: Option<Target>,
        layout: Layout,
        chosen: &[Named<'_>],
    ) -> Result<Self, FetchError> {
        let mut proof = Self {
            schema: PROOF_SCHEMA.to_owned(),
            package: release.package.clone(),
            version: release.version.clone(),
            release: digest,
            floor,
            layout,
            bundles: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let mut variants: BTreeMap<String, &Variant> = BTreeMap::new();
        for Named { name, variant } in chosen {
            if !is_placeable(name) {
                return Err(FetchError::PlacedName { variant: variant.id.clone(), name: (*name).to_owned() });
            }
            match variants.insert((*name).to_owned(), variant) {
                Some(other) if other.id != variant.id => {
                    return Err(collision(PLACE, PathClash::of(&other.id, &variant.id)));
                }
                _ => proof.bundles.insert((*name).to_owned(), PlacedBundle::new(variant)),
            };
        }
        if layout == Layout::Shared {
            proof.lift_weights(&variants)?;
        }
        check_names(PLACE, proof.names().map(|name| (name, true)))?;
        for (name, bundle) in &proof.bundles {
            let files = bundle.files.keys().chain(bundle.lifted.keys()).map(|path| (path.as_str(), true));
            check_names(name, files.chain(bundle.folders.iter().map(|path| (path.as_str(), false))))?;
        }
        Ok(proof)
    }

    /// Reads the proof of a placed folder, which is no link; `None` where it is damaged.
    ///
    /// # Errors
    /// When it cannot be read, or is longer than a proof may be.
    pub fn read(folder: &Path) -> Result<Option<Self>, FolderError> {
        Ok(Self::parse(&read_plain(&folder.join(PROOF_NAME), limits::INDEX_BYTES)?))
    }

    /// Reads a proof; `None` for anything else: one with a changed byte, of a later schema, or with names that lead out
    /// of its folder.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if !limits::is_parsable(bytes) {
            return None;
        }
        let mut fields: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        fields.remove(CHECKSUM)?;
        if sealed(fields.clone()) != bytes {
            return None;
        }
        let proof =
            serde_json::from_value::<Self>(Value::Object(fields)).ok().filter(|proof| proof.schema == PROOF_SCHEMA)?;
        let mut names = proof.bundles.keys().chain(proof.files.keys());
        names.all(|name| is_placeable(name)).then_some(proof)
    }

    /// Its bytes: JSON with sorted keys, among them the BLAKE3 of what it has without that key.
    pub fn to_bytes(&self) -> Vec<u8> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => sealed(fields),
            _ => unreachable!("a struct of plain fields and maps with text keys is an object"),
        }
    }

    /// Everything in the folder except for the proof itself, by name.
    pub(super) fn entries(&self) -> BTreeMap<&str, Entry> {
        let file = |(name, file): (&'_ String, &PlacedFile)| Entry {
            files: [(name.clone(), *file)].into(),
            ..Entry::default()
        };
        let files = self.files.iter().map(|(name, placed)| (name.as_str(), file((name, placed))));
        self.bundles
            .iter()
            .map(|(name, bundle)| (name.as_str(), bundle.entry(name, &self.files)))
            .chain(files)
            .collect()
    }

    /// The names of everything in the folder that belongs to mlreg, the proof too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.bundles.keys().chain(self.files.keys()).map(String::as_str).chain([PROOF_NAME])
    }

    /// Every file and folder that a fetch writes, the proof too, by `/`-separated path from the package's folder.
    pub fn paths(&self) -> BTreeSet<String> {
        let entries = self.entries().into_values().flat_map(|entry| entry.files.into_keys().chain(entry.folders));
        entries.chain([PROOF_NAME.to_owned()]).collect()
    }

    /// The blobs that the folder holds, sorted.
    pub(super) fn blobs(&self) -> Vec<Digest> {
        let files = self.bundles.values().flat_map(|bundle| bundle.files.values()).chain(self.files.values());
        files.map(|file| file.sha256).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The bytes of `layout.json`, where the layout has one.
    pub fn layout_document(&self) -> Option<Vec<u8>> {
        if self.layout != Layout::Shared {
            return None;
        }
        let lifted = |bundle: &PlacedBundle| (!bundle.lifted.is_empty()).then(|| bundle.lifted.clone());
        Some(canonical(&LayoutDocument {
            schema: LAYOUT_SCHEMA.to_owned(),
            package: self.package.clone(),
            version: self.version.clone(),
            bundles: self.bundles.iter().filter_map(|(name, bundle)| Some((name.clone(), lifted(bundle)?))).collect(),
            files: self
                .files
                .iter()
                .filter(|(name, _)| *name != LAYOUT_NAME)
                .map(|(name, file)| (name.clone(), *file))
                .collect(),
        }))
    }

    /// Moves weight files out of the bundles.
    fn lift_weights(&mut self, variants: &BTreeMap<String, &Variant>) -> Result<(), FetchError> {
        let names = weight_names(variants);
        for bundle in self.bundles.values_mut() {
            let (weights, files) =
                std::mem::take(&mut bundle.files).into_iter().partition(|(path, _)| is_weights(path));
            bundle.files = files;
            let weights: BTreeMap<RelativePath, PlacedFile> = weights;
            for (path, file) in weights {
                let name = names[&file.sha256].clone();
                // The folder stays, so that the file has a place to be put.
                bundle.folders.extend(path.parent().filter(|parent| !has_file_below(&bundle.files, parent)));
                let file = PlacedFile { executable: false, ..file };
                if self.files.insert(name.clone(), file).is_some_and(|other| other != file) {
                    return Err(collision(PLACE, PathClash::of(&name, &name)));
                }
                bundle.lifted.insert(path, name);
            }
        }
        if let Some(bytes) = self.layout_document() {
            let document = PlacedFile { sha256: Digest::of(&bytes), size: bytes.len() as u64, executable: false };
            self.files.insert(LAYOUT_NAME.to_owned(), document);
        }
        Ok(())
    }
}

impl PlacedBundle {
    fn new(variant: &Variant) -> Self {
        Self {
            variant: variant.id.clone(),
            name: variant.name.clone(),
            kind: variant.kind,
            files: variant.files.iter().map(|file| (file.path.clone(), file.into())).collect(),
            folders: variant.folders.iter().cloned().collect(),
            lifted: BTreeMap::new(),
        }
    }

    fn entry(&self, name: &str, beside: &BTreeMap<String, PlacedFile>) -> Entry {
        let files = self.files.iter().map(|(path, file)| (format!("{name}/{path}"), *file)).collect();
        let folders =
            self.all_folders().iter().map(|folder| format!("{name}/{folder}")).chain([name.to_owned()]).collect();
        let lifted = self
            .lifted
            .iter()
            .filter_map(|(path, source)| Some((format!("{name}/{path}"), *beside.get(source)?)))
            .collect();
        Entry { files, folders, lifted }
    }

    /// Every folder in it, those that have files in them too.
    pub(super) fn all_folders(&self) -> BTreeSet<RelativePath> {
        let mut folders = BTreeSet::new();
        let parents = self.files.keys().filter_map(RelativePath::parent);
        for folder in parents.chain(self.folders.iter().cloned()) {
            let mut next = Some(folder);
            while let Some(folder) = next.filter(|folder| !folders.contains(folder)) {
                next = folder.parent();
                folders.insert(folder);
            }
        }
        folders
    }

    /// Bytes of the bundle, with the files that were lifted out of it.
    pub fn bytes(&self, beside: &BTreeMap<String, PlacedFile>) -> u64 {
        let lifted = self.lifted.values().filter_map(|name| beside.get(name));
        self.files.values().chain(lifted).map(|file| file.size).fold(0, u64::saturating_add)
    }
}

fn has_file_below(files: &BTreeMap<RelativePath, PlacedFile>, folder: &RelativePath) -> bool {
    files.keys().any(|path| path.as_str().strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')))
}

/// Weight files of Core ML bundles are the `weights/*.bin`.
fn is_weights(path: &RelativePath) -> bool {
    path.as_str().ends_with(".bin") && path.parent().is_some_and(|parent| parent.file_name() == "weights")
}

/// Whether `name` is one component, and not one of those that mlreg keeps for itself.
fn is_placeable(name: &str) -> bool {
    name.parse::<RelativePath>().is_ok_and(|path| path.components().count() == 1)
        && !name_key(name).starts_with(RESERVED)
}

/// The names of distinct weight files: as plain as is unambiguous.
fn weight_names(variants: &BTreeMap<String, &Variant>) -> BTreeMap<Digest, String> {
    // The first bundle that wants a file, in order of ids, gives it its name.
    let mut users: BTreeMap<Digest, (&Variant, &RelativePath)> = BTreeMap::new();
    let by_id: BTreeMap<_, _> = variants.values().map(|variant| (&variant.id, *variant)).collect();
    for variant in by_id.into_values() {
        for file in variant.files.iter().filter(|file| is_weights(&file.path)) {
            users.entry(file.sha256).or_insert((variant, &file.path));
        }
    }
    if users.len() == 1 {
        return users.into_keys().map(|digest| (digest, ONLY_WEIGHTS.to_owned())).collect();
    }
    let candidates: BTreeMap<_, _> =
        users.iter().map(|(digest, (variant, path))| (*digest, candidates(digest, variant, path))).collect();
    let unique = |level: usize, digest: &Digest, name: &str| {
        !candidates.iter().any(|(other, names)| other != digest && names[level].eq_ignore_ascii_case(name))
    };
    let name = |digest: &Digest, names: &[String; 4]| {
        let free = (0..3).find(|level| unique(*level, digest, &names[*level]));
        names[free.unwrap_or(3)].clone()
    };
    candidates.iter().map(|(digest, names)| (*digest, name(digest, names))).collect()
}

/// Names for a weight file, each longer and less ambiguous than the one before.
fn candidates(digest: &Digest, variant: &Variant, path: &RelativePath) -> [String; 4] {
    let axis = |name: &str| variant.axes.get(name).filter(|value| *value != "none");
    let label = axis("compression").or_else(|| axis("precision"));
    let base = label
        .map_or_else(|| plain(&variant.component), |label| format!("{}-{}", plain(&variant.component), plain(label)));
    let stem = path.file_name().trim_end_matches(".bin");
    let with_stem = if stem == "weight" { base.clone() } else { format!("{base}-{}", plain(stem)) };
    let with_target = variant.target.map_or_else(|| with_stem.clone(), |target| format!("{with_stem}-{}", target.id()));
    let with_digest = format!("{with_target}-{}", digest.short());
    [base, with_stem, with_target, with_digest].map(|name| format!("{name}.{ONLY_WEIGHTS}"))
}

/// Only characters that every file system and shell takes as they are.
fn plain(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    text.chars().map(allowed).collect::<String>().trim_start_matches('.').to_owned()
}

fn collision(place: &str, clash: PathClash) -> FetchError {
    FetchError::Collision { place: place.to_owned(), clash }
}

/// Refuses paths (and whether they are files) that are one place on some file system, and files that are folders of
/// others.
fn check_names<'a>(place: &str, mut paths: impl Iterator<Item = (&'a str, bool)>) -> Result<(), FetchError> {
    let mut tree = PathTree::default();
    paths.try_for_each(|(path, is_file)| tree.add(path, is_file)).map_err(|clash| collision(place, clash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(id: &str, axes: &[(&str, &str)], files: &[(&str, &str)]) -> Variant {
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| serde_json::json!({ "path": path, "sha256": Digest::of(content.as_bytes()), "size": content.len() }))
            .collect();
        let axes: BTreeMap<_, _> = axes.iter().copied().collect();
        serde_json::from_value(serde_json::json!({
            "id": id, "name": id, "component": "decoder", "kind": "mlpackage", "axes": axes, "delivery": "initial", "files": files, "target": "iOS17",
        }))
        .unwrap()
    }

    fn proof(variants: &[Variant], layout: Layout) -> Result<Proof, FetchError> {
        let empty = serde_json::json!({ "schema": "mlreg/release/1", "package": "p", "version": "1.0.0", "variants": [], "blobs": {} });
        let release = serde_json::from_value(empty).unwrap();
        let names: Vec<_> = variants.iter().map(|variant| format!("{}.mlpackage", variant.name)).collect();
        let chosen: Vec<_> = variants.iter().zip(&names).map(|(variant, name)| Named { name, variant }).collect();
        Proof::new(&release, Digest::of(b""), None, layout, &chosen)
    }

    const PLAIN: &[(&str, &str)] = &[("precision", "float16"), ("compression", "none")];
    const INT8: &[(&str, &str)] = &[("precision", "float16"), ("compression", "linear:int8")];

    #[test]
    fn one_weight_file_is_called_weight_bin() {
        let files = |spec: &'static str| [("m/model", spec), ("m/weights/weight.bin", "weights")];
        let variants = [variant("a", PLAIN, &files("one")), variant("b", PLAIN, &files("two"))];
        let proof = proof(&variants, Layout::Shared).unwrap();
        assert_eq!(
            proof.names().collect::<Vec<_>>(),
            ["a.mlpackage", "b.mlpackage", "layout.json", "weight.bin", ".mlreg.json"]
        );
        let bundle = &proof.bundles["a.mlpackage"];
        assert_eq!(bundle.files.keys().map(RelativePath::as_str).collect::<Vec<_>>(), ["m/model"]);
        assert_eq!(bundle.folders.iter().map(RelativePath::as_str).collect::<Vec<_>>(), ["m/weights"]);
        assert_eq!(bundle.bytes(&proof.files), 10);
        let document: serde_json::Value = serde_json::from_slice(&proof.layout_document().unwrap()).unwrap();
        assert_eq!(document["schema"], LAYOUT_SCHEMA);
        assert_eq!(document["bundles"]["b.mlpackage"], serde_json::json!({ "m/weights/weight.bin": "weight.bin" }));
        assert_eq!(document["files"]["weight.bin"]["sha256"], Digest::of(b"weights").to_string());
        assert_eq!(Proof::parse(&proof.to_bytes()).unwrap(), proof);
    }

    #[test]
    fn several_weight_files_are_told_apart_as_plainly_as_possible() {
        let variants = [
            variant("a", PLAIN, &[("weights/weight.bin", "1"), ("weights/shared.bin", "2")]),
            variant("b", INT8, &[("weights/weight.bin", "3")]),
        ];
        let proof = proof(&variants, Layout::Shared).unwrap();
        let names: Vec<_> = proof.files.keys().map(String::as_str).collect();
        // Both of the first bundle would be `decoder-float16`, so that the stem joins where it says something.
        let expected = [
            "decoder-float16-shared.weight.bin",
            "decoder-float16.weight.bin",
            "decoder-linear-int8.weight.bin",
            "layout.json",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn names_that_are_equal_without_case_are_refused() {
        let error = proof(&[variant("a", PLAIN, &[("Data/x", "1"), ("data/y", "2")])], Layout::Linked).unwrap_err();
        assert!(matches!(error, FetchError::Collision { .. }), "{error}");
        let error = proof(&[variant("a", PLAIN, &[("x", "1"), ("x/y", "2")])], Layout::Linked).unwrap_err();
        assert!(matches!(error, FetchError::Collision { .. }), "{error}");
        let error = proof(&[variant("a", PLAIN, &[]), variant("A", PLAIN, &[])], Layout::Linked).unwrap_err();
        assert!(matches!(error, FetchError::Collision { .. }), "{error}");
        let error = proof(&[variant("a", PLAIN, &[("d/e\u{301}", "1"), ("d/\u{c9}", "2")])], Layout::Linked)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("`d/e\\u{301}` and `d/\\u{c9}` cannot both be placed in `a.mlpackage`: "), "{error}");
        let error =
            proof(&[variant("e\u{301}", PLAIN, &[]), variant("\u{e9}", PLAIN, &[])], Layout::Linked).unwrap_err();
        assert!(matches!(error, FetchError::Collision { .. }), "{error}");
        for name in ["../a", "a/b", ".mlreg-tmp-1", ".ml\u{200d}reg-1", ".MLREG-1"] {
            let error = proof(&[variant(name, PLAIN, &[])], Layout::Linked).unwrap_err();
            assert!(matches!(error, FetchError::PlacedName { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn proofs_of_other_places_are_none() {
        let good = proof(&[variant("a", PLAIN, &[])], Layout::Linked).unwrap().to_bytes();
        assert!(Proof::parse(&good).is_some());
        let text = String::from_utf8(good).unwrap();
        assert!(Proof::parse(text.replace("a.mlpackage", "../a.mlpackage").as_bytes()).is_none());
        assert!(Proof::parse(text.replace("mlreg/proof/1", "mlreg/proof/2").as_bytes()).is_none());
    }

    #[test]
    fn names_that_lead_out_are_none_even_where_the_checksum_fits() {
        let mut hostile = proof(&[variant("a", PLAIN, &[])], Layout::Linked).unwrap();
        let bundle = hostile.bundles.remove("a.mlpackage").unwrap();
        hostile.bundles.insert("..".to_owned(), bundle);
        assert!(Proof::parse(&hostile.to_bytes()).is_none());
    }

    #[test]
    fn every_changed_byte_of_a_proof_shows() {
        let good = proof(&[variant("a", PLAIN, &[("m/model", "spec")])], Layout::Shared).unwrap().to_bytes();
        assert!(Proof::parse(&good).is_some());
        for position in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[position] ^= 1 << bit;
                assert!(Proof::parse(&bytes).is_none(), "bit {bit} of byte {position}");
            }
        }
        assert!(Proof::parse(&[&good[..], b"\n"].concat()).is_none());
    }

    #[test]
    fn folders_are_all_parents() {
        let mut bundle = PlacedBundle::new(&variant("a", PLAIN, &[("a/b/c", "1"), ("d", "2")]));
        bundle.folders.insert("e/f".parse().unwrap());
        assert_eq!(bundle.all_folders().iter().map(RelativePath::as_str).collect::<Vec<_>>(), ["a", "a/b", "e", "e/f"]);
    }
}
