//! The cache of the Hub's own clients, looked into and never written:
//! `models--org--name/{blobs/<sha256 or git sha1>, refs/<revision>, snapshots/<commit>/<path>}`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use hf_hub::{Cache, CacheRepo, Repo};

use super::tree::Commit;
use crate::remote::CollectedFile;

/// Folders in folders of a snapshot that are looked into.
const DEEPEST: usize = 32;

/// A repository's folder in the cache.
#[derive(Debug)]
pub(super) struct HubCache {
    repository: CacheRepo,
    folder: PathBuf,
}

impl HubCache {
    pub(super) fn new(cache: &Path, repository: &str) -> Self {
        let repo = Repo::model(repository.to_owned());
        Self { folder: cache.join(repo.folder_name()), repository: Cache::new(cache.to_owned()).repo(repo) }
    }

    /// The file that has a hash for its name, if it is as long as expected. Its bytes are not looked at.
    pub(super) fn blob(&self, id: &str, size: u64) -> Option<PathBuf> {
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = self.folder.join("blobs").join(id);
        (plain && fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)).then_some(path)
    }

    /// The commit that a revision stood for when it was last downloaded, and the folder with its files.
    pub(super) fn snapshot(&self, revision: &str) -> Option<(Commit, PathBuf)> {
        // Addresses with a `..` are refused before, so that this stays in the folder.
        let known = || fs::read_to_string(self.folder.join("refs").join(revision)).ok().and_then(|text| Commit::parse(text.trim()));
        let commit = Commit::parse(revision).or_else(known)?;
        let folder = self.repository.pointer_path(commit.as_str());
        folder.is_dir().then_some((commit, folder))
    }
}

/// Files of a snapshot by path. A file is a link to a blob whose name is its digest; a plain file has no digest, and
/// its `id` is empty.
pub(super) fn listed(folder: &Path) -> io::Result<BTreeMap<String, CollectedFile>> {
    let mut files = BTreeMap::new();
    list(folder, "", DEEPEST, &mut files)?;
    Ok(files)
}

fn list(folder: &Path, prefix: &str, depth: usize, files: &mut BTreeMap<String, CollectedFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Names that are no text, and links to what was never downloaded, are no files of the snapshot.
        let (Some(name), Ok(metadata)) = (path.file_name().and_then(|name| name.to_str()), fs::metadata(&path)) else { continue };
        let name = format!("{prefix}{name}");
        if metadata.is_file() {
            let blob = fs::read_link(&path).ok();
            let id = blob.as_ref().and_then(|blob| blob.file_name()?.to_str()).unwrap_or_default();
            let (sha256, is_git) = (id.parse().ok(), Commit::parse(id).is_some());
            let id = if sha256.is_some() || is_git { id.to_owned() } else { String::new() };
            files.insert(name, CollectedFile { size: metadata.len(), sha256, id });
        } else if metadata.is_dir() && depth > 0 && !fs::symlink_metadata(&path)?.is_symlink() {
            list(&path, &format!("{name}/"), depth - 1, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_clients_left_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models--acme--tae");
        let commit = "ab".repeat(20);
        for (path, text) in [("blobs/abc0", "four"), ("refs/main", commit.as_str()), (&format!("snapshots/{commit}/config.json"), "{}")] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let cache = HubCache::new(folder.path(), "acme/tae");
        assert_eq!(cache.blob("abc0", 4).unwrap(), root.join("blobs/abc0"));
        assert!(cache.blob("abc0", 5).is_none() && cache.blob("../refs", 4).is_none());
        assert_eq!(cache.snapshot("main").unwrap().1, cache.snapshot(&commit).unwrap().1);
        assert!(cache.snapshot("dev").is_none());
    }
}
