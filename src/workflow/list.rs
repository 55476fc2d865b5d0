//! `list`: the packages of the store, or of a remote, with their versions.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Context, Error, releases::resolve, show::ShowError};
use crate::{
    base::{Digest, PackageName, Timestamp},
    remote::{Remote, RemoteError, RemoteUrl},
    store::Origin,
};

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// The packages; none: all.
    pub packages: Vec<PackageName>,
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
    /// Bytes of its blobs, each once. Of a remote only where the package was asked for by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When the store got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<Timestamp>,
    /// Where the store has it from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The part of a release manifest that is about sizes.
#[derive(Deserialize)]
struct Sizes {
    blobs: BTreeMap<Digest, Size>,
}

#[derive(Deserialize)]
struct Size {
    size: u64,
}

/// Lists packages and versions.
///
/// # Errors
/// `NoPackage` for a name that is not there; what the store or the remote says.
pub fn list(context: &Context, options: &ListOptions) -> Result<ListReport, Error> {
    let (source, known, packages) = match &options.from {
        None => {
            let known = context.store().packages()?;
            let packages =
                asked(&known, options).map(|package| stored(context, package)).collect::<Result<Vec<_>, _>>()?;
            (context.store().home().display().to_string(), known, packages)
        }
        Some(url) => {
            let remote = context.remote(url)?;
            let (known, packages) =
                context.block_on(at_remote(remote.as_ref(), options, context.remote_options().jobs))??;
            (url.to_string(), known, packages)
        }
    };
    match options.packages.iter().find(|package| !known.contains(package)) {
        Some(package) => Err(ShowError::no_package(package, &source, &known).into()),
        None => Ok(ListReport { source, packages }),
    }
}

fn asked<'a>(known: &'a [PackageName], options: &'a ListOptions) -> impl Iterator<Item = &'a PackageName> {
    known.iter().filter(|package| options.packages.is_empty() || options.packages.contains(package))
}

fn stored(context: &Context, package: &PackageName) -> Result<ListedPackage, Error> {
    let store = context.store();
    let mut versions = Vec::new();
    for version in store.releases(package)?.into_iter().rev() {
        let Some((release, manifest)) = store.release(package, &version)? else { continue };
        let Some(provenance) = store.provenance(package, &version)? else { continue };
        let (bytes, added, origin) = (size(&manifest), provenance.added, Some(provenance.origin));
        versions.push(ListedVersion { version, release, bytes, added, origin });
    }
    Ok(ListedPackage { package: package.clone(), versions })
}

/// `None` where the manifest is of a form that this mlreg does not know.
fn size(manifest: &[u8]) -> Option<u64> {
    let sizes: Sizes = serde_json::from_slice(manifest).ok()?;
    Some(sizes.blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add))
}

/// Every package of the remote, and what was asked for. Release manifests are read for packages that were named.
async fn at_remote(
    remote: &dyn Remote,
    options: &ListOptions,
    jobs: usize,
) -> Result<(Vec<PackageName>, Vec<ListedPackage>), RemoteError> {
    let is_detailed = !options.packages.is_empty();
    let version = |package: PackageName, version: Version| async move {
        let release = resolve(remote, &package, &version).await?.release;
        let bytes = if is_detailed { size(&remote.release(&package, &version, &release).await?) } else { None };
        Ok::<_, RemoteError>(ListedVersion { version, release, bytes, added: None, origin: None })
    };
    let one = |package: PackageName| async move {
        let newest_first = remote.versions(&package).await?.unwrap_or_default().into_iter().rev();
        let versions: Vec<_> = newest_first.map(|number| version(package.clone(), number)).collect();
        let versions = stream::iter(versions).buffered(jobs).try_collect().await?;
        Ok::<_, RemoteError>(ListedPackage { package, versions })
    };
    let known = remote.packages().await?;
    let asked: Vec<PackageName> = asked(&known, options).cloned().collect();
    // In order of names although the answers come in any order.
    let packages = stream::iter(asked).map(one).buffered(jobs).try_collect().await?;
    Ok((known, packages))
}
