//! Finds the bundles that match the pattern of an import.

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

/// Depth of the search for patterns with `**`, in folders.
const DEEPEST: usize = 32;

/// A bundle that matches the pattern.
#[derive(Debug)]
pub(super) struct ImportCandidate {
    pub(super) bundle: FoundBundle,
    pub(super) tree: Tree,
}

/// The matching bundles, sorted by path; `folder` is the manifest's.
///
/// Bundles of the Hub are downloaded into a temporary folder, which is returned with them.
pub(super) fn bundles(
    context: &Context,
    folder: &Path,
    import: &Import,
) -> Result<(Vec<ImportCandidate>, Option<TempDir>), Error> {
    match address(import.pattern.as_str()) {
        Some(url) => in_repository(context, &url?, &import.pattern),
        None => Ok((in_folder(folder, import)?, None)),
    }
}

fn in_repository(
    context: &Context,
    url: &HubUrl,
    pattern: &ImportPattern,
) -> Result<(Vec<ImportCandidate>, Option<TempDir>), Error> {
    // What the pattern says of the path in the repository comes last, and its letters are those of the address.
    let path = url.path().unwrap_or_default();
    let prefix = pattern.as_str().strip_suffix(path).unwrap_or(pattern.as_str());
    let HubBundles { folder, bundles } =
        HubBundles::fetch(context, url, prefix, |path| pattern.matches(path).is_some())?;
    let found = bundles.into_iter().map(|(path, place)| describe(&place, path)).collect::<Result<_, _>>()?;
    Ok((found, Some(folder)))
}

fn in_folder(folder: &Path, import: &Import) -> Result<Vec<ImportCandidate>, BuildError> {
    let pattern = &import.pattern;
    let text = pattern.as_str();
    let depth = if text.contains("**") { DEEPEST } else { text.matches('/').count() };
    let start = pattern.root();
    let is_search = text.contains(['*', '?', '[', '{']);
    // What the manifest names may be a link; what a search finds must not lead out of where it looks.
    let root = fs::canonicalize(folder.join(start)).ok().filter(|_| is_search);
    let mut walk = Walk { folder, pattern, root, open: Vec::new(), paths: Vec::new() };
    let from = if start.is_empty() { 0 } else { start.trim_end_matches('/').matches('/').count() + 1 };
    walk.folder(start, depth.saturating_sub(from))?;
    walk.paths.sort();
    walk.paths.into_iter().map(|path| describe(&folder.join(&path), path)).collect()
}

fn describe(place: &Path, path: String) -> Result<ImportCandidate, BuildError> {
    let tree = Tree::of_bundle(place)?;
    let kind = BundleKind::of_file_name(path.rsplit('/').next().unwrap_or(&path));
    let needs = tree.describe(kind)?.and_then(|description| description.target);
    Ok(ImportCandidate { bundle: FoundBundle { path, needs }, tree })
}

struct Walk<'a> {
    folder: &'a Path,
    pattern: &'a ImportPattern,
    /// Real path of the folder that is searched; `None` for a pattern without wildcards.
    root: Option<PathBuf>,
    /// Folders that are being searched through symbolic links.
    open: Vec<PathBuf>,
    paths: Vec<String>,
}

impl Walk<'_> {
    /// Searches `base` and at most `depth` levels of folders below it.
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
            let child =
                if base.is_empty() || base.ends_with('/') { format!("{base}{name}") } else { format!("{base}/{name}") };
            if self.pattern.matches(&child).is_some() {
                self.check_link(&entry.path())?;
                self.paths.push(child);
                continue;
            }
            let is_bundle = BundleKind::of_file_name(&name) != BundleKind::Files;
            if depth == 0 || is_bundle || !entry.path().is_dir() {
                continue;
            }
            match fs::symlink_metadata(entry.path()).is_ok_and(|metadata| metadata.is_symlink()) {
                false => self.folder(&child, depth - 1)?,
                true => self.linked_folder(&child, &entry.path(), depth - 1)?,
            }
        }
        Ok(())
    }

    /// Searches a folder behind a symbolic link. A match in a folder outside the search is refused; `**` does not
    /// follow such links.
    fn linked_folder(&mut self, child: &str, link: &Path, depth: usize) -> Result<(), BuildError> {
        let Ok(to) = fs::canonicalize(link) else { return Ok(()) };
        let is_outside = self.root.as_ref().is_some_and(|root| !to.starts_with(root));
        if self.open.contains(&to) || (is_outside && self.pattern.as_str().contains("**")) {
            return Ok(());
        }
        let before = self.paths.len();
        self.open.push(to.clone());
        self.folder(child, depth)?;
        self.open.pop();
        match is_outside && self.paths.len() > before {
            true => Err(BuildError::FoundLink { path: link.to_owned(), to }),
            false => Ok(()),
        }
    }

    fn check_link(&self, path: &Path) -> Result<(), BuildError> {
        let Some(root) = &self.root else { return Ok(()) };
        if !fs::symlink_metadata(path).map_err(BuildError::read(path))?.is_symlink() {
            return Ok(());
        }
        let to = fs::canonicalize(path).map_err(BuildError::read(path))?;
        if to.starts_with(root) { Ok(()) } else { Err(BuildError::FoundLink { path: path.to_owned(), to }) }
    }
}
