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

/// Removes what was placed for the app in the folder `project`, except in the folders `kept`; gives the folders. What else lies in them
/// stays, and a folder that nothing is left in goes.
///
/// # Errors
/// What the store and the file system say.
pub fn forget_others(store: &Store, project: &Path, kept: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>, FetchError> {
    let kept: BTreeSet<PathBuf> = kept.iter().map(|folder| fs::canonicalize(folder).unwrap_or_else(|_| folder.clone())).collect();
    let is_owned = |request: &FetchRequest| request.owner.as_ref().is_some_and(|owner| owner.project == project);
    let mut removed = Vec::new();
    for placement in store.placements()? {
        let Ok(Journal { proof: Some(proof), requests, .. }) = serde_json::from_value(placement.body) else { continue };
        if requests.iter().any(is_owned) && !kept.contains(&placement.folder) {
            forget(store, &placement.folder, &proof)?;
            removed.push(placement.folder);
        }
    }
    Ok(removed)
}

fn forget(store: &Store, folder: &Path, proof: &Proof) -> Result<(), FetchError> {
    let out = folder.parent().unwrap_or(folder);
    // The record has no links in it: where one leads elsewhere now, nothing there was placed by mlreg.
    if let Some(link) = out.ancestors().find(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())) {
        return Err(FolderError::Link { path: link.to_owned() }.into());
    }
    let _held = Destination::lock(store, out, &proof.package, Staging::Beside)?;
    for name in proof.names().filter(|name| *name != PROOF_NAME).chain([PROOF_NAME]) {
        let path = folder.join(name);
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        let gone = if is_folder { remove_dir_all_writable(&path) } else { fs::remove_file(&path) };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FetchError::io("remove", &path)(error)),
            _ => {}
        }
    }
    // Fails while something else is there, which is what it should do.
    let _ = fs::remove_dir(folder);
    store.remove_placement(folder)?;
    Ok(())
}
