//! Locates errors in the manifest: line and column of the key that caused an error, and suggestions for missing paths.

use std::path::{Path, PathBuf};

use super::BuildError;
use crate::{
    arch::ArchError,
    manifest::{Component, nearest},
    workflow::{Error, ErrorKind, Place},
};

/// Adds the line and column of the responsible key to an error of input; `manifest` is the path of the manifest.
pub(super) fn at(component: &Component, manifest: &Path, error: Error) -> Error {
    let Error::Build(found) = &error else { return error };
    if error.kind() != ErrorKind::Input || error.place().is_some() {
        return error;
    }
    let (line, column) = component.place_of(key(found));
    Error::At { place: Place { path: manifest.to_owned(), line, column }, source: Box::new(error) }
}

/// The key that caused an error; `None` for the source of the component.
fn key(error: &BuildError) -> Option<&'static str> {
    match error {
        BuildError::Architecture { source, .. } | BuildError::Program { source, .. } => match source {
            ArchError::UnknownName { .. } => Some("architecture"),
            ArchError::Part { .. } | ArchError::NoPart { .. } => Some("part"),
            ArchError::Form { axis, .. } => Some(*axis),
            _ => None,
        },
        BuildError::Compile { .. } | BuildError::AppleCompiler { .. } => Some("format"),
        BuildError::NothingShared { .. } => Some("shared"),
        _ => None,
    }
}

/// A path that is similar to `missing` and exists: a similar name in the deepest existing folder of the path.
pub(super) fn near(missing: &Path) -> Option<PathBuf> {
    let mut rest = missing;
    while let (Some(parent), Some(name)) = (rest.parent(), rest.file_name()) {
        let folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if folder.is_dir() {
            let entries =
                std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
            let names: Vec<String> = entries.take(10_000).collect();
            let name = name.to_str()?;
            let found = nearest(name, names.iter().map(String::as_str), 1).first().map(|&near| parent.join(near))?;
            let meant = missing
                .strip_prefix(rest)
                .ok()
                .filter(|tail| !tail.as_os_str().is_empty())
                .map_or(found.clone(), |tail| found.join(tail));
            return meant.exists().then_some(meant);
        }
        rest = parent;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn near_paths_are_in_the_deepest_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("checkpoints/taef1")).unwrap();
        fs::write(path("checkpoints/taef1/config.json"), b"{}").unwrap();
        assert_eq!(near(&path("checkpoints/taef2")), Some(path("checkpoints/taef1")));
        assert_eq!(near(&path("checkpoint/taef1/config.json")), Some(path("checkpoints/taef1/config.json")));
        assert_eq!(near(&path("checkpoint/other")), None, "what is not there is not meant");
        assert_eq!(near(&path("quite-different")), None);
    }
}
