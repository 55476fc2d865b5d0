//! Writing to a repository: creating it, asking how files are stored, committing, tagging.
//!
//! A commit names its parent, so that it fails (412) after a rival's commit. Small files travel in the commit itself,
//! in base64; large ones were uploaded before and are named by their sha256.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    HubError,
    client::{Call, Hub},
    tree::{Commit, Mode},
};
use crate::{
    base::Digest,
    remote::{RemoteError, http::client},
};

/// Files in one request for upload modes.
const PREUPLOAD_FILES: usize = 256;
/// Bytes at the beginning of a file by which the Hub chooses how to store it.
pub(super) const SAMPLE: usize = 512;

/// A file whose upload mode is asked for.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) path: String,
    pub(super) size: u64,
    /// Its first [`SAMPLE`] bytes.
    pub(super) sample: Vec<u8>,
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// Adds or replaces a small file.
    File { path: String, content: Bytes },
    /// Adds or replaces a large file, whose object was uploaded.
    Lfs { path: String, oid: Digest, size: u64 },
    /// Deletes a file.
    Delete { path: String },
    /// Deletes a folder with everything in it.
    DeleteFolder { path: String },
}

#[derive(Deserialize)]
struct Preupload {
    files: Vec<Preuploaded>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preuploaded {
    path: String,
    upload_mode: Mode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    commit_oid: String,
}

impl Operation {
    fn line(&self) -> Value {
        match self {
            Self::File { path, content } => {
                json!({ "key": "file", "value": { "path": path, "content": STANDARD.encode(content), "encoding": "base64" } })
            }
            Self::Lfs { path, oid, size } => {
                json!({ "key": "lfsFile", "value": { "path": path, "algo": "sha256", "oid": oid, "size": size } })
            }
            Self::Delete { path } => json!({ "key": "deletedFile", "value": { "path": path } }),
            Self::DeleteFolder { path } => json!({ "key": "deletedFolder", "value": { "path": path } }),
        }
    }
}

impl Hub {
    /// Creates the repository unless it exists.
    pub(super) async fn create(&self, public: bool) -> Result<(), RemoteError> {
        let (organization, name) = self.repository().split_once('/').unwrap_or(("", self.repository()));
        let body = json!({ "name": name, "organization": organization, "private": !public });
        match self.ask(&Call::json(self.api("repos/create"), &body)).await {
            Ok(response) => self.accepted(&self.api("repos/create"), response).await,
            Err(RemoteError::Hub(HubError::Exists { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How the Hub stores each file. Empty files always travel in the commit.
    pub(super) async fn modes(&self, branch: &str, candidates: &[Candidate]) -> Result<BTreeMap<String, Mode>, RemoteError> {
        let mut modes: BTreeMap<String, Mode> = BTreeMap::new();
        let url = self.api_at("preupload", branch);
        for group in candidates.chunks(PREUPLOAD_FILES) {
            let file = |it: &Candidate| json!({ "path": it.path, "size": it.size, "sample": STANDARD.encode(&it.sample) });
            let body = json!({ "files": group.iter().map(file).collect::<Vec<_>>() });
            let Preupload { files } = self.json(&Call::json(url.clone(), &body)).await?;
            modes.extend(files.into_iter().map(|file| (file.path, file.upload_mode)));
        }
        for candidate in candidates {
            if candidate.size == 0 {
                modes.insert(candidate.path.clone(), Mode::Regular);
            } else if !modes.contains_key(&candidate.path) {
                let what = format!("no upload mode for `{}`", candidate.path);
                return Err(HubError::Unexpected { url: client::shown(&url), what }.into());
            }
        }
        Ok(modes)
    }

    /// Commits to a branch whose head is `parent`.
    ///
    /// # Errors
    /// [`HubError::Moved`] where a rival's commit has become the head.
    pub(super) async fn commit(
        &self,
        branch: &str,
        parent: &Commit,
        summary: &str,
        operations: &[Operation],
    ) -> Result<Commit, RemoteError> {
        let header = json!({ "key": "header", "value": { "summary": summary, "description": "", "parentCommit": parent.as_str() } });
        let mut body = String::new();
        for line in std::iter::once(header).chain(operations.iter().map(Operation::line)) {
            body.push_str(&line.to_string());
            body.push('\n');
        }
        let url = self.api_at("commit", branch);
        let call = Call::post(url.clone(), "application/x-ndjson", body);
        let Committed { commit_oid } = self.json(&call).await?;
        let what = || HubError::Unexpected { url: client::shown(&url), what: "its `commitOid` is no commit".to_owned() };
        Ok(Commit::parse(&commit_oid).ok_or_else(what)?)
    }

    /// Tags a commit.
    ///
    /// # Errors
    /// [`HubError::Exists`] where the tag exists.
    pub(super) async fn tag(&self, tag: &str, commit: &Commit, message: &str) -> Result<(), RemoteError> {
        let body = json!({ "tag": tag, "message": message });
        let url = self.api_at("tag", commit.as_str());
        let response = self.ask(&Call::json(url.clone(), &body)).await?;
        self.accepted(&url, response).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_lines_of_the_protocol() {
        let file = Operation::File { path: "a".to_owned(), content: Bytes::from_static(b"hi") };
        assert_eq!(file.line().to_string(), r#"{"key":"file","value":{"content":"aGk=","encoding":"base64","path":"a"}}"#);
        let gone = Operation::DeleteFolder { path: "b".to_owned() };
        assert_eq!(gone.line().to_string(), r#"{"key":"deletedFolder","value":{"path":"b"}}"#);
    }
}
