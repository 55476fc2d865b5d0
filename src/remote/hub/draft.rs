//! What publishing a release changes in a branch, as a value: which files come, how they go up, which go, in which
//! commits. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    commit::Operation,
    layout::FOLDER,
    tree::{Commit, Content, Mode, Tree},
};
use crate::{
    base::{Digest, RelativePath},
    manifest::release::{Release, Variant},
    remote::default_places,
};

/// A commit has at most so many changes; the Hub advises fewer than a hundred.
pub(super) const OPERATIONS: usize = 64;
/// A commit carries at most so many bytes of small files.
pub(super) const INLINE: usize = 8 << 20;

/// The bytes of a file that the branch should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BranchFile {
    /// A blob of the release.
    Blob { digest: Digest, size: u64 },
    /// A document.
    Document(Bytes),
}

impl BranchFile {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Blob { size, .. } => *size,
            Self::Document(bytes) => bytes.len() as u64,
        }
    }

    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Blob { digest, .. } => *digest,
            Self::Document(bytes) => Digest::of(bytes),
        }
    }
}

/// Files by path.
pub(super) type Files = BTreeMap<String, BranchFile>;

/// What a branch lacks of a release.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) parent: Commit,
    pub(super) changes: Files,
    pub(super) modes: BTreeMap<String, Mode>,
    pub(super) deletions: Vec<Operation>,
    /// The paths of what makes the release visible.
    pub(super) last: BTreeSet<String>,
}

impl Draft {
    /// The blobs that go up in a mode, once for each place.
    pub(super) fn blobs(&self, mode: Mode) -> impl Iterator<Item = (Digest, u64)> + '_ {
        self.changes.iter().filter_map(move |(path, file)| match file {
            BranchFile::Blob { digest, size } if self.modes.get(path) == Some(&mode) => Some((*digest, *size)),
            _ => None,
        })
    }
}

/// The files that the branch does not have as they should be. `git_id` names the bytes of small files.
pub(super) fn changes<E>(wanted: &Files, tree: &Tree, git_id: impl Fn(&BranchFile) -> Result<String, E>) -> Result<Files, E> {
    let mut changes = Files::new();
    for (path, file) in wanted {
        let same = match tree.get(path) {
            Some(entry) if entry.size == file.size() => match &entry.content {
                Content::Lfs(digest) => *digest == file.digest(),
                Content::Git(id) => *id == git_id(file)?,
            },
            _ => false,
        };
        if !same {
            changes.insert(path.clone(), file.clone());
        }
    }
    Ok(changes)
}

/// Where the files of a release lie: bundles that the branch has elsewhere, whole, stay where they are, as people put
/// them there before mlreg came; all others lie where mlreg puts them. `git_id` names the bytes of small blobs.
pub(super) fn places<E>(
    release: &Release,
    tree: &Tree,
    git_id: impl Fn(&Digest) -> Result<String, E>,
) -> Result<BTreeMap<RelativePath, Digest>, E> {
    let mut places = default_places(release);
    let own: BTreeSet<&str> = tree.keys().filter_map(|path| path.strip_prefix(FOLDER)?.strip_prefix('/')?.split('/').next()).collect();
    let is_own = |folder: &str| {
        let top = folder.split('/').next().unwrap_or(folder);
        top == release.package.as_str() || top == FOLDER || own.contains(top)
    };
    for variant in &release.variants {
        let usual = format!("{}/{}/", release.package, variant.kind.file_name(&variant.id));
        let is_there = tree.range(usual.clone()..).next().is_some_and(|(path, _)| path.starts_with(&usual));
        let Some(largest) = variant.files.iter().max_by_key(|file| file.size).filter(|_| !is_there) else { continue };
        let ending = format!("/{}", largest.path);
        let holders = tree.iter().filter(|(_, entry)| entry.content == Content::Lfs(largest.sha256));
        for folder in holders.filter_map(|(path, _)| path.strip_suffix(&ending)).filter(|folder| !is_own(folder)) {
            let Some(paths) = bundle_in(folder, variant, tree, &git_id)? else { continue };
            places.retain(|path, _| !path.as_str().starts_with(&usual));
            places.extend(paths);
            break;
        }
    }
    Ok(places)
}

/// The files of a variant in a folder, if all of them are there.
fn bundle_in<E>(
    folder: &str,
    variant: &Variant,
    tree: &Tree,
    git_id: &impl Fn(&Digest) -> Result<String, E>,
) -> Result<Option<Vec<(RelativePath, Digest)>>, E> {
    let mut paths = Vec::new();
    for file in &variant.files {
        let path = format!("{folder}/{}", file.path);
        let Some(entry) = tree.get(&path).filter(|entry| entry.size == file.size) else { return Ok(None) };
        let same = match &entry.content {
            Content::Lfs(digest) => *digest == file.sha256,
            Content::Git(id) => *id == git_id(&file.sha256)?,
        };
        let Some(path) = path.parse().ok().filter(|_| same) else { return Ok(None) };
        paths.push((path, file.sha256));
    }
    Ok(Some(paths))
}

/// What removes the files that mlreg put there and that are not wanted any more: whole folders where nothing else lies
/// in them.
pub(super) fn deletions(owned: &BTreeSet<String>, wanted: &Files, tree: &Tree) -> Vec<Operation> {
    let gone: BTreeSet<&String> = owned.iter().filter(|path| tree.contains_key(*path) && !wanted.contains_key(*path)).collect();
    let (mut folders, mut operations) = (BTreeSet::new(), Vec::new());
    for path in &gone {
        match emptied_folder(path, &gone, tree) {
            Some(folder) => _ = folders.insert(folder),
            None => operations.push(Operation::Delete { path: (*path).clone() }),
        }
    }
    operations.extend(folders.into_iter().map(|path| Operation::DeleteFolder { path }));
    operations
}

/// The bundle of a file, `<package>/<bundle>`, if all that lies in it goes.
fn emptied_folder(path: &str, gone: &BTreeSet<&String>, tree: &Tree) -> Option<String> {
    let (end, _) = path.match_indices('/').nth(1)?;
    let prefix = &path[..=end];
    let all = tree.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix)).all(|(path, _)| gone.contains(path));
    all.then(|| path[..end].to_owned())
}

/// The change that brings a file.
pub(super) fn operation(path: &str, file: &BranchFile, mode: Mode, content: impl FnOnce() -> Bytes) -> Operation {
    let path = path.to_owned();
    match mode {
        Mode::Lfs => Operation::Lfs { path, oid: file.digest(), size: file.size() },
        Mode::Regular => Operation::File { path, content: content() },
    }
}

/// Where each commit but the last begins and ends among the changes that come first, by their inline bytes. The last
/// commit has the rest and what makes the release visible, `last` changes of `last_bytes`.
pub(super) fn cuts(inline: &[usize], last: usize, last_bytes: usize) -> Vec<std::ops::Range<usize>> {
    let (mut commits, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, length) in inline.iter().enumerate() {
        if index > start && (index - start == OPERATIONS || bytes + length > INLINE) {
            commits.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += length;
    }
    let joins = inline.len() - start + last <= OPERATIONS && bytes + last_bytes <= INLINE;
    if start < inline.len() && !joins {
        commits.push(start..inline.len());
    }
    commits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::hub::tree::{Entry, git_blob_id};

    fn document(text: &str) -> BranchFile {
        BranchFile::Document(Bytes::from(text.to_owned()))
    }

    fn tree(files: &[(&str, &str)]) -> Tree {
        let entry = |text: &str| Entry { size: text.len() as u64, content: Content::Git(git_blob_id(text.as_bytes())) };
        files.iter().map(|(path, text)| ((*path).to_owned(), entry(text))).collect()
    }

    fn files(files: &[(&str, &str)]) -> Files {
        files.iter().map(|(path, text)| ((*path).to_owned(), document(text))).collect()
    }

    fn git_id(file: &BranchFile) -> Result<String, ()> {
        match file {
            BranchFile::Document(bytes) => Ok(git_blob_id(bytes)),
            BranchFile::Blob { .. } => Err(()),
        }
    }

    #[test]
    fn only_what_differs_changes() {
        let mut tree = tree(&[("a", "same"), ("b", "old!"), ("c", "longer")]);
        tree.insert("l".to_owned(), Entry { size: 3, content: Content::Lfs(Digest::of(b"lfs")) });
        let mut wanted = files(&[("a", "same"), ("b", "new!"), ("c", "long"), ("d", "x")]);
        wanted.insert("l".to_owned(), BranchFile::Blob { digest: Digest::of(b"lfs"), size: 3 });
        let changed = changes(&wanted, &tree, git_id).unwrap();
        assert_eq!(changed.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn dropped_bundles_go_as_folders_and_leave_what_others_put_there() {
        let tree =
            tree(&[("p/a.mlpackage/x", ""), ("p/a.mlpackage/y/z", ""), ("p/b.mlpackage/x", ""), ("p/b.mlpackage/note", ""), ("p/c", "")]);
        let owned = ["p/a.mlpackage/x", "p/a.mlpackage/y/z", "p/b.mlpackage/x", "p/c", "p/gone"].map(str::to_owned).into();
        let operations = deletions(&owned, &files(&[("p/c", "")]), &tree);
        let expected =
            [Operation::Delete { path: "p/b.mlpackage/x".to_owned() }, Operation::DeleteFolder { path: "p/a.mlpackage".to_owned() }];
        assert_eq!(operations, expected);
    }

    #[test]
    fn commits_are_bounded_and_the_last_takes_what_fits() {
        let ends =
            |inline: &[usize], last, bytes| cuts(inline, last, bytes).into_iter().map(|cut| (cut.start, cut.end)).collect::<Vec<_>>();
        assert!(ends(&[], 3, 100).is_empty());
        assert!(ends(&[1; 61], 3, 100).is_empty());
        assert_eq!(ends(&[1; 62], 3, 100), [(0, 62)]);
        assert_eq!(ends(&[1; 130], 3, 100), [(0, 64), (64, 128)]);
        assert_eq!(ends(&[INLINE - 1, 2, 3], 3, 100), [(0, 1)]);
        assert_eq!(ends(&[INLINE + 5, 2], 3, 100), [(0, 1)]);
        assert_eq!(ends(&[5], 1, INLINE), [(0, 1)]);
    }
}
