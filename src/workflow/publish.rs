//! `publish`: copies a release from the store to a remote. Blobs come first, then the version, so that no reader sees
//! half a release.

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
    releases::{self, StoredRelease},
};
use crate::{
    base::{Digest, PackageName, RelativePath},
    fetch::Layout,
    manifest::{breaking_changes, may_break, release::Release},
    publish::{
        ModelCard, Places, PublishError, PublishPlan, Quality, QualityError, check_present, damage, places, upload,
    },
    remote::{BlobFiles, Commit, Publication, PublicationParts, Remote, RemoteError, RemoteUrl},
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
/// When there is no such release, when its blobs are missing or damaged (before anything is sent), when the remote has
/// the version with other content, and what the remote says.
pub fn publish(context: &Context, options: &PublishOptions) -> Result<PublishReport, Error> {
    let request = match &options.subject {
        PublishSubject::Package(request) => request.clone(),
        PublishSubject::Manifest(path) => built(context, path)?,
    };
    let stored = releases::find_build(context, &request)?;
    let remote = context.remote_to_publish(&options.to)?;
    let publication = publication(context, options, remote.publication_parts(), stored)?;
    let (plan, is_known) = context.block_on(plan(remote.as_ref(), &publication))??;
    let breaking = if is_known { Vec::new() } else { gate(context, options, remote.as_ref(), publication.release())? };
    let files = if remote.publication_parts().layout { files(&publication, &plan) } else { Vec::new() };
    let report = |status, plan| PublishReport { breaking, files, ..report(options, status, plan) };
    if options.dry_run {
        return Ok(report(PublishStatus::DryRun, plan));
    }
    if plan.is_there {
        remember(context, options, &publication)?;
        return Ok(report(PublishStatus::AlreadyThere, plan));
    }
    let commit = send(context, remote.as_ref(), &publication, &plan)?;
    remember(context, options, &publication)?;
    let status = if commit == Commit::New { PublishStatus::New } else { PublishStatus::AlreadyThere };
    Ok(report(status, plan))
}

/// Sends the blobs of a plan, and commits the release.
fn send(
    context: &Context,
    remote: &dyn Remote,
    publication: &Publication,
    plan: &PublishPlan,
) -> Result<Commit, Error> {
    let _guard = context.store().writing()?;
    check_present(context.store(), plan)?;
    let title = format!("publishing {}@{}", plan.package, plan.version);
    let sending = context.progress().begin(&title, Amount::Bytes(plan.upload_bytes()));
    let jobs = context.remote_options().jobs;
    let commit = context.block_on(upload(remote, publication, plan, jobs, &|bytes| sending.advance(bytes)))?;
    let commit = commit.map_err(|error| damage(context.store(), plan, error))?;
    sending.finish(&format!("sent {} blobs", plan.missing.len()));
    Ok(commit)
}

/// How the release is published, as far as the remote takes part in it.
fn publication(
    context: &Context,
    options: &PublishOptions,
    parts: PublicationParts,
    stored: StoredRelease,
) -> Result<Publication, Error> {
    check_options(options, parts)?;
    let StoredRelease { manifest, release } = stored;
    let digest = Digest::of(&manifest);
    let mut publication = Publication::new(manifest, Arc::new(context.store().clone()))?;
    publication.message = options.message.clone();
    publication.public = options.public;
    if parts.layout {
        let Places { blobs, documents } = places(&release, digest, options.layout)?;
        publication.places = blobs;
        publication.documents = documents;
    }
    if parts.card {
        let quality = read_quality(context, options, digest)?;
        publication.card = Some(Arc::new(ModelCard::new(&release, options.layout, quality)));
    }
    Ok(publication)
}

/// Refuses options of which the remote makes no use.
fn check_options(options: &PublishOptions, parts: PublicationParts) -> Result<(), PublishError> {
    let uses = [
        (!options.evaluations.is_empty() && !parts.card, "--eval", "model cards"),
        (options.message.is_some() && !parts.message, "--message", "commit histories"),
        (options.public && !parts.visibility, "--public", "new repositories"),
        (options.layout == Layout::Shared && !parts.layout, "--layout shared", "files that people browse"),
    ];
    match uses.into_iter().find(|(is_unused, ..)| *is_unused) {
        Some((_, option, purpose)) => Err(PublishError::UnusedOption { option, purpose, url: options.to.to_string() }),
        None => Ok(()),
    }
}

/// The documents of `mlreg eval --json` for the card.
fn read_quality(context: &Context, options: &PublishOptions, release: Digest) -> Result<Vec<Quality>, PublishError> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(context.directory().join(path));
        let text = text.map_err(|source| QualityError::Read { path: path.clone(), source })?;
        Ok(Quality::parse(path.clone(), &text, release)?)
    };
    options.evaluations.iter().map(read).collect()
}

/// Builds a manifest and names the release that it became.
fn built(context: &Context, path: &Path) -> Result<PackageRequest, Error> {
    let options = BuildOptions {
        manifests: vec![path.to_owned()],
        variants: Vec::new(),
        out: None,
        layout: Layout::default(),
        force: false,
    };
    let report = build(context, &options)?;
    // One manifest is one package.
    let package = report.packages.into_iter().next().expect("a build reports every manifest");
    Ok(PackageRequest::exactly(package.package, &package.version))
}

/// What apps of the previous release would notice; an error where the version promises that there is nothing.
fn gate(
    context: &Context,
    options: &PublishOptions,
    remote: &dyn Remote,
    release: &Release,
) -> Result<Vec<String>, Error> {
    let Some((version, bytes)) = context.block_on(previous(context, remote, release))?? else { return Ok(Vec::new()) };
    let name = |version: &Version| format!("{}@{version}", release.package);
    let before = Release::parse(&bytes).map_err(|source| PublishError::Previous { release: name(&version), source })?;
    let changes = breaking_changes(&before, release);
    if changes.is_empty() || options.allow_breaking || may_break(&version, &release.version) {
        return Ok(changes.iter().map(ToString::to_string).collect());
    }
    let needs =
        if version.major > 0 { Version::new(version.major + 1, 0, 0) } else { Version::new(0, version.minor + 1, 0) };
    Err(PublishError::Breaking { release: name(&release.version), previous: version, changes, needs }.into())
}

/// The highest version of the remote below this one, pre-releases aside, and its manifest.
async fn previous(
    context: &Context,
    remote: &dyn Remote,
    release: &Release,
) -> Result<Option<(Version, Vec<u8>)>, RemoteError> {
    let package = &release.package;
    let Some(versions) = remote.versions(package).await? else { return Ok(None) };
    let mut before = versions.into_iter().rev().filter(|version| *version < release.version && version.pre.is_empty());
    let Some(version) = before.next() else { return Ok(None) };
    let digest = releases::resolve(remote, package, &version).await?.release;
    let here = context.store().release(package, &version).ok().flatten().filter(|(found, _)| *found == digest);
    let bytes = match here {
        Some((_, bytes)) => bytes,
        None => remote.release(package, &version, &digest).await?,
    };
    Ok(Some((version, bytes)))
}

impl BlobFiles for Store {
    fn path(&self, blob: &Digest) -> PathBuf {
        self.blob_path(blob)
    }
}

/// What has to be done, and whether the remote knows the release already.
async fn plan(remote: &dyn Remote, publication: &Publication) -> Result<(PublishPlan, bool), RemoteError> {
    let (release, offered) = (publication.release(), publication.digest());
    let existing = remote.resolve(&release.package, &release.version).await?.map(|entry| entry.release);
    let plan = |is_there, missing: &[Digest]| PublishPlan::new(release, publication.manifest(), is_there, missing);
    match existing {
        Some(existing) if existing != offered => {
            let release = format!("{}@{}", release.package, release.version);
            Err(RemoteError::VersionExists { release, existing, offered })
        }
        Some(_) if is_announced(remote, release).await? => Ok((plan(true, &[]), true)),
        // The next publication completes one that broke off in its last step.
        existing => Ok((plan(false, &remote.missing(publication).await?), existing.is_some())),
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
        entry
            .is_some_and(|entry| Some(&entry.latest) == index.latest() && entry.versions == index.versions.len() as u64)
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

/// Notes in the store that the remote has the release.
fn remember(context: &Context, options: &PublishOptions, publication: &Publication) -> Result<(), Error> {
    let (store, release) = (context.store(), publication.release());
    let remotes = BTreeSet::from([options.to.to_string()]);
    let built = store.release_origin(&release.package, &release.version)?.is_none_or(|origin| origin.is_built());
    let origin = if built { Origin::Built { published_to: remotes } } else { Origin::Fetched { from: remotes } };
    store.put_release(publication.manifest(), origin)?;
    Ok(())
}

/// The files of a publication. Bytes that several files have are sent once.
fn files(publication: &Publication, plan: &PublishPlan) -> Vec<PublishedFile> {
    let mut missing = plan.missing.clone();
    let bytes =
        |digest: &Digest| plan.missing.get(digest).or_else(|| plan.present.get(digest)).copied().unwrap_or_default();
    let file = |(path, digest): (&RelativePath, &Digest)| PublishedFile {
        path: path.to_string(),
        bytes: bytes(digest),
        uploaded: missing.remove(digest).is_some(),
    };
    publication.places.iter().map(file).collect()
}

fn report(options: &PublishOptions, status: PublishStatus, plan: PublishPlan) -> PublishReport {
    PublishReport {
        files: Vec::new(),
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
