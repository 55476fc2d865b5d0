//! What can go wrong with an app's manifest and lock.

use std::{io, path::PathBuf};

use semver::Version;

use crate::{
    app::{LOCK_NAME, MANIFEST_NAME},
    base::{Digest, PackageName},
    manifest::{ManifestError, nearest},
    workflow::Error,
};

/// Why a verb over an app failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum AppError {
    /// No manifest.
    #[error("there is no `{MANIFEST_NAME}` in `{}` or above it", directory.display())]
    NoProject { directory: PathBuf },
    /// A mistake in the manifest or the lock.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A package of the manifest that cannot be had as it stands there.
    #[error("{}:{line}:{column}: {source}", file.display())]
    Package {
        file: PathBuf,
        /// Line of the package, from 1.
        line: usize,
        /// Column of the package, from 1.
        column: usize,
        #[source]
        source: Box<Error>,
    },
    /// A new package without a source.
    #[error("`{MANIFEST_NAME}` does not say where `{package}` comes from")]
    NoSource { package: PackageName },
    /// A frozen lock that does not fit the manifest.
    #[error("`{}` is out of date: {why}", lock.display())]
    Stale {
        lock: PathBuf,
        why: Staleness,
        /// Whether a build phase of Xcode froze it.
        xcode: bool,
    },
    /// A package that the manifest does not have.
    #[error("`{}` has no package `{package}`", manifest.display())]
    NotListed { manifest: PathBuf, package: PackageName, known: Vec<String> },
    /// A published version with other content than before.
    #[error(
        "`{source_name}` has `{package}@{version}` with other content than the lock pins: sha256:{found}, expected \
         sha256:{pinned}"
    )]
    Rewritten { package: PackageName, version: Box<Version>, source_name: String, pinned: Digest, found: Digest },
    /// Files that depend on the deployment target.
    #[error("which files `{package}` has depends on the deployment target")]
    Floors { package: PackageName },
    /// Flags that leave nothing.
    #[error("no package of `{}` has a variant that the flags select", manifest.display())]
    NothingSelected { manifest: PathBuf },
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// How a lock does not fit its manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Staleness {
    /// The file is not there.
    #[error("it does not exist")]
    Missing,
    /// A package that it does not have.
    #[error("`{MANIFEST_NAME}` has `{0}`, which it lacks")]
    Lacks(PackageName),
    /// A package that the manifest does not have.
    #[error("it has `{0}`, which `{MANIFEST_NAME}` lacks")]
    Extra(PackageName),
    /// A version that will not do any more.
    #[error("it has `{package}@{version}`, but `{MANIFEST_NAME}` asks for `{requirement}`")]
    Version { package: PackageName, version: Box<Version>, requirement: String },
    /// A source that is not listed any more.
    #[error("it has `{package}` from `{source_name}`, which `{MANIFEST_NAME}` does not list")]
    Source { package: PackageName, source_name: String },
    /// Other variants than the manifest selects.
    #[error("`{MANIFEST_NAME}` selects other variants of `{0}`")]
    Variants(PackageName),
}

impl AppError {
    /// Wraps an IO error with what was tried, for `map_err`.
    pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Next steps, where there are some.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoProject { .. } => Some(format!(
                "`mlreg add PACKAGE --from URL` makes one; or name a package: `mlreg fetch PACKAGE --from URL`, with \
                 `{MANIFEST_NAME}` or without"
            )),
            Self::Manifest(error) => error.hint(),
            Self::NoSource { package } => Some(format!(
                "say it: `mlreg add {package} --from URL`, where URL is a registry's folder, https:// or \
                 hf://ORG/REPO; or write `from` under \
                 `[defaults]` of `{MANIFEST_NAME}`"
            )),
            Self::Package { source, .. } => return source.hints(),
            Self::Stale { xcode: false, .. } => {
                Some(format!("run `mlreg fetch` without `--locked` and commit `{LOCK_NAME}`"))
            }
            Self::Stale { xcode: true, .. } => {
                Some(format!("run `mlreg fetch` in a terminal and commit `{LOCK_NAME}`: a build phase never writes it"))
            }
            Self::NotListed { package, known, .. } => {
                let near = nearest(package.as_str(), known.iter().map(String::as_str), 1);
                near.first().map(|near| format!("did you mean `{near}`?"))
            }
            Self::Rewritten { .. } => Some(
                "published versions never change: ask who keeps the source; the pinned bytes may be on a mirror"
                    .to_owned(),
            ),
            Self::Floors { .. } => {
                Some(format!("say the lowest OS: `target = \"iOS17\"` in `{MANIFEST_NAME}`, or `--target iOS17`"))
            }
            Self::NothingSelected { .. } | Self::Io { .. } => None,
        };
        hint.into_iter().collect()
    }
}
