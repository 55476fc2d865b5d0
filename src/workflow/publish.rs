//! `publish`: a release of the store becomes one of a remote. Blobs first, then the version, so that nobody sees half a release.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use semver::Version;
use serde::Serialize;

use super::{
    Amount, Context, Error, PackageRequest,
    build::{BuildOptions, build},
};
use crate::{
    base::{Digest, PackageName, RelativePath, RemoteUrl},
    fetch::Layout,
    manifest::{breaking_changes, may_break, nearest, release::Release},
    publish::{ModelCard, Places, PublishError, PublishPlan, Quality, QualityError, check_local, places, upload},
    remote::{BlobFiles, Commit, Publication, Remote, RemoteError},
    store::{Origin, Store},
};

/// What to publish.
#[derive(Debug, Clone)]
pub enum PublishSubject {
    /// A release of the store; the highest version that will do.
    Package(PackageRequest),
    /// A package manifest, which is built first.
    Manifest(PathBuf),
}

/// What to publish where.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// What.
    pub subject: PublishSubject,
    /// The remote.
    pub to: RemoteUrl,
    /// Publish a release that breaks apps under a version that promises not to.
    pub allow_breaking: bool,
    /// Only say what would be sent.
    pub dry_run: bool,
    /// Why, for remotes that keep a history.
    pub message: Option<String>,
    /// Whether a repository that has to be made is public.
    pub public: bool,
    /// How a repository that people browse holds the bundles.
    pub layout: Layout,
    /// Documents of `mlreg eval --json`, whose numbers the model card shows.
    pub evaluations: Vec<PathBuf>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishStatus {
    /// The version is visible now.
    New,
    /// The remote had it, with the same content.
    AlreadyThere,
    /// Nothing was done.
    DryRun,
}

/// What was published, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishReport {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// The remote, without credentials.
    pub url: String,
    /// How it ended.
    pub status: PublishStatus,
    /// Number of blobs that the release names.
    pub blobs: u64,
    /// How many of them were sent, or would be.
    pub uploaded_blobs: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// What apps of the previous release notice, where the version allows it or the options do.
    pub breaking: Vec<String>,
    /// The files of the release, for remotes that people browse; none for registries, which hold blobs.
    pub files: Vec<PublishedFile>,
    /// What was planned.
    pub plan: PublishPlan,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedFile {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Whether its bytes had to be sent, or would have to be; of files with the same bytes, the first.
    pub uploaded: bool,
}

/// Publishes a release.
///
/// # Errors
/// When there is no such release, when its blobs are missing or damaged (before anything is sent), when the remote has the version with
/// other content, and what the remote says.
pub fn publish(context: &Context, options: &PublishOptions) -> Result<PublishReport, Error> {
    let request = match &options.subject {
        PublishSubject::Package(request) => request.clone(),
        PublishSubject::Manifest(path) => built(context, path)?,
    };
    let (bytes, release) = find_named(context, &request)?;
    let publication = publication(context, options, &release, Digest::of(&bytes))?;
    let remote = match &publication {
        Some(publication) => context.publishing(&options.to, publication.clone())?,
        None => context.remote(&options.to)?,
    };
    let (plan, is_known) = context.block_on(plan(remote.as_ref(), &release, &bytes))??;
    let breaking = if is_known { Vec::new() } else { gate(context, options, remote.as_ref(), &release)? };
    let report = |status, plan| PublishReport { breaking, ..report(options, publication.as_deref(), status, plan) };
    if options.dry_run {
        return Ok(report(PublishStatus::DryRun, plan));
    }
    if plan.is_there {
        remember(context, options, &release, &bytes)?;
        return Ok(report(PublishStatus::AlreadyThere, plan));
    }
    let _guard = context.store().writing()?;
    let name = format!("{}@{}", release.package, release.version);
    let checking = context.progress().begin(&format!("checking {name}"), Amount::Bytes(plan.upload_bytes()));
    check_local(context.store(), &plan, &|bytes| checking.advance(bytes))?;
    checking.finish(&format!("checked {} blobs", plan.missing.len()));
    let sending = context.progress().begin(&format!("publishing {name}"), Amount::Bytes(plan.upload_bytes()));
    let jobs = context.remote_options().jobs;
    let sent = |bytes| sending.advance(bytes);
    let commit = context.block_on(upload(context.store(), remote.as_ref(), &release, &bytes, &plan, jobs, &sent))??;
    sending.finish(&format!("sent {} blobs", plan.missing.len()));
    remember(context, options, &release, &bytes)?;
    let status = if commit == Commit::New { PublishStatus::New } else { PublishStatus::AlreadyThere };
    Ok(report(status, plan))
}

/// How the release is to look, where the remote is a repository that people browse.
fn publication(context: &Context, options: &PublishOptions, release: &Release, digest: Digest) -> Result<Option<Arc<Publication>>, Error> {
    let RemoteUrl::Hub(url) = &options.to else {
        let is_for_card = !options.evaluations.is_empty();
        return if is_for_card { Err(PublishError::NoCard { url: options.to.to_string() }.into()) } else { Ok(None) };
    };
    let mut quality = Vec::new();
    for path in &options.evaluations {
        let text = std::fs::read_to_string(context.directory().join(path));
        let text = text.map_err(|source| PublishError::from(QualityError::Read { path: path.clone(), source }))?;
        quality.push(Quality::parse(path.clone(), &text, digest).map_err(PublishError::from)?);
    }
    let Places { blobs, documents } = places(release, digest, options.layout)?;
    Ok(Some(Arc::new(Publication {
        public: options.public,
        message: options.message.clone(),
        places: blobs,
        documents,
        card: Arc::new(ModelCard::new(url.repository(), release, options.layout, &quality)),
        blobs: Arc::new(context.store().clone()),
    })))
}

/// Builds a manifest and names the release that it became.
fn built(context: &Context, path: &Path) -> Result<PackageRequest, Error> {
    let options =
        BuildOptions { manifests: vec![path.to_owned()], variants: Vec::new(), out: None, layout: Layout::default(), force: false };
    let report = build(context, &options)?;
    // One manifest is one package.
    let package = report.packages.into_iter().next().expect("a build reports every manifest");
    Ok(PackageRequest::exactly(package.package, &package.version))
}

/// What apps of the previous release would notice; an error where the version promises that there is nothing.
fn gate(context: &Context, options: &PublishOptions, remote: &dyn Remote, release: &Release) -> Result<Vec<String>, Error> {
    let Some((version, bytes)) = context.block_on(previous(context, remote, release))?? else { return Ok(Vec::new()) };
    let name = |version: &Version| format!("{}@{version}", release.package);
    let before = Release::parse(&bytes).map_err(|source| PublishError::Previous { release: name(&version), source })?;
    let changes = breaking_changes(&before, release);
    if changes.is_empty() || options.allow_breaking || may_break(&version, &release.version) {
        return Ok(changes.iter().map(ToString::to_string).collect());
    }
    let needs = if version.major > 0 { Version::new(version.major + 1, 0, 0) } else { Version::new(0, version.minor + 1, 0) };
    Err(PublishError::Breaking { release: name(&release.version), previous: version, changes, needs }.into())
}

/// The highest version of the remote below this one, pre-releases aside, and its manifest.
async fn previous(context: &Context, remote: &dyn Remote, release: &Release) -> Result<Option<(Version, Vec<u8>)>, RemoteError> {
    let package = &release.package;
    let Some(index) = remote.index(package).await? else { return Ok(None) };
    let before = index.versions.iter().filter(|(version, _)| **version < release.version && version.pre.is_empty());
    let Some((version, entry)) = before.max_by_key(|(version, _)| *version) else { return Ok(None) };
    let here = context.store().release(package, version).ok().flatten().filter(|(digest, _)| *digest == entry.release);
    let bytes = match here {
        Some((_, bytes)) => bytes,
        None => remote.release(package, version, &entry.release).await?,
    };
    Ok(Some((version.clone(), bytes)))
}

impl BlobFiles for Store {
    fn path(&self, blob: &Digest) -> PathBuf {
        self.blob_path(blob)
    }
}

/// The release of the store that a request means: its manifest's bytes, and what they say.
pub(super) fn find(context: &Context, request: &PackageRequest) -> Result<(Vec<u8>, Release), Error> {
    let store = context.store();
    let versions = store.releases(&request.package)?;
    let known = if versions.is_empty() { store.packages()? } else { Vec::new() };
    let none = || {
        let nearest = nearest(request.package.as_str(), known.iter().map(PackageName::as_str), 1).first().map(|&name| name.to_owned());
        PublishError::NoRelease { package: request.package.clone(), requirement: request.requirement.clone(), nearest }
    };
    let version = request.highest(&versions).ok_or_else(none)?;
    let (_, bytes) = store.release(&request.package, version)?.ok_or_else(none)?;
    let wrong = |source| PublishError::Release { release: format!("{}@{version}", request.package), source };
    let release = Release::parse(&bytes).map_err(wrong)?;
    Ok((bytes, release))
}

/// As [`find`], where a version that was named means one release: of several builds of it, none is guessed.
fn find_named(context: &Context, request: &PackageRequest) -> Result<(Vec<u8>, Release), Error> {
    let mut builds = context.store().releases(&request.package)?;
    builds.retain(|version| request.requirement.matches(version));
    if request.requirement.is_exact() && builds.len() > 1 && builds.iter().all(|version| !version.build.is_empty()) {
        let (package, requirement) = (request.package.clone(), request.requirement.clone());
        return Err(PublishError::SeveralBuilds { package, requirement, versions: builds }.into());
    }
    find(context, request)
}

/// The release of the store that a request means.
pub(super) fn find_release(context: &Context, request: &PackageRequest) -> Result<Release, Error> {
    find(context, request).map(|(_, release)| release)
}

/// What has to be done, and whether the remote knows the release already.
async fn plan(remote: &dyn Remote, release: &Release, bytes: &[u8]) -> Result<(PublishPlan, bool), RemoteError> {
    let offered = Digest::of(bytes);
    let index = remote.index(&release.package).await?;
    let existing = index.and_then(|index| index.versions.get(&release.version).map(|entry| entry.release));
    match existing {
        Some(existing) if existing != offered => {
            let release = format!("{}@{}", release.package, release.version);
            Err(RemoteError::VersionExists { release, existing, offered })
        }
        Some(_) if is_announced(remote, release).await? => Ok((PublishPlan::new(release, bytes, true, &[]), true)),
        // A publication that broke off in its last step is ended by the next one.
        existing => Ok((PublishPlan::new(release, bytes, false, &remote.missing(release).await?), existing.is_some())),
    }
}

/// Whether the documents that readers look at first name the release, where the remote keeps such.
async fn is_announced(remote: &dyn Remote, release: &Release) -> Result<bool, RemoteError> {
    let index = written(remote.written_index(&release.package).await)?;
    let catalogue = written(remote.written_catalogue().await)?;
    let (Some(index), Some(catalogue)) = (index, catalogue) else { return Ok(false) };
    let named = index.as_ref().is_none_or(|index| index.versions.contains_key(&release.version));
    let listed = index.zip(catalogue).is_none_or(|(index, catalogue)| {
        let entry = catalogue.packages.get(&release.package);
        entry.is_some_and(|entry| Some(&entry.latest) == index.latest() && entry.versions == index.versions.len() as u64)
    });
    Ok(named && listed)
}

/// `None` for a document that is not there, or damaged.
fn written<T>(document: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
    match document {
        Ok(document) => Ok(Some(document)),
        Err(RemoteError::NotFound { .. } | RemoteError::NotARegistry { .. } | RemoteError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes that the remote has the release.
fn remember(context: &Context, options: &PublishOptions, release: &Release, bytes: &[u8]) -> Result<(), Error> {
    let store = context.store();
    let remotes = BTreeSet::from([options.to.to_string()]);
    let built = store.release_origin(&release.package, &release.version)?.is_none_or(|origin| origin.is_built());
    let origin = if built { Origin::Built { published_to: remotes } } else { Origin::Fetched { from: remotes } };
    store.put_release(bytes, origin)?;
    Ok(())
}

/// The files of a publication. Bytes that several files have are sent once.
fn files(publication: &Publication, plan: &PublishPlan) -> Vec<PublishedFile> {
    let mut missing = plan.missing.clone();
    let bytes = |digest: &Digest| plan.missing.get(digest).or_else(|| plan.present.get(digest)).copied().unwrap_or_default();
    let file = |(path, digest): (&RelativePath, &Digest)| PublishedFile {
        path: path.to_string(),
        bytes: bytes(digest),
        uploaded: missing.remove(digest).is_some(),
    };
    publication.places.iter().map(file).collect()
}

fn report(options: &PublishOptions, publication: Option<&Publication>, status: PublishStatus, plan: PublishPlan) -> PublishReport {
    PublishReport {
        files: publication.map_or_else(Vec::new, |publication| files(publication, &plan)),
        package: plan.package.clone(),
        version: plan.version.clone(),
        release: plan.release,
        url: options.to.to_string(),
        status,
        blobs: (plan.missing.len() + plan.present.len()) as u64,
        uploaded_blobs: plan.missing.len() as u64,
        uploaded_bytes: plan.upload_bytes(),
        breaking: Vec::new(),
        plan,
    }
}
