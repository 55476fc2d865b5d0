//! What is remembered about a placed folder in the store's home: what was placed, how its files looked to the file system, and which
//! requests that satisfied. A second run reads this record, looks at the folder, and is done: no database, no network, no hashing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    FetchError,
    layout::{Layout, Proof},
    scan::Scan,
};
use crate::{
    base::{Digest, PackageName, Tag, Target},
    manifest::release::Delivery,
    store::{Placement, Store, StoreError},
};

/// What somebody asked for: two equal requests are satisfied by the same folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The package.
    pub package: PackageName,
    /// Which versions will do, as text.
    pub requirement: String,
    /// The remote without credentials; none is the store.
    pub source: Option<String>,
    /// The lowest OS of the app.
    pub floor: Option<Target>,
    /// How bundles are placed.
    pub layout: Layout,
    /// Globs over variants.
    pub variants: BTreeSet<String>,
    /// Components.
    pub components: BTreeSet<String>,
    /// Tags.
    pub tags: BTreeSet<Tag>,
    /// Delivery categories.
    pub deliveries: BTreeSet<Delivery>,
}

impl FetchRequest {
    /// Whether a folder that satisfies this satisfies `other`, too: who asks no remote takes what any of them gave.
    fn covers(&self, other: &Self) -> bool {
        self == other || (other.source.is_none() && Self { source: None, ..self.clone() } == *other)
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

impl Journal {
    /// The record of a folder; `None` where there is none that this mlreg can read.
    pub(super) fn read(store: &Store, folder: &Path) -> Option<Self> {
        let placement = store.placement(folder).ok()??;
        serde_json::from_value(placement.body).ok()
    }

    /// Keeps the record. `other` is a further release that must not be collected.
    pub(super) fn write(&self, store: &Store, folder: &Path, other: Option<Digest>) -> Result<(), FetchError> {
        let releases: BTreeSet<_> = self.proof.iter().map(|proof| proof.release).chain(other).collect();
        let path = folder.to_owned();
        let body = serde_json::to_value(self).map_err(|source| StoreError::Encode { path: path.clone(), source })?;
        Ok(store.put_placement(&Placement { folder: path, releases: releases.into_iter().collect(), body })?)
    }
}

/// What lies in `DIR/<package>`, if it is exactly what an equal request has placed there.
///
/// Notices files that were added, removed, resized or touched. Looks at names, lengths, times and modes alone.
pub fn unchanged(store: &Store, out: &Path, request: &FetchRequest) -> Option<Proof> {
    let folder = fs::canonicalize(out.join(request.package.as_str())).ok()?;
    let journal = Journal::read(store, &folder)?;
    let proof = journal.proof.filter(|_| journal.requests.iter().any(|known| known.covers(request)))?;
    let scan = Scan::of(&folder, proof.names()).ok()?;
    (scan == journal.scan).then_some(proof)
}

/// Forgets how the files of a placed folder looked, so that the next fetch hashes them: for whoever found that times lie.
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

/// The folder of a package, without symbolic links as far as it exists.
pub(super) fn destination(out: &Path, package: &PackageName) -> Result<PathBuf, FetchError> {
    let folder = std::path::absolute(out.join(package.as_str())).map_err(FetchError::io("resolve", out))?;
    let mut rest = Vec::new();
    for ancestor in folder.ancestors() {
        if let Ok(known) = fs::canonicalize(ancestor) {
            return Ok(rest.iter().rev().fold(known, |path, name| path.join(name)));
        }
        rest.extend(ancestor.file_name());
    }
    Ok(folder)
}
