//! A release to publish, and how it looks at remotes that people browse.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{RemoteError, documents};
use crate::{
    base::{Digest, RelativePath},
    manifest::release::{Release, SCHEMA},
};

/// Finds the files with the blobs of a release on this machine.
pub trait BlobFiles: fmt::Debug + Send + Sync {
    /// The file with a blob's bytes.
    fn path(&self, blob: &Digest) -> PathBuf;
}

/// A folder whose files are named by their sha256, for tests and tools.
impl BlobFiles for PathBuf {
    fn path(&self, blob: &Digest) -> PathBuf {
        Path::new(self).join(blob.to_string())
    }
}

/// Renders the page that people see in a repository: its model card.
pub trait Card: fmt::Debug + Send + Sync {
    /// The whole page for `repository`, given the existing one. What its authors wrote is kept.
    fn render(&self, repository: &str, existing: Option<&str>) -> String;
}

/// What a kind of remote uses of a [`Publication`], apart from the release and its blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublicationParts {
    /// The message: the remote keeps a history.
    pub message: bool,
    /// Whether a new repository is public.
    pub visibility: bool,
    /// The paths of files and the documents beside them: people browse the remote.
    pub layout: bool,
    /// The model card.
    pub card: bool,
}

impl PublicationParts {
    /// The release and its blobs alone.
    pub const NONE: Self = Self { message: false, visibility: false, layout: false, card: false };
    /// Everything.
    pub const ALL: Self = Self { message: true, visibility: true, layout: true, card: true };
}

/// A release to publish. A remote takes from it what its [`PublicationParts`] say.
#[derive(Debug)]
pub struct Publication {
    release: Release,
    manifest: Vec<u8>,
    blobs: Arc<dyn BlobFiles>,
    /// Message of the last commit. `None`: `Publish <package> <version>`.
    pub message: Option<String>,
    /// Whether a repository that has to be created is public.
    pub public: bool,
    /// Blobs by the path of the file that has their bytes.
    pub places: BTreeMap<RelativePath, Digest>,
    /// Small files beside them, by path.
    pub documents: BTreeMap<RelativePath, Vec<u8>>,
    /// The model card. `None`: the page stays as it is.
    pub card: Option<Arc<dyn Card>>,
}

impl Publication {
    /// The release with the canonical manifest `manifest`, in the default layout and without a card.
    ///
    /// # Errors
    /// [`RemoteError::InvalidRelease`].
    pub fn new(manifest: Vec<u8>, blobs: Arc<dyn BlobFiles>) -> Result<Self, RemoteError> {
        let release: Release =
            documents::parse(&manifest, SCHEMA).map_err(|source| RemoteError::InvalidRelease { source })?;
        let places = default_places(&release);
        Ok(Self {
            release,
            manifest,
            blobs,
            message: None,
            public: false,
            places,
            documents: BTreeMap::new(),
            card: None,
        })
    }

    /// The release.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The canonical bytes of the release manifest.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// The sha256 of the release manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The files with the blobs.
    pub fn blobs(&self) -> &Arc<dyn BlobFiles> {
        &self.blobs
    }
}

/// The default layout: every file of every variant in `<package>/<variant><extension>/`.
pub fn default_places(release: &Release) -> BTreeMap<RelativePath, Digest> {
    let mut places = BTreeMap::new();
    for variant in &release.variants {
        let folder = format!("{}/{}", release.package, variant.kind.file_name(&variant.id));
        for file in &variant.files {
            // The ids of a release that was parsed are file names, so that this never fails.
            if let Ok(path) = format!("{folder}/{}", file.path).parse() {
                places.insert(path, file.sha256);
            }
        }
    }
    places
}
