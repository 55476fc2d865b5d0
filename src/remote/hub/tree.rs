//! What a repository holds: revisions, tags, and the files of a commit with their lengths and hashes.

use std::collections::BTreeMap;

use reqwest::{
    Url,
    header::{HeaderMap, LINK},
};
use serde::Deserialize;

use super::{
    HubError,
    client::{Call, Hub, encoded_path},
};
use crate::{
    base::Digest,
    remote::{RemoteError, http::client},
};

/// Pages of a listing that are followed.
const PAGES: usize = 1000;

/// A commit's id: 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Commit(String);

impl Commit {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        valid.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the Hub stores a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// As a large object, which is uploaded before the commit.
    Lfs,
    /// In git: the bytes travel in the commit.
    Regular,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) size: u64,
    pub(super) content: Content,
}

/// How the bytes of a file are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A large file, by its sha256.
    Lfs(Digest),
    /// A small file, by git's sha1 of its blob.
    Git(String),
}

impl Entry {
    /// How it is stored.
    pub(super) fn mode(&self) -> Mode {
        match self.content {
            Content::Lfs(_) => Mode::Lfs,
            Content::Git(_) => Mode::Regular,
        }
    }
}

/// The files of a commit by path.
pub(super) type Tree = BTreeMap<String, Entry>;

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Refs {
    #[serde(default)]
    branches: Vec<Ref>,
    #[serde(default)]
    tags: Vec<Ref>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ref {
    name: String,
    target_commit: String,
}

#[derive(Deserialize)]
struct ListedEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<ListedLfs>,
}

#[derive(Deserialize)]
struct ListedLfs {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct ListedCommit {
    id: String,
}

/// The tags and branches of a repository.
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    pub(super) branches: BTreeMap<String, Commit>,
    pub(super) tags: BTreeMap<String, Commit>,
}

impl Hub {
    /// The commit that a branch, tag or commit stands for now.
    pub(super) async fn commit_of(&self, revision: &str) -> Result<Commit, RemoteError> {
        let url = self.api_at("revision", revision);
        let Revision { sha } = self.json(&Call::get(url.clone())).await?;
        Commit::parse(&sha).ok_or_else(|| unexpected(&url, "its `sha` is no commit"))
    }

    /// Tags and branches.
    pub(super) async fn references(&self) -> Result<References, RemoteError> {
        let Refs { branches, tags } = self.json(&Call::get(self.api_of("refs"))).await?;
        let by_name = |list: Vec<Ref>| list.into_iter().filter_map(|it| Some((it.name, Commit::parse(&it.target_commit)?))).collect();
        Ok(References { branches: by_name(branches), tags: by_name(tags) })
    }

    /// Every file below `folder` (empty: of all) in a commit; none where there is no such folder.
    pub(super) async fn files(&self, commit: &Commit, folder: &str) -> Result<Tree, RemoteError> {
        let mut tree = Tree::new();
        let url = self.tree_url(commit, folder, true);
        for entry in self.pages::<ListedEntry>(url.clone()).await? {
            if entry.kind == "file" {
                let content = match &entry.lfs {
                    Some(lfs) => Content::Lfs(lfs.oid.parse().map_err(|_| unexpected(&url, "an LFS file without a \
                         sha256"))?),
                    None => Content::Git(entry.oid),
                };
                let size = entry.lfs.map_or(entry.size, |lfs| lfs.size);
                tree.insert(entry.path, Entry { size, content });
            }
        }
        Ok(tree)
    }

    /// The names of the folders directly below `folder` in a commit.
    pub(super) async fn folders(&self, commit: &Commit, folder: &str) -> Result<Vec<String>, RemoteError> {
        let entries = self.pages::<ListedEntry>(self.tree_url(commit, folder, false)).await?;
        let name = |entry: ListedEntry| entry.path.rsplit('/').next().map(str::to_owned).filter(|_| entry.kind == "directory");
        Ok(entries.into_iter().filter_map(name).collect())
    }

    /// The latest commits of a revision, newest first: one page of them.
    pub(super) async fn history(&self, revision: &str) -> Result<Vec<Commit>, RemoteError> {
        let listed: Vec<ListedCommit> = self.json(&Call::get(self.api_at("commits", revision))).await?;
        Ok(listed.iter().filter_map(|commit| Commit::parse(&commit.id)).collect())
    }

    fn tree_url(&self, commit: &Commit, folder: &str, recursive: bool) -> Url {
        let mut url = self.api_at("tree", commit.as_str());
        if !folder.is_empty() {
            let path = format!("{}/{}", url.path(), encoded_path(folder));
            url.set_path(&path);
        }
        url.set_query(Some(if recursive { "recursive=true&expand=false" } else { "recursive=false&expand=false" }));
        url
    }

    /// The same path and query at this Hub: a mirror passes the Hub's own addresses on.
    fn here(&self, url: Url) -> Url {
        if self.is_own(&url) {
            return url;
        }
        let mut here = self.below_endpoint(url.path());
        here.set_query(url.query());
        here
    }

    /// All items of a listing; none where the listed folder does not exist.
    async fn pages<T: serde::de::DeserializeOwned>(&self, url: Url) -> Result<Vec<T>, RemoteError> {
        let (mut items, mut next) = (Vec::new(), Some(url));
        for _ in 0..PAGES {
            let Some(url) = next else { return Ok(items) };
            let response = match self.ask(&Call::get(url.clone())).await {
                Err(RemoteError::NotFound { .. }) if items.is_empty() => return Ok(items),
                other => other?,
            };
            next = next_page(&url, response.headers()).map(|next| self.here(next));
            items.extend(self.parsed::<Vec<T>>(&url, response).await?);
        }
        match next {
            Some(url) => Err(unexpected(&url, "a listing without end")),
            None => Ok(items),
        }
    }
}

fn unexpected(url: &Url, what: &str) -> RemoteError {
    HubError::Unexpected { url: client::shown(url), what: what.to_owned() }.into()
}

/// The address of the next page (RFC 8288).
fn next_page(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(", <"));
    for link in links {
        let (target, parameters) = link.trim_start_matches([' ', '<']).split_once('>')?;
        let is_next = parameters.split(';').map(str::trim).any(|it| matches!(it, "rel=\"next\"" | "rel=next"));
        if is_next {
            return url.join(target).ok();
        }
    }
    None
}

/// The git object id of a file: sha1 of a short header and the bytes.
pub(super) fn git_blob_id(bytes: &[u8]) -> String {
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(format!("blob {}\0", bytes.len()).as_bytes());
    sha1.update(bytes);
    sha1.digest().to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn git_names_are_gits() {
        assert_eq!(git_blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(git_blob_id(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn commits_are_forty_digits() {
        assert!(Commit::parse("ce013625030ba8dba906f756967f9e9ca394464a").is_some());
        assert!(Commit::parse("ce01362").is_none() && Commit::parse(&"G".repeat(40)).is_none());
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let url = Url::parse("http://hub/api/models/a/b/tree/main?recursive=true").unwrap();
        let next = |value: &'static str| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(value))]);
            next_page(&url, &headers).map(|url| url.to_string())
        };
        assert_eq!(next("<http://hub/x?cursor=a%2Cb>; rel=\"next\"").unwrap(), "http://hub/x?cursor=a%2Cb");
        assert_eq!(next("</y>; rel=\"prev\", </z>; rel=\"next\"").unwrap(), "http://hub/z");
        assert_eq!(next("</y>; rel=\"prev\""), None);
    }
}
