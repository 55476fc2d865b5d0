//! `show`: one release of a package, from the store or a remote: its variants with what they are for and what they
//! weigh.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::Serialize;

use super::{Context, Error, ErrorKind, PackageRequest, releases::resolve};
use crate::{
    base::{Digest, PackageName, Tag, Target},
    contract::Interface,
    fetch::FetchError,
    manifest::{
        Axis, ReleaseError, nearest,
        release::{BundleKind, Compiled, Delivery, Release, Source, Variant},
    },
    remote::RemoteUrl,
};

/// What to show.
#[derive(Debug, Clone)]
pub struct ShowOptions {
    /// The package; the highest version that will do.
    pub request: PackageRequest,
    /// The remote; none is the store.
    pub from: Option<RemoteUrl>,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShowReport {
    /// Where it was found: the remote's address, or the store's folder.
    pub source: String,
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The sha256 of its manifest.
    pub release: Digest,
    /// One sentence about the package.
    pub description: Option<String>,
    /// SPDX expression of the weights' licence.
    pub license: Option<String>,
    /// What each component was made from.
    pub sources: BTreeMap<String, Source>,
    /// Its variants, by id.
    pub variants: Vec<ShownVariant>,
    /// Bytes of all variants, each counted alone.
    pub bytes: u64,
    /// Bytes of all blobs, each counted once: what a complete fetch costs.
    pub stored_bytes: u64,
    /// Number of blobs.
    pub blobs: u64,
}

/// A variant of a release.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownVariant {
    /// Its id.
    pub id: String,
    /// The component it belongs to.
    pub component: String,
    /// Lowest OS that may load it.
    pub target: Option<Target>,
    /// What kind of bundle it is.
    pub kind: BundleKind,
    /// The values of its axes.
    pub axes: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// When it is wanted.
    pub delivery: Delivery,
    /// How it was compiled, where mlreg did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled: Option<Compiled>,
    /// Inputs, outputs and states.
    pub interface: Option<Interface>,
    /// Number of files.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of its blobs that other variants of the release have, too.
    pub shared_bytes: u64,
    /// Bytes of its blobs that it has alone: what it costs beside all others.
    pub unique_bytes: u64,
}

/// Why a release cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// No such package.
    #[error("`{source_name}` has no package `{package}`")]
    NoPackage {
        /// The package.
        package: PackageName,
        /// Where it was looked for.
        source_name: String,
        /// The package that may be meant.
        nearest: Option<String>,
    },
    /// None of its versions will do.
    #[error("no version of `{}` in `{source_name}` matches `{}`: there is {}", request.package, request.requirement, join(versions))]
    NoVersion {
        /// What was asked for.
        request: PackageRequest,
        /// Where it was looked for.
        source_name: String,
        /// The versions that there are.
        versions: Vec<Version>,
    },
    /// A manifest that cannot be read.
    #[error("the release manifest of `{package}@{version}` cannot be read")]
    Manifest {
        /// The package.
        package: PackageName,
        /// The version.
        version: Box<Version>,
        /// What is wrong with it.
        #[source]
        source: ReleaseError,
    },
}

fn join(versions: &[Version]) -> String {
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}

impl ShowError {
    /// A package that is not among the `known` ones.
    pub(super) fn no_package(package: &PackageName, source: &str, known: &[PackageName]) -> Self {
        let nearest =
            nearest(package.as_str(), known.iter().map(PackageName::as_str), 1).first().map(|&name| name.to_owned());
        Self::NoPackage { package: package.clone(), source_name: source.to_owned(), nearest }
    }

    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPackage { .. } | Self::NoVersion { .. } => ErrorKind::Input,
            Self::Manifest { .. } => ErrorKind::Verification,
        }
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPackage { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NoPackage { .. } => Some(
                "`mlreg list` shows the packages of the store, `mlreg list --from URL` those of a remote".to_owned(),
            ),
            Self::NoVersion { request, versions, .. } => {
                let version = versions.iter().max().filter(|version| !version.pre.is_empty())?;
                Some(format!("pre-releases are taken where they are asked for: `{}@{version}`", request.package))
            }
            Self::Manifest { source, .. } => source.hint(),
        }
    }
}

/// Shows a release.
///
/// # Errors
/// When there is no such release, and what the store or the remote says.
pub fn show(context: &Context, options: &ShowOptions) -> Result<ShowReport, Error> {
    let found = match &options.from {
        None => find_in_store(context, &options.request)?,
        Some(url) => context.block_on(find_at_remote(context, url, &options.request))??,
    };
    let (package, version) = (options.request.package.clone(), found.version.clone());
    let release = Release::parse(&found.bytes).map_err(|source| ShowError::Manifest {
        package,
        version: Box::new(version),
        source,
    })?;
    let (expected, named) =
        (format!("{}@{}", options.request.package, found.version), format!("{}@{}", release.package, release.version));
    if named != expected {
        return Err(FetchError::WrongRelease { origin: found.source, expected, found: named }.into());
    }
    Ok(report(found, release))
}

/// A release manifest and where it was found.
struct FoundManifest {
    source: String,
    version: Version,
    digest: Digest,
    bytes: Vec<u8>,
}

fn find_in_store(context: &Context, request: &PackageRequest) -> Result<FoundManifest, Error> {
    let store = context.store();
    let source = store.home().display().to_string();
    let no_package = || Ok::<_, Error>(ShowError::no_package(&request.package, &source, &store.packages()?));
    let versions = store.releases(&request.package)?;
    if versions.is_empty() {
        return Err(no_package()?.into());
    }
    let version = choose(request, &source, &versions)?;
    // A release may have gone since its folder was listed.
    let Some((digest, bytes)) = store.release(&request.package, &version)? else { return Err(no_package()?.into()) };
    Ok(FoundManifest { source, version, digest, bytes })
}

async fn find_at_remote(context: &Context, url: &RemoteUrl, request: &PackageRequest) -> Result<FoundManifest, Error> {
    let remote = context.remote(url)?;
    let source = url.to_string();
    let versions: Vec<Version> = remote.versions(&request.package).await?.unwrap_or_default().into_iter().collect();
    if versions.is_empty() {
        // Names are a help; that the remote cannot list them is no reason to hide what is wrong.
        let known = remote.packages().await.unwrap_or_default();
        return Err(ShowError::no_package(&request.package, &source, &known).into());
    }
    let version = choose(request, &source, &versions)?;
    let digest = resolve(remote.as_ref(), &request.package, &version).await?.release;
    let bytes = remote.release(&request.package, &version, &digest).await?;
    Ok(FoundManifest { source, version, digest, bytes })
}

fn choose(request: &PackageRequest, source: &str, versions: &[Version]) -> Result<Version, ShowError> {
    let none = || ShowError::NoVersion {
        request: request.clone(),
        source_name: source.to_owned(),
        versions: versions.to_vec(),
    };
    request.highest(versions).cloned().ok_or_else(none)
}

fn report(found: FoundManifest, release: Release) -> ShowReport {
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    for variant in &release.variants {
        for digest in blobs_of(variant).keys() {
            *users.entry(*digest).or_default() += 1;
        }
    }
    let variants: Vec<_> = release.variants.into_iter().map(|variant| shown(variant, &users)).collect();
    ShowReport {
        source: found.source,
        package: release.package,
        version: found.version,
        release: found.digest,
        description: release.description,
        license: release.license,
        sources: release.sources,
        bytes: variants.iter().map(|variant| variant.bytes).fold(0, u64::saturating_add),
        variants,
        stored_bytes: release.blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add),
        blobs: release.blobs.len() as u64,
    }
}

/// The blobs of a variant with their sizes, each once.
fn blobs_of(variant: &Variant) -> BTreeMap<Digest, u64> {
    variant.files.iter().map(|file| (file.sha256, file.size)).collect()
}

fn shown(variant: Variant, users: &BTreeMap<Digest, usize>) -> ShownVariant {
    let blobs = blobs_of(&variant);
    let sum = |shared: bool| {
        let sizes = blobs.iter().filter(|(digest, _)| (users[digest] > 1) == shared).map(|(_, size)| *size);
        sizes.fold(0, u64::saturating_add)
    };
    ShownVariant {
        shared_bytes: sum(true),
        unique_bytes: sum(false),
        files: variant.files.len() as u64,
        bytes: variant.files.iter().map(|file| file.size).fold(0, u64::saturating_add),
        id: variant.id,
        component: variant.component,
        target: variant.target,
        kind: variant.kind,
        axes: shown_axes(variant.axes, variant.interface.as_ref()),
        tags: variant.tags,
        delivery: variant.delivery,
        compiled: variant.compiled,
        interface: variant.interface,
    }
}

/// The axes that mean something. Releases have the length of the encoder's side for every text model, also for one that
/// takes nothing from an encoder.
fn shown_axes(mut axes: BTreeMap<String, String>, interface: Option<&Interface>) -> BTreeMap<String, String> {
    let is_alone = interface.is_some_and(|interface| !interface.attends_to_encoder());
    if is_alone && axes.contains_key(Axis::Context.label()) {
        axes.remove(Axis::EncoderSequence.label());
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Origin;

    fn manifest(version: &str) -> Vec<u8> {
        let digest = |name: &str| Digest::of(name.as_bytes());
        let file = |path: &str, blob: &str, size: u64| serde_json::json!({ "path": path, "sha256": digest(blob), "size": size });
        let variant = |id: &str, files: &[serde_json::Value]| serde_json::json!({ "id": id, "name": id, "component": "decoder", "kind": "mlpackage", "delivery": "on-demand", "files": files });
        let variants = [
            variant("a", &[file("model", "model a", 10), file("weights", "weights", 100)]),
            variant(
                "b",
                &[file("copy", "weights", 100), file("model", "model b", 20), file("weights", "weights", 100)],
            ),
        ];
        let blob = |name: &str, size: u64| {
            (digest(name).to_string(), serde_json::json!({ "size": size, "blake3": digest("") }))
        };
        let blobs: serde_json::Map<_, _> =
            [blob("model a", 10), blob("model b", 20), blob("weights", 100)].into_iter().collect();
        let release = serde_json::json!({
            "schema": "mlreg/release/1", "package": "tae", "version": version, "variants": variants, "blobs": blobs,
        });
        serde_json::to_vec(&release).unwrap()
    }

    fn context(folder: &std::path::Path) -> Context {
        let context = Context::new(&folder.join("home"), folder.to_owned()).unwrap();
        for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
            context.store().put_release(&manifest(version), Origin::Built { published_to: BTreeSet::new() }).unwrap();
        }
        context
    }

    fn show_in(context: &Context, request: &str) -> Result<ShowReport, Error> {
        show(context, &ShowOptions { request: request.parse().unwrap(), from: None })
    }

    #[test]
    fn shared_bytes_are_told_from_a_variants_own() {
        let folder = tempfile::tempdir().unwrap();
        let report = show_in(&context(folder.path()), "tae").unwrap();
        assert_eq!(report.version.to_string(), "1.1.0");
        assert_eq!(report.release, Digest::of(&manifest("1.1.0")));
        assert_eq!((report.bytes, report.stored_bytes, report.blobs), (330, 130, 3));
        let sizes: Vec<_> =
            report.variants.iter().map(|v| (v.files, v.bytes, v.shared_bytes, v.unique_bytes)).collect();
        assert_eq!(sizes, [(2, 110, 100, 10), (3, 220, 100, 20)]);
    }

    #[test]
    fn only_who_listens_to_an_encoder_has_its_length() {
        let axes = || {
            BTreeMap::from(
                [("context", "512"), ("sequence", "1"), ("encoder-sequence", "1")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned())),
            )
        };
        let interface = |input: &str| -> Interface {
            serde_json::from_value(
                serde_json::json!({ "inputs": [{ "name": input, "dtype": "int32", "shape": [1, 1] }], "outputs": [] }),
            )
            .unwrap()
        };
        assert!(!shown_axes(axes(), Some(&interface("input_ids"))).contains_key("encoder-sequence"));
        for kept in [Some(&interface("cross_key_cache")), Some(&interface("encoder_attention_mask")), None] {
            assert_eq!(shown_axes(axes(), kept), axes());
        }
    }

    #[test]
    fn what_is_not_there_says_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path());
        let error = show_in(&context, "tae@2").unwrap_err();
        assert!(error.to_string().ends_with("matches `^2`: there is 1.0.0, 1.1.0, 2.0.0-rc.1"), "{error}");
        assert_eq!(error.hints(), ["pre-releases are taken where they are asked for: `tae@2.0.0-rc.1`"]);
        let error = show_in(&context, "other").unwrap_err();
        assert!(matches!(error, Error::Show(ShowError::NoPackage { .. })), "{error}");
        assert_eq!(error.kind(), ErrorKind::Input);
    }

    #[test]
    fn a_list_has_the_highest_version_first() {
        let folder = tempfile::tempdir().unwrap();
        let report =
            super::super::list::list(&context(folder.path()), &super::super::list::ListOptions::default()).unwrap();
        let versions: Vec<_> = report.packages[0].versions.iter().map(|v| v.version.to_string()).collect();
        assert_eq!(versions, ["2.0.0-rc.1", "1.1.0", "1.0.0"]);
        assert_eq!(report.packages[0].versions[1].release, Digest::of(&manifest("1.1.0")));
    }
}
