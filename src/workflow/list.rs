//! `list`: the packages of the store, or of a remote, with their versions.

use futures_util::{StreamExt, TryStreamExt, stream};
use semver::Version;
use serde::Serialize;

use super::{Context, Error};
use crate::{
    base::{Digest, PackageName, RemoteUrl},
    remote::{Remote, RemoteError},
};

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// The remote; none is the store.
    pub from: Option<RemoteUrl>,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListReport {
    /// The remote's address, or the store's folder.
    pub source: String,
    /// Packages, sorted by name.
    pub packages: Vec<ListedPackage>,
}

/// A package and its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedPackage {
    /// Its name.
    pub package: PackageName,
    /// Its versions, highest first.
    pub versions: Vec<ListedVersion>,
}

/// A version of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedVersion {
    /// The version.
    pub version: Version,
    /// The sha256 of its release manifest.
    pub release: Digest,
}

/// Lists packages and versions.
///
/// # Errors
/// What the store or the remote says.
pub fn list(context: &Context, options: &ListOptions) -> Result<ListReport, Error> {
    match &options.from {
        None => list_store(context),
        Some(url) => {
            let remote = context.remote(url)?;
            let packages = context.block_on(list_remote(remote.as_ref(), context.remote_options().jobs))??;
            Ok(ListReport { source: url.to_string(), packages })
        }
    }
}

fn list_store(context: &Context) -> Result<ListReport, Error> {
    let store = context.store();
    let mut packages = Vec::new();
    for package in store.packages()? {
        let mut versions = Vec::new();
        for version in store.releases(&package)?.into_iter().rev() {
            if let Some((release, _)) = store.release(&package, &version)? {
                versions.push(ListedVersion { version, release });
            }
        }
        packages.push(ListedPackage { package, versions });
    }
    Ok(ListReport { source: store.home().display().to_string(), packages })
}

async fn list_remote(remote: &dyn Remote, jobs: usize) -> Result<Vec<ListedPackage>, RemoteError> {
    let one = |package: PackageName| async move {
        let index = remote.index(&package).await?;
        let entries = index.into_iter().flat_map(|index| index.versions.into_iter().rev());
        let versions = entries.map(|(version, entry)| ListedVersion { version, release: entry.release }).collect();
        Ok(ListedPackage { package, versions })
    };
    // In order of names although the answers come in any order.
    stream::iter(remote.packages().await?).map(one).buffered(jobs).try_collect().await
}
