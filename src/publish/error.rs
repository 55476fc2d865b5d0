//! What can go wrong while publishing. Errors of the store and of remotes pass through unchanged.

use super::QualityError;
use crate::{
    base::{Digest, PackageName},
    manifest::{Breaking, ReleaseError, Requirement},
    remote::RemoteError,
    store::StoreError,
};

/// Why a release was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The remote.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Numbers for the model card.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// An option of which the remote makes no use.
    #[error("`{option}` is for {purpose}, and `{url}` has none: expected a repository of the Hub")]
    UnusedOption {
        /// The option.
        option: &'static str,
        /// What it changes.
        purpose: &'static str,
        /// The remote.
        url: String,
    },
    /// A package that was never built or fetched.
    #[error("the store has no release of `{package}` that matches `{requirement}`")]
    NoRelease {
        /// The package.
        package: PackageName,
        /// Which versions would do.
        requirement: Requirement,
        /// The package that may be meant.
        nearest: Option<String>,
    },
    /// Several builds of the version that was named.
    #[error("the store has {} builds of `{package}@{requirement}`: {}", versions.len(), listed_versions(versions))]
    SeveralBuilds {
        /// The package.
        package: PackageName,
        /// What was asked for.
        requirement: Requirement,
        /// The builds.
        versions: Vec<semver::Version>,
    },
    /// A manifest in the store that is no release.
    #[error("the release `{release}` cannot be used")]
    Release {
        /// Package and version.
        release: String,
        /// What is wrong with it.
        #[source]
        source: ReleaseError,
    },
    /// A release that breaks apps without saying so in its version.
    #[error("`{release}` breaks apps that use {previous}:{}", listed(changes))]
    Breaking {
        /// Package and version.
        release: String,
        /// The version that the remote has.
        previous: semver::Version,
        /// What is different.
        changes: Vec<Breaking>,
        /// The lowest version that may do so.
        needs: semver::Version,
    },
    /// The release before this one, whose manifest cannot be read.
    #[error("the release `{release}` at the remote cannot be used")]
    Previous {
        /// Package and version.
        release: String,
        /// What is wrong with it.
        #[source]
        source: ReleaseError,
    },
    /// Blobs that the remote lacks and the store does not have either.
    #[error("`{release}` has {} neither in the store nor at the remote, e.g. sha256:{first}", counted(*count, "blob"))]
    Missing {
        /// Package and version.
        release: String,
        /// One of them.
        first: Digest,
        /// How many.
        count: usize,
    },
    /// A blob in the store whose bytes are not those of its name. It has been removed from the store.
    #[error("`{release}` has a damaged blob in the store: sha256:{blob}; the release was not published")]
    Damaged {
        /// Package and version.
        release: String,
        /// The blob.
        blob: Digest,
    },
}

fn listed_versions(versions: &[semver::Version]) -> String {
    versions.iter().map(semver::Version::to_string).collect::<Vec<_>>().join(", ")
}

fn listed(changes: &[Breaking]) -> String {
    const LISTED: usize = 20;
    let mut text: String = changes.iter().take(LISTED).map(|change| format!("\n- {change}")).collect();
    if changes.len() > LISTED {
        text += &format!("\n- {} more", changes.len() - LISTED);
    }
    text
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

impl PublishError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Remote(error) => error.hint(),
            Self::Quality(error) => error.hint(),
            Self::UnusedOption { option, .. } => {
                Some(format!("publish to a repository with `--hf ORG/REPO`, or without `{option}`"))
            }
            Self::Release { source, .. } => source.hint(),
            Self::NoRelease { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NoRelease { .. } => Some("`mlreg build` makes one; `mlreg list` shows what is there".to_owned()),
            Self::SeveralBuilds { package, versions, .. } => {
                Some(format!("name the build: `{package}@{}`", versions.first()?))
            }
            Self::Breaking { needs, .. } => {
                Some(format!("raise the version to {needs}, or publish it nevertheless with `--allow-breaking`"))
            }
            Self::Previous { source, .. } => source.hint(),
            Self::Missing { .. } | Self::Damaged { .. } => Some("build or fetch the release again".to_owned()),
        }
    }
}
