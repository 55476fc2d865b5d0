//! Bundles of a folder that a fetch has placed, by its proof: also where weight files lie beside the bundles, and where
//! the store knows nothing of the release. Then the variants' roles are read from their ids and programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{Found, PlainFiles};
use crate::{
    base::{FolderError, RelativePath, Target},
    emit::coreml::{Files, Package},
    fetch::{PROOF_NAME, PlacedBundle, Proof},
    manifest::release::{BundleKind, Delivery, FileEntry, Other, Release, Source, Variant},
    workflow::Context,
};

/// Why a placed folder cannot be used.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, thiserror::Error)]
pub enum PlacedError {
    /// The proof cannot be read.
    #[error(transparent)]
    Read(#[from] FolderError),
    /// The proof is damaged.
    #[error("`{}` is not as mlreg wrote it", path.display())]
    Proof { path: PathBuf },
}

impl PlacedError {
    /// The next step.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Proof { .. } => {
                Some("`mlreg verify FOLDER` says what is wrong, `mlreg fetch` places the package again".to_owned())
            }
        }
    }
}

fn proof(folder: &Path) -> Result<Proof, PlacedError> {
    Proof::read(folder)?.ok_or_else(|| PlacedError::Proof { path: folder.join(PROOF_NAME) })
}

/// Where the files of a bundle lie; a weight file beside the bundle is meant where the layout says so.
fn files(folder: &Path, name: &str, bundle: &PlacedBundle) -> Files {
    let own = bundle.files.keys().map(|path| (path.clone(), path.below(&folder.join(name))));
    let lifted = bundle.lifted.iter().map(|(path, beside)| (path.clone(), folder.join(beside)));
    own.chain(lifted).collect()
}

/// The plain files, a group for each component.
pub(super) fn plain_files(folder: &Path) -> Result<Vec<PlainFiles>, PlacedError> {
    let proof = proof(folder)?;
    let plain = proof.bundles.iter().filter(|(_, bundle)| bundle.kind == BundleKind::Files);
    Ok(plain.map(|(name, bundle)| PlainFiles { files: files(folder, name, bundle) }).collect())
}

/// What can be run of a placed folder.
pub(super) struct PlacedBundles {
    /// The bundles with a program.
    pub(super) bundles: Vec<Found>,
    /// What components were made from, where the store has the release.
    pub(super) sources: BTreeMap<String, Source>,
}

/// The bundles with a program.
pub(super) fn bundles(context: &Context, path: &Path) -> Result<PlacedBundles, PlacedError> {
    let folder = context.directory().join(path);
    let proof = proof(&folder)?;
    let release = release(context, &proof);
    let programs = proof.bundles.iter().filter(|(_, bundle)| bundle.kind == BundleKind::MlPackage);
    let found = |(name, bundle): (&String, &PlacedBundle)| {
        let files = files(&folder, name, bundle);
        let known = release.as_ref().and_then(|release| release.variant(&bundle.variant)).cloned();
        let variant = known.unwrap_or_else(|| variant_of(name, bundle, &files));
        Found::Placed {
            name: path.join(name).display().to_string(),
            variant: Box::new(variant),
            files: Box::new(files),
        }
    };
    let bundles = programs.map(found).collect();
    Ok(PlacedBundles { bundles, sources: release.map(|release| release.sources).unwrap_or_default() })
}

/// A bundle by its path, where it was placed without its weight files, which lie beside it then.
pub(super) fn lifted(context: &Context, path: &Path) -> Option<Found> {
    let folder = path.parent()?;
    let name = path.file_name()?.to_str()?;
    let proof = proof(&context.directory().join(folder)).ok()?;
    let is_lifted = proof.bundles.get(name).is_some_and(|bundle| !bundle.lifted.is_empty());
    // Where all of it was linked into the bundle, the folder says more than the proof.
    let is_complete =
        || proof.bundles[name].lifted.keys().all(|file| file.below(&context.directory().join(path)).is_file());
    if !is_lifted || is_complete() {
        return None;
    }
    let named = path.display().to_string();
    bundles(context, folder).ok()?.bundles.into_iter().find(|found| found.name() == named)
}

/// The release that was placed, where the store has it.
fn release(context: &Context, proof: &Proof) -> Option<Release> {
    let (digest, bytes) = context.store().release(&proof.package, &proof.version).ok()??;
    (digest == proof.release).then(|| Release::parse(&bytes).ok()).flatten()
}

/// What can be said of a variant without its release: its id has the axes that matter here, its program the interface.
fn variant_of(name: &str, bundle: &PlacedBundle, files: &Files) -> Variant {
    let words: Vec<&str> = bundle.variant.split('-').collect();
    let is_shape = |word: &str| {
        let mut letters = word.chars();
        let number =
            |letters: std::str::Chars<'_>| letters.as_str().starts_with(|letter: char| letter.is_ascii_digit());
        match letters.next() {
            Some('s' | 'e' | 'c') => number(letters),
            _ => false,
        }
    };
    let has = |word: &&str| words.contains(word);
    let precision = ["float32", "float16"].into_iter().find(has);
    let end = words.iter().position(|word| is_shape(word) || Some(*word) == precision).unwrap_or(words.len());
    let mut axes = BTreeMap::new();
    axes.extend(precision.map(|precision| ("precision".to_owned(), precision.to_owned())));
    axes.insert("linear".to_owned(), if has(&"conv") { "conv" } else { "linear" }.to_owned());
    let target = words.iter().rev().find_map(|word| Target::all().find(|target| target.id() == **word));
    let interface = Package::of_files(Path::new(name), files).ok().and_then(|package| package.interface(None).cloned());
    let entry = |(path, file): (&RelativePath, &crate::fetch::PlacedFile)| FileEntry {
        path: path.clone(),
        sha256: file.sha256,
        size: file.size,
        executable: file.executable,
    };
    Variant {
        id: bundle.variant.clone(),
        name: bundle.name.clone(),
        component: words[..end].join("-"),
        target,
        kind: bundle.kind,
        axes,
        tags: BTreeSet::new(),
        delivery: Delivery::default(),
        interface,
        compiled: None,
        files: bundle.files.iter().map(entry).collect(),
        folders: bundle.folders.iter().cloned().collect(),
        other: Other::default(),
    }
}
