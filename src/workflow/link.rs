//! `link`: makes the bundles of a folder in the layout `shared` complete, by hard links to the weight files beside them.
//!
//! Frameworks load complete bundles alone. Where the file system has no hard links, a file is copied.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Context, Error};
use crate::{
    base::{Digest, RelativePath},
    fetch::{LAYOUT_NAME, LAYOUT_SCHEMA, LayoutDocument, PlacedFile},
};

/// What was linked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LinkReport {
    /// Folders with a `layout.json`.
    pub folders: Vec<PathBuf>,
    /// Number of bundles that are complete now.
    pub bundles: u64,
    /// Number of files that were linked.
    pub linked: u64,
    /// Number of files that were copied because they cannot be linked.
    pub copied: u64,
    /// Number of files that were there already.
    pub present: u64,
}

/// Why bundles cannot be made complete.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing in the layout `shared`.
    #[error("neither `{}` nor a folder in it has a `{LAYOUT_NAME}`", folder.display())]
    NoLayout {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A `layout.json` that is none.
    #[error("`{}` is not a `{LAYOUT_NAME}` of mlreg: {why}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A weight file with other bytes than it should have.
    #[error("`{}` is damaged: expected sha256:{expected}, found sha256:{found}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What `layout.json` says.
        expected: Digest,
        /// What it has.
        found: Digest,
    },
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl LinkError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoLayout { .. } => Some("other layouts than `shared` have complete bundles".to_owned()),
            Self::Damaged { .. } => Some("`mlreg fetch --verify` repairs what was fetched".to_owned()),
            _ => None,
        }
    }
}

/// Makes the bundles in `folder`, or in the folders in it, complete. What is there already stays.
///
/// # Errors
/// What [`LinkError`] lists; every weight file is hashed before it is linked.
pub fn link(context: &Context, folder: &Path) -> Result<LinkReport, Error> {
    let folder = context.directory().join(folder);
    let mut report = LinkReport { folders: layouts(&folder)?, ..LinkReport::default() };
    for folder in report.folders.clone() {
        let document = read(&folder.join(LAYOUT_NAME))?;
        for (name, file) in &document.files {
            check(context, &folder.join(name), file)?;
        }
        for (bundle, wanted) in &document.bundles {
            report.bundles += 1;
            for (path, name) in wanted {
                complete(&folder.join(name), &path.below(&folder.join(bundle)), &mut report)?;
            }
        }
    }
    Ok(report)
}

fn layouts(folder: &Path) -> Result<Vec<PathBuf>, LinkError> {
    let has_layout = |folder: &PathBuf| folder.join(LAYOUT_NAME).is_file();
    if has_layout(&folder.to_owned()) {
        return Ok(vec![folder.to_owned()]);
    }
    let entries = fs::read_dir(folder).map_err(LinkError::io("list", folder))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(has_layout).collect();
    found.sort();
    if found.is_empty() { Err(LinkError::NoLayout { folder: folder.to_owned() }) } else { Ok(found) }
}

/// Names that lead out of the folder are refused.
fn read(path: &Path) -> Result<LayoutDocument, LinkError> {
    let wrong = |why: String| LinkError::Document { path: path.to_owned(), why };
    let bytes = fs::read(path).map_err(LinkError::io("read", path))?;
    let document: LayoutDocument = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if document.schema != LAYOUT_SCHEMA {
        return Err(wrong(format!("its schema is `{}`, expected `{LAYOUT_SCHEMA}`", document.schema)));
    }
    let is_name = |name: &str| name.parse::<RelativePath>().is_ok_and(|path| path.components().count() == 1);
    let mut names = document.bundles.keys().chain(document.files.keys());
    if let Some(name) = names.find(|name| !is_name(name)) {
        return Err(wrong(format!("`{name}` is not the name of a file")));
    }
    let unlisted = document.bundles.values().flat_map(|wanted| wanted.values()).find(|name| !document.files.contains_key(*name));
    match unlisted {
        Some(name) => Err(wrong(format!("it does not describe `{name}`"))),
        None => Ok(document),
    }
}

fn check(context: &Context, path: &Path, file: &PlacedFile) -> Result<(), Error> {
    let (found, _) = context.store().file_digest(path)?;
    if found == file.sha256 { Ok(()) } else { Err(LinkError::Damaged { path: path.to_owned(), expected: file.sha256, found }.into()) }
}

fn complete(source: &Path, target: &Path, report: &mut LinkReport) -> Result<(), LinkError> {
    if is_same_file(source, target) {
        report.present += 1;
        return Ok(());
    }
    match fs::remove_file(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(LinkError::io("replace", target)(error)),
        _ => {}
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(LinkError::io("make", parent))?;
    }
    if fs::hard_link(source, target).is_ok() {
        report.linked += 1;
        return Ok(());
    }
    fs::copy(source, target).map_err(LinkError::io("write", target))?;
    report.copied += 1;
    Ok(())
}

#[cfg(unix)]
fn is_same_file(left: &Path, right: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(left).is_some_and(|left| identity(right) == Some(left))
}

#[cfg(not(unix))]
fn is_same_file(_: &Path, _: &Path) -> bool {
    false
}
