//! Which file of the store lies where. Only paths: nothing here touches the disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::base::{Blake3, Digest, PackageName};

const ORIGIN_SUFFIX: &str = "~origin";

/// The paths below one home folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    home: Arc<Path>,
}

impl Layout {
    pub(super) fn new(home: PathBuf) -> Self {
        Self { home: home.into() }
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.home.join("blobs/sha256")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_string();
        let mut path = self.blobs();
        path.push(&hex[..2]);
        path.push(hex);
        path
    }

    pub(super) fn blobs_lock(&self) -> PathBuf {
        self.home.join("blobs.lock")
    }

    pub(super) fn releases(&self) -> PathBuf {
        self.home.join("releases")
    }

    pub(super) fn release_lock(&self) -> PathBuf {
        self.home.join("releases/.lock")
    }

    pub(super) fn package(&self, package: &PackageName) -> PathBuf {
        self.releases().join(package.as_str())
    }

    pub(super) fn manifest(&self, package: &PackageName, version: &semver::Version) -> PathBuf {
        self.package(package).join(format!("{version}.json"))
    }

    pub(super) fn origin(&self, package: &PackageName, version: &semver::Version) -> PathBuf {
        self.package(package).join(format!("{version}{ORIGIN_SUFFIX}.json"))
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.home.join("partial")
    }

    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(format!("{digest}.part"))
    }

    pub(super) fn journal(&self, digest: &Digest) -> PathBuf {
        self.partials().join(format!("{digest}.ranges"))
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.home.join("tmp")
    }

    pub(super) fn placements(&self) -> PathBuf {
        self.home.join("placements")
    }

    pub(super) fn placement(&self, folder: &str) -> PathBuf {
        let key = Blake3::of(folder.as_bytes()).to_string();
        self.placements().join(format!("{}.json", &key[..16]))
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.home.join("pins.json")
    }

    pub(super) fn pins_lock(&self) -> PathBuf {
        self.home.join("pins.lock")
    }

    pub(super) fn uses(&self) -> PathBuf {
        self.home.join("uses.json")
    }

    pub(super) fn uses_lock(&self) -> PathBuf {
        self.home.join("uses.lock")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.home.join("index.sqlite")
    }

    pub(super) fn index_lock(&self) -> PathBuf {
        self.home.join("index.lock")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.home.join("lock")
    }
}

/// The version whose manifest has this file name.
pub(super) fn manifest_version(name: &str) -> Option<semver::Version> {
    canonical_version(name.strip_suffix(".json")?)
}

/// The version whose origin has this file name.
pub(super) fn origin_version(name: &str) -> Option<semver::Version> {
    canonical_version(name.strip_suffix(".json")?.strip_suffix(ORIGIN_SUFFIX)?)
}

fn canonical_version(text: &str) -> Option<semver::Version> {
    semver::Version::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_manifests_and_origins_never_collide() {
        let layout = Layout::new("/home".into());
        let package: PackageName = "p".parse().unwrap();
        for text in ["1.0.0", "1.0.0-a.origin", "1.0.0-x.json", "1.0.0-origin", "2.1.0+build.json"] {
            let version = semver::Version::parse(text).unwrap();
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            let (manifest, origin) =
                (name(layout.manifest(&package, &version)), name(layout.origin(&package, &version)));
            assert_eq!((manifest_version(&manifest), origin_version(&manifest)), (Some(version.clone()), None));
            assert_eq!((manifest_version(&origin), origin_version(&origin)), (None, Some(version)));
        }
    }
}
