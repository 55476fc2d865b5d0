//! Repositories that mlreg did not publish: their bundles, and releases of some of them. The listing has the sha256 of
//! large files; small ones are read and checked against git's sha1.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    download::{FileHash, FileInCommit},
    layout,
    repository::{HubRemote, Places, Snapshot, locked},
};
use crate::{
    base::Digest,
    remote::{Collection, IndexEntry, PackageIndex, RELEASE_LIMIT, RemoteError},
};

/// How many small files are read at once.
const READERS: usize = 8;

impl HubRemote {
    /// The bundles of the repository, if mlreg published nothing into it.
    pub(super) async fn collected(&self) -> Result<Option<Arc<Collection>>, RemoteError> {
        let look = || async {
            let Snapshot { commit, .. } = self.snapshot().await?;
            if !self.hub.folders(commit, layout::FOLDER).await?.is_empty() {
                return Ok(None);
            }
            let files = self.hub.files(commit, "").await?.into_iter().map(|(path, entry)| (path, entry.collected())).collect();
            let name = self.hub.repository().rsplit('/').next().unwrap_or_default();
            let collection = Collection::new(name, commit.as_str(), &files);
            Ok(Some(Arc::new(collection)).filter(|collection| !collection.bundles.is_empty()))
        };
        self.collection.get_or_try_init(look).await.cloned()
    }

    /// Like [`collected`](Self::collected), but `None` without a request once an index was read.
    pub(super) async fn known_collection(&self) -> Result<Option<Arc<Collection>>, RemoteError> {
        if self.has_no_index() { self.collected().await } else { Ok(None) }
    }

    /// The index with the one version that is the current commit.
    pub(super) fn collected_index(collection: &Collection) -> PackageIndex {
        let mut index = PackageIndex::empty(collection.package.clone());
        index.versions.insert(collection.version.clone(), IndexEntry { release: collection.digest(), size: 0 });
        index
    }

    /// The manifest of the release of some bundles. Their small files are read and hashed.
    pub(super) async fn collected_release(&self, ids: &BTreeSet<String>) -> Result<Vec<u8>, RemoteError> {
        let none = || RemoteError::NotARegistry { url: self.url.to_string() };
        let collection = self.collected().await?.ok_or_else(none)?;
        let Snapshot { commit, .. } = self.snapshot().await?;
        let chosen = || collection.bundles.iter().filter(|(id, _)| ids.contains(*id)).map(|(_, bundle)| bundle);
        let mut small: BTreeMap<&str, String> = BTreeMap::new();
        for bundle in chosen() {
            for (path, file) in bundle.files.iter().filter(|(_, file)| file.sha256.is_none()) {
                small.insert(&file.id, format!("{}/{path}", bundle.path));
            }
        }
        let read = |(id, path): (&str, String)| {
            let (id, place) = (id.to_owned(), FileInCommit { commit: commit.clone(), path });
            async move {
                let bytes = self.files.known_document(&self.hub, &place, &FileHash::Git(id.clone()), RELEASE_LIMIT).await?;
                Ok::<_, RemoteError>((id, Digest::of(&bytes)))
            }
        };
        let digests: BTreeMap<String, Digest> = stream::iter(small).map(read).buffer_unordered(READERS).try_collect().await?;
        let mut paths = BTreeMap::new();
        for bundle in chosen() {
            for (path, file) in &bundle.files {
                let digest = file.sha256.or_else(|| digests.get(&file.id).copied());
                paths.extend(digest.zip(format!("{}/{path}", bundle.path).parse().ok()));
            }
        }
        let mut places = locked(&self.places);
        let key = Places::key(&collection.package, &collection.version, None);
        let known = places.get(&key).map_or_else(BTreeMap::new, |known| known.paths.clone());
        paths.extend(known);
        places.insert(key, Arc::new(Places { commit: commit.clone(), paths }));
        Ok(collection.release(ids, &digests))
    }
}
