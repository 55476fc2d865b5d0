//! Removing what was placed for an app that does not want it any more.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    FetchError,
    layout::{PROOF_NAME, Proof},
    materialize::{Destination, Staging},
    state::{FetchRequest, Journal},
};
use crate::{
    base::{FolderError, remove_dir_all_writable},
    store::Store,
};

/// Removes what was placed for the app in the folder `project`, except in the folders `kept`; gives the folders. What
/// else lies in them stays, and a folder that nothing is left in goes.
///
/// # Errors
/// What the store and the file system say; `Link` as [`check_others`].
pub fn forget_others(store: &Store, project: &Path, kept: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>, FetchError> {
    let others = others(store, project, kept)?;
    others.iter().try_for_each(|(folder, proof)| forget(store, folder, proof))?;
    Ok(others.into_iter().map(|(folder, _)| folder).collect())
}

/// Makes sure that [`forget_others`] would not meet a link, for whoever changes something before it.
///
/// # Errors
/// `Link` for a folder that is, or is reached through, a link now; what the store says.
pub fn check_others(store: &Store, project: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), FetchError> {
    others(store, project, kept).map(drop)
}

fn others(store: &Store, project: &Path, kept: &BTreeSet<PathBuf>) -> Result<Vec<(PathBuf, Proof)>, FetchError> {
    let kept: BTreeSet<PathBuf> =
        kept.iter().map(|folder| fs::canonicalize(folder).unwrap_or_else(|_| folder.clone())).collect();
    let is_owned = |request: &FetchRequest| request.owner.as_ref().is_some_and(|owner| owner.project == project);
    let mut others = Vec::new();
    for placement in store.placements()? {
        let Ok(Journal { proof: Some(proof), requests, .. }) = serde_json::from_value(placement.body) else { continue };
        if requests.iter().any(is_owned) && !kept.contains(&placement.folder) {
            refuse_links(&placement.folder)?;
            others.push((placement.folder, proof));
        }
    }
    Ok(others)
}

/// Records have no links in their paths: where one leads elsewhere now, nothing there was placed by mlreg.
fn refuse_links(folder: &Path) -> Result<(), FetchError> {
    match folder.ancestors().find(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())) {
        Some(link) => Err(FolderError::Link { path: link.to_owned() }.into()),
        None => Ok(()),
    }
}

fn forget(store: &Store, folder: &Path, proof: &Proof) -> Result<(), FetchError> {
    let out = folder.parent().unwrap_or(folder);
    let _held = Destination::lock(store, out, &proof.package, Staging::Beside)?;
    for name in proof.names().filter(|name| *name != PROOF_NAME).chain([PROOF_NAME]) {
        let path = folder.join(name);
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        let gone = if is_folder { remove_dir_all_writable(&path) } else { fs::remove_file(&path) };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FetchError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    // Fails while something else is there, which is what it should do.
    let _ = fs::remove_dir(folder);
    store.remove_placement(folder)?;
    Ok(())
}
