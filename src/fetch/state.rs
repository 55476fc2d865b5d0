//! What is remembered about a placed folder in the store's home: what was placed, how its files looked to the file
//! system, and which requests that satisfied. A second run reads this record, looks at the folder, and is done: no
//! database, no network, no hashing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    FetchError,
    layout::{Layout, PROOF_NAME, PlacedBundle, Proof},
    scan::Scan,
};
use crate::{
    base::{Blake3, Digest, FolderError, PackageName, Tag, Target},
    manifest::{GlobError, Selection, release::Delivery},
    store::{Placement, Store},
};

/// What somebody asked for: two equal requests are satisfied by the same folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The package.
    pub package: PackageName,
    /// Which release.
    pub release: RequestedRelease,
    /// The lowest OS of the app.
    pub floor: Option<Target>,
    /// How bundles are placed.
    pub layout: Layout,
    /// What of it.
    pub wanted: Wanted,
    /// Of that, only this.
    pub narrowed: Wanted,
    /// The app whose folder this is: then nothing else may be in it.
    pub owner: Option<Owner>,
}

/// A selection as people write it. An empty set does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Globs over variants.
    pub variants: BTreeSet<String>,
    /// Components.
    pub components: BTreeSet<String>,
    /// Tags.
    pub tags: BTreeSet<Tag>,
    /// Delivery categories.
    pub deliveries: BTreeSet<Delivery>,
    /// Globs over variants by the new name that the one match gets.
    pub rename: BTreeMap<String, String>,
}

impl Wanted {
    /// The selection for a floor.
    ///
    /// # Errors
    /// For texts that are no globs.
    pub fn selection(&self, floor: Option<Target>) -> Result<Selection, GlobError> {
        let named = |(name, glob): (&String, &String)| Ok((name.clone(), glob.parse()?));
        Ok(Selection {
            variants: self.variants.iter().map(|glob| glob.parse()).collect::<Result<_, _>>()?,
            components: self.components.iter().cloned().collect(),
            tags: self.tags.iter().cloned().collect(),
            deliveries: self.deliveries.iter().copied().collect(),
            floor,
            rename: self.rename.iter().map(named).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it takes everything as it is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which release somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RequestedRelease {
    /// Any that will do.
    Open {
        /// Which versions will do, as text.
        requirement: String,
        /// The remote without credentials; none is the store.
        source: Option<String>,
    },
    /// One that a lock pins, whoever has it.
    Locked {
        /// The sha256 of its manifest.
        release: Digest,
        /// The variants that the lock pins.
        variants: BTreeSet<String>,
    },
}

/// The app that a folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The folder of its `mlreg.toml`.
    pub project: PathBuf,
    /// The BLAKE3 of everything that the app places, by folder: when a package joins or leaves, every folder is looked
    /// at again.
    pub members: Blake3,
}

impl FetchRequest {
    /// What equal requests have in common.
    fn key(&self) -> Option<Blake3> {
        // A path that is no text has no key, and nothing answers for it.
        Some(Blake3::of(&serde_json::to_vec(self).ok()?))
    }

    /// What a folder that satisfies this satisfies, too: who asks no remote takes what any of them gave.
    fn without_source(&self) -> Option<Self> {
        let RequestedRelease::Open { requirement, .. } = &self.release else { return None };
        Some(Self {
            release: RequestedRelease::Open { requirement: requirement.clone(), source: None },
            ..self.clone()
        })
    }
}

/// What the store's record of a placed folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// What was placed last, completely.
    pub(super) proof: Option<Proof>,
    /// How everything looked right after that; empty where it is not known.
    pub(super) scan: Scan,
    /// What this satisfies.
    pub(super) requests: Vec<FetchRequest>,
    /// Names in the folder that belong to mlreg although `proof` may not have them: of a change that was under way.
    pub(super) names: BTreeSet<String>,
}

/// What a run that finds nothing to do has to know: the glance of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    /// The requests that are satisfied.
    requests: BTreeSet<Blake3>,
    /// How everything looked.
    scan: Blake3,
    outline: Outline,
}

/// A placed folder in little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// The bundles by the name of their folder.
    pub bundles: BTreeMap<String, OutlinedBundle>,
    /// The names of files beside the bundles, without the proof.
    pub files: BTreeSet<String>,
}

/// A bundle of an outline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlinedBundle {
    /// The variant's id.
    pub variant: String,
    /// How long its files are together, those beside it included.
    pub bytes: u64,
}

impl Outline {
    /// The outline of a proof.
    pub fn of(proof: &Proof) -> Self {
        let bundle = |bundle: &PlacedBundle| OutlinedBundle {
            variant: bundle.variant.clone(),
            bytes: bundle.bytes(&proof.files),
        };
        Self {
            version: proof.version.clone(),
            release: proof.release,
            bundles: proof.bundles.iter().map(|(name, it)| (name.clone(), bundle(it))).collect(),
            files: proof.files.keys().cloned().collect(),
        }
    }

    /// Everything that the folder has at its top.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.bundles.keys().chain(&self.files).map(String::as_str).chain([PROOF_NAME])
    }
}

impl Seal {
    /// The seal of a record that satisfies somebody and knows how everything looked.
    fn of(journal: &Journal) -> Option<Self> {
        let proof = journal.proof.as_ref().filter(|_| !journal.scan.is_empty() && !journal.requests.is_empty())?;
        let keys =
            journal.requests.iter().flat_map(|known| [known.key(), known.without_source().and_then(|it| it.key())]);
        Some(Self { requests: keys.flatten().collect(), scan: journal.scan.digest(), outline: Outline::of(proof) })
    }
}

impl Journal {
    /// A record of what was placed completely.
    pub(super) fn new(proof: Proof, scan: Scan, requests: Vec<FetchRequest>) -> Self {
        Self { proof: Some(proof), scan, requests, ..Self::default() }
    }

    /// The same record while a change is under way that concerns `names`: nobody's request is satisfied.
    pub(super) fn changing(self, names: BTreeSet<String>) -> Self {
        Self { requests: Vec::new(), names, ..self }
    }

    /// The record of a folder; `None` where there is none that this mlreg can read.
    pub(super) fn read(store: &Store, folder: &Path) -> Option<Self> {
        Some(store.placement(folder).ok()??.body)
    }

    /// The requests that stay satisfied when the folder becomes what `wanted` says: all of them when nothing changes,
    /// those without an owner when bundles only join.
    pub(super) fn standing_requests(&self, wanted: &Proof) -> Vec<FetchRequest> {
        let Some(proof) = &self.proof else { return Vec::new() };
        let same = (proof.release, proof.layout, proof.floor) == (wanted.release, wanted.layout, wanted.floor);
        let grows = same && proof.bundles.iter().all(|(name, bundle)| wanted.bundles.get(name) == Some(bundle));
        let stands = |request: &&FetchRequest| grows && (request.owner.is_none() || proof == wanted);
        self.requests.iter().filter(stands).cloned().collect()
    }

    /// Keeps the record. `other` is a further release that must not be collected.
    pub(super) fn write(&self, store: &Store, folder: &Path, other: Option<Digest>) -> Result<(), FetchError> {
        let releases: BTreeSet<_> = self.proof.iter().map(|proof| proof.release).chain(other).collect();
        let held = self.proof.as_ref().filter(|_| other.is_none()).map(Proof::blobs);
        let placement =
            Placement { folder: folder.to_owned(), releases: releases.into_iter().collect(), held, body: self };
        match Seal::of(self) {
            Some(seal) => Ok(store.put_placement_with_glance(&placement, &seal)?),
            None => Ok(store.put_placement(&placement)?),
        }
    }
}

/// What lies in `DIR/<package>`, if it is exactly what an equal request has placed there.
///
/// Notices files that were added, removed, resized or touched. Looks at names, lengths, times and modes alone.
pub fn unchanged(store: &Store, out: &Path, request: &FetchRequest) -> Option<Outline> {
    let folder = destination(out, &request.package).ok()?;
    let seal: Option<Seal> = store.placement_glance(&folder).ok()?;
    let Seal { scan, outline, .. } =
        seal.filter(|seal| request.key().is_some_and(|key| seal.requests.contains(&key)))?;
    let found = Scan::of(&folder, outline.names()).ok()?;
    (found.digest() == scan).then_some(outline)
}

/// Forgets how the files of a placed folder looked, so that the next fetch hashes them: for whoever found that times
/// lie.
///
/// # Errors
/// What the store says.
pub fn distrust(store: &Store, folder: &Path) -> Result<(), FetchError> {
    let Ok(folder) = fs::canonicalize(folder) else { return Ok(()) };
    match Journal::read(store, &folder) {
        Some(mut journal) => {
            journal.scan = Scan::default();
            journal.write(store, &folder, None)
        }
        None => Ok(()),
    }
}

/// The folder of a package. Links on the way to `out` are resolved as far as it exists; the folder itself may be none.
pub(super) fn destination(out: &Path, package: &PackageName) -> Result<PathBuf, FetchError> {
    let folder = resolved(out)?.join(package.as_str());
    match fs::symlink_metadata(&folder) {
        Ok(metadata) if metadata.is_symlink() => Err(FolderError::Link { path: folder }.into()),
        _ => Ok(folder),
    }
}

fn resolved(path: &Path) -> Result<PathBuf, FetchError> {
    let path = std::path::absolute(path).map_err(FetchError::io("resolve", path))?;
    let mut rest = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(known) = fs::canonicalize(ancestor) {
            return Ok(rest.iter().rev().fold(known, |path, name| path.join(name)));
        }
        rest.extend(ancestor.file_name());
    }
    Ok(path)
}
