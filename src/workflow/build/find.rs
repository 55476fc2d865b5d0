//! Finds the bundles that an import's pattern means.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{
    error::BuildError,
    hub::{HubBundles, address},
    tree::Tree,
};
use crate::{
    base::HubUrl,
    manifest::{FoundBundle, Import, ImportPattern, release::BundleKind},
    workflow::{Context, Error},
};

/// Deeper folders are not looked at, where the pattern has no depth of its own.
const DEEPEST: usize = 32;

/// A bundle that matches, walked and described.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bundle: FoundBundle,
    pub(super) tree: Tree,
}

/// The bundles that match, sorted by path; `folder` is the manifest's.
///
/// Those of the Hub are brought here, and stay as long as the folder that comes with them.
pub(super) fn bundles(context: &Context, folder: &Path, import: &Import) -> Result<(Vec<Found>, Option<TempDir>), Error> {
    match address(import.pattern.as_str()) {
        Some(url) => in_repository(context, &url?, &import.pattern),
        None => Ok((in_folder(folder, import)?, None)),
    }
}

fn in_repository(context: &Context, url: &HubUrl, pattern: &ImportPattern) -> Result<(Vec<Found>, Option<TempDir>), Error> {
    // What the pattern says of the path in the repository comes last, and its letters are those of the address.
    let path = url.path().unwrap_or_default();
    let prefix = pattern.as_str().strip_suffix(path).unwrap_or(pattern.as_str());
    let HubBundles { folder, bundles } = HubBundles::fetch(context, url, prefix, |path| pattern.matches(path).is_some())?;
    let found = bundles.into_iter().map(|(path, place)| describe(&place, path)).collect::<Result<_, _>>()?;
    Ok((found, Some(folder)))
}

fn in_folder(folder: &Path, import: &Import) -> Result<Vec<Found>, BuildError> {
    let pattern = &import.pattern;
    let text = pattern.as_str();
    let depth = if text.contains("**") { DEEPEST } else { text.matches('/').count() };
    let start = pattern.root();
    let mut walk = Walk { folder, pattern, paths: Vec::new() };
    let from = if start.is_empty() { 0 } else { start.trim_end_matches('/').matches('/').count() + 1 };
    walk.folder(start, depth.saturating_sub(from))?;
    walk.paths.sort();
    walk.paths.into_iter().map(|path| describe(&folder.join(&path), path)).collect()
}

fn describe(place: &Path, path: String) -> Result<Found, BuildError> {
    let tree = Tree::of_bundle(place)?;
    let kind = BundleKind::of_file_name(path.rsplit('/').next().unwrap_or(&path));
    let needs = tree.describe(kind)?.and_then(|description| description.target);
    Ok(Found { bundle: FoundBundle { path, needs }, tree })
}

struct Walk<'a> {
    folder: &'a Path,
    pattern: &'a ImportPattern,
    paths: Vec<String>,
}

impl Walk<'_> {
    /// Looks at what lies in `base`, and at most `depth` folders deeper.
    fn folder(&mut self, base: &str, depth: usize) -> Result<(), BuildError> {
        let path: PathBuf = self.folder.join(base);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // Then nothing matches, which has a message of its own.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(BuildError::read(&path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(BuildError::read(&path))?;
            // A name that is no text matches no pattern.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let child = if base.is_empty() || base.ends_with('/') { format!("{base}{name}") } else { format!("{base}/{name}") };
            if self.pattern.matches(&child).is_some() {
                self.paths.push(child);
                continue;
            }
            let is_bundle = BundleKind::of_file_name(&name) != BundleKind::Files;
            if depth > 0 && !is_bundle && entry.path().is_dir() {
                self.folder(&child, depth - 1)?;
            }
        }
        Ok(())
    }
}
