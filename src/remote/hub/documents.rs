//! Side documents in a repository: files beside the release manifest, each put by a commit of its own. Versions are
//! sha256.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{
    HubError,
    draft::{BranchFile, Files},
    layout,
    repository::HubRemote,
};
use crate::{
    base::Digest,
    remote::{Access, DocumentKey, Object, ObjectVersion, RemoteError},
};

fn object(bytes: Vec<u8>) -> Object {
    Object { version: ObjectVersion(Digest::of(&bytes).to_string()), bytes }
}

impl HubRemote {
    /// A side document of the branch; `None` where it is missing or the version is another release.
    pub(super) async fn read_document(&self, key: &DocumentKey) -> Result<Option<Object>, RemoteError> {
        let release = key.release();
        let entry = self.resolved(&release.package, &release.version).await?;
        if entry.is_none_or(|entry| entry.release != release.digest) {
            return Ok(None);
        }
        let commit = match self.access {
            Access::Read => self.snapshot().await?.commit.clone(),
            Access::Publish => self.look().await?.commit,
        };
        match self.document(&commit, &layout::document(key), key.kind().limit()).await {
            Ok(bytes) => Ok(Some(object(bytes))),
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a side document. Begins anew when a rival's commit was faster.
    pub(super) async fn store_document(&self, key: &DocumentKey, bytes: &[u8], replaced: Option<&ObjectVersion>) -> Result<(), RemoteError> {
        key.check_put(&format!("{}: {}", self.url, layout::document(key)), bytes, replaced)?;
        let mut attempts = self.hub.retry().attempts();
        loop {
            match self.commit_document(key, bytes, replaced).await {
                Err(error @ RemoteError::Hub(HubError::Moved { .. })) => attempts.wait_after_conflict(error).await?,
                other => return other,
            }
        }
    }

    async fn commit_document(&self, key: &DocumentKey, bytes: &[u8], replaced: Option<&ObjectVersion>) -> Result<(), RemoteError> {
        let (path, branch) = (layout::document(key), self.branch().await?);
        let existing = self.text(&branch.head, &branch.tree, &path).await?.map(object);
        if existing.as_ref().is_some_and(|existing| existing.bytes == bytes) {
            return Ok(());
        }
        if existing.as_ref().map(|existing| &existing.version) != replaced {
            return Err(RemoteError::DocumentChanged { url: format!("{}: {path}", self.url) });
        }
        let files = Files::from([(path.clone(), BranchFile::Document(Bytes::copy_from_slice(bytes)))]);
        // None of the files is a blob.
        let no_blobs = Arc::new(PathBuf::new());
        let draft = self.with_modes(no_blobs.clone(), branch.head, branch.tree, files, Vec::new(), BTreeSet::new()).await?;
        self.upload_documents(&draft).await?;
        let files: Vec<_> = draft.changes.iter().collect();
        let operations = self.operations(no_blobs, &draft, &files).await?;
        self.hub.commit(self.hub.revision(), &draft.parent, &format!("Add {path}"), &operations).await.map(|_| ())
    }
}
