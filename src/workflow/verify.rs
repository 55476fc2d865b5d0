//! `verify`: every byte of the store, a release in it, a placed folder or a remote against its digest. Nothing is
//! repaired; of a placed folder that is damaged, the record is forgotten by which the next fetch would believe its
//! times.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{StreamExt, TryStreamExt, stream};
use semver::Version;
use serde::Serialize;

use super::{
    Amount, Context, Error, PackageRequest,
    releases::{self, StoredRelease},
};
use crate::{
    base::{BlobHasher, ByteRange, Digest, FolderError, HashedBytes, PackageName, hash_file},
    fetch::{distrust, is_placed, verify_placed},
    manifest::release::{Blob, Release},
    remote::{CatalogueEntry, IndexEntry, PackageIndex, Remote, RemoteError, RemoteUrl, is_registry},
};

/// What to check.
#[derive(Debug, Clone)]
pub enum VerifySubject {
    /// The whole store.
    Store,
    /// A release of the store; the highest version that will do.
    Package(PackageRequest),
    /// A folder that `fetch` placed, one that has such folders in it, or a registry.
    Folder(PathBuf),
    /// Every release of a remote.
    Remote(RemoteUrl),
}

/// What to check.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// The subject.
    pub subject: VerifySubject,
}

/// What was looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// What was checked, as a person would name it.
    pub subject: String,
    /// Number of files that were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong; empty where all is well.
    pub findings: Vec<VerifyFinding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VerifyFinding {
    /// The file, or the address of one.
    pub path: String,
    /// What is wrong, in one word, e.g. `wrong-content`, `missing`, `extra`.
    pub problem: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Why something cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A folder without a proof, in it or one level below, and without a catalogue.
    #[error("`{}` is neither a folder that mlreg placed nor a registry: it has no `.mlreg.json` and no `mlreg.json`", path.display())]
    NotPlaced {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of a package that is a link.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A folder that cannot be listed.
    #[error("cannot list `{}`", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl VerifyError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotPlaced { .. } => Some("`mlreg fetch --out DIR` places bundles in `DIR/<package>`".to_owned()),
            Self::Folder(error) => error.hint(),
            Self::List { .. } => None,
        }
    }
}

/// Checks bytes against digests. Damage is not an error but a finding.
///
/// # Errors
/// When there is no such subject, and what the store or the remote says.
pub fn verify(context: &Context, options: &VerifyOptions) -> Result<VerifyReport, Error> {
    let mut report = match &options.subject {
        VerifySubject::Store => verify_store(context)?,
        VerifySubject::Package(request) => verify_package(context, request)?,
        VerifySubject::Folder(path) => {
            let path = context.directory().join(path);
            if is_registry(&path) {
                verify_remote(context, &RemoteUrl::folder(path))?
            } else {
                verify_folder(context, &path)?
            }
        }
        VerifySubject::Remote(url) => verify_remote(context, url)?,
    };
    report.findings.sort();
    report.findings.dedup();
    Ok(report)
}

impl VerifyReport {
    fn new(subject: impl ToString) -> Self {
        Self { subject: subject.to_string(), files: 0, bytes: 0, findings: Vec::new() }
    }

    fn add(&mut self, path: impl ToString, problem: impl ToString, expected: impl ToString, found: impl ToString) {
        let (path, problem) = (path.to_string(), problem.to_string());
        self.findings.push(VerifyFinding { path, problem, expected: expected.to_string(), found: found.to_string() });
    }

    fn and(mut self, other: Self) -> Self {
        self.files += other.files;
        self.bytes += other.bytes;
        self.findings.extend(other.findings);
        self
    }

    /// A document that is there and can be read; one that is not is a finding.
    fn sound<T>(&mut self, document: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
        match document {
            Ok(document) => Ok(Some(document)),
            Err(RemoteError::Damaged { url, source }) => {
                self.add(url, "wrong-document", "a document as it was written", source);
                Ok(None)
            }
            Err(RemoteError::NotFound { url }) => {
                self.add(url, "missing", "a document of the registry", "nothing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares the bytes of a blob with what its release says.
    fn compare(&mut self, path: impl ToString, digest: &Digest, blob: &Blob, found: &HashedBytes) {
        self.files += 1;
        self.bytes += found.size;
        if found.sha256 != *digest {
            self.add(path, "wrong-content", format!("sha256:{digest}"), format!("sha256:{}", found.sha256));
        } else if !blob.describes(found) {
            let expected = format!("{} bytes, blake3:{}", blob.size, blob.blake3.unwrap_or(found.blake3));
            self.add(path, "wrong-description", expected, format!("{} bytes, blake3:{}", found.size, found.blake3));
        }
    }
}

/// The name that a kind of problem has in documents.
fn kebab(problem: &impl Serialize) -> String {
    serde_json::to_value(problem).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn verify_store(context: &Context) -> Result<VerifyReport, Error> {
    let store = context.store();
    // The store counts its blobs before it reads the first.
    let (task, before) = (OnceLock::new(), AtomicU64::new(0));
    let found = store.verify(&|done, total| {
        let task = task.get_or_init(|| context.progress().begin("verifying the store", Amount::Bytes(total)));
        task.advance(done.saturating_sub(before.fetch_max(done, Ordering::Relaxed)));
    })?;
    if let Some(task) = task.into_inner() {
        task.finish(&format!("verified {} blobs and {} releases", found.blobs, found.releases));
    }
    let mut report =
        VerifyReport { files: found.blobs, bytes: found.bytes, ..VerifyReport::new(store.home().display()) };
    for finding in &found.findings {
        report.add(finding.path.display(), kebab(&finding.problem), &finding.expected, &finding.found);
    }
    Ok(report)
}

fn verify_package(context: &Context, request: &PackageRequest) -> Result<VerifyReport, Error> {
    let StoredRelease { release, .. } = releases::find(context, request)?;
    let store = context.store();
    let built = store.release_origin(&release.package, &release.version)?.is_none_or(|origin| origin.is_built());
    let name = format!("{}@{}", release.package, release.version);
    let total = release.blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add);
    let task = context.progress().begin(&format!("verifying {name}"), Amount::Bytes(total));
    let mut report = VerifyReport::new(&name);
    for (digest, blob) in &release.blobs {
        match hash_file(&store.blob_path(digest), &|bytes| task.advance(bytes)) {
            Ok(found) => report.compare(store.blob_path(digest).display(), digest, blob, &found),
            // What was fetched in part is whole enough.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !built => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                report.add(store.blob_path(digest).display(), "missing", format!("sha256:{digest}"), "nothing");
            }
            Err(error) => {
                report.add(store.blob_path(digest).display(), "unreadable", format!("sha256:{digest}"), error)
            }
        }
    }
    task.finish(&format!("verified {} blobs", report.files));
    Ok(report)
}

fn verify_folder(context: &Context, path: &Path) -> Result<VerifyReport, Error> {
    let mut report = VerifyReport::new(path.display());
    for folder in placed_folders(path)? {
        let task = context.progress().begin(&format!("verifying {}", folder.display()), Amount::Unknown);
        let found = verify_placed(context.store(), &folder)?;
        if !found.findings.is_empty() {
            distrust(context.store(), &folder)?;
        }
        report.files += found.files;
        report.bytes += found.bytes;
        for finding in &found.findings {
            report.add(
                folder.join(&finding.path).display(),
                kebab(&finding.problem),
                &finding.expected,
                &finding.found,
            );
        }
        task.finish(&format!("verified {} files", found.files));
    }
    Ok(report)
}

/// The folder itself, or those below it that have a proof, in order.
fn placed_folders(path: &Path) -> Result<BTreeSet<PathBuf>, VerifyError> {
    if is_placed(path) {
        return Ok([path.to_owned()].into());
    }
    let failed = |source| VerifyError::List { path: path.to_owned(), source };
    let entries = fs::read_dir(path).map_err(failed)?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let folders: BTreeSet<_> = paths.into_iter().filter(|path| is_placed(path)).collect();
    if let Some(link) =
        folders.iter().find(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()))
    {
        return Err(FolderError::Link { path: link.clone() }.into());
    }
    if folders.is_empty() { Err(VerifyError::NotPlaced { path: path.to_owned() }) } else { Ok(folders) }
}

/// A blob, with one of the releases that name it.
type Blobs = BTreeMap<Digest, usize>;

fn verify_remote(context: &Context, url: &RemoteUrl) -> Result<VerifyReport, Error> {
    let remote = context.remote(url)?;
    let jobs = context.remote_options().jobs;
    let mut report = VerifyReport::new(url);
    let releases = context.block_on(read_releases(remote.as_ref(), jobs, &mut report))??;
    let mut blobs = Blobs::new();
    for (index, release) in releases.iter().enumerate() {
        blobs.extend(release.blobs.keys().map(|digest| (*digest, index)));
    }
    let total = blobs.iter().map(|(digest, index)| releases[*index].blobs[digest].size).fold(0, u64::saturating_add);
    let task = context.progress().begin(&format!("verifying {url}"), Amount::Bytes(total));
    let seen = |bytes| task.advance(bytes);
    let checked = stream::iter(&blobs)
        .map(|(digest, index)| check_blob(remote.as_ref(), &releases[*index], digest, &seen))
        .buffer_unordered(jobs)
        .try_fold(report, |report, one| async { Ok(report.and(one)) });
    let report = context.block_on(checked)??;
    task.finish(&format!("verified {} blobs of {} releases", report.files, releases.len()));
    Ok(report)
}

/// What an index says of a version.
struct Listed {
    package: PackageName,
    version: Version,
    entry: IndexEntry,
}

/// Every release that can be read; what cannot is a finding.
async fn read_releases(
    remote: &dyn Remote,
    jobs: usize,
    report: &mut VerifyReport,
) -> Result<Vec<Release>, RemoteError> {
    let listed = read_documents(remote, report).await?;
    let answers = stream::iter(&listed).map(|listed| read_release(remote, listed)).buffered(jobs);
    let answers: Vec<Result<Release, VerifyFinding>> = answers.try_collect().await?;
    let mut releases = Vec::new();
    for answer in answers {
        match answer {
            Ok(release) => releases.push(release),
            Err(finding) => report.findings.push(finding),
        }
    }
    Ok(releases)
}

/// Every version that the indexes list. Catalogue and indexes that are damaged, missing or do not fit each other are
/// findings.
async fn read_documents(remote: &dyn Remote, report: &mut VerifyReport) -> Result<Vec<Listed>, RemoteError> {
    let catalogue = report.sound(remote.written_catalogue().await)?;
    let Some(packages) = report.sound(remote.packages().await)? else { return Ok(Vec::new()) };
    let mut listed = Vec::new();
    for package in packages {
        let written = report.sound(remote.written_index(&package).await)?.flatten();
        // Damage was reported just now; some remotes know the versions all the same.
        let index = match written {
            Some(index) => index,
            None => derived_index(remote, &package).await.unwrap_or_else(|_| PackageIndex::empty(package.clone())),
        };
        if let (Some(Some(catalogue)), Some(latest)) = (&catalogue, index.latest()) {
            let expected = CatalogueEntry { latest: latest.clone(), versions: index.versions.len() as u64 };
            let found = catalogue.packages.get(&package);
            if found != Some(&expected) {
                let shown = |entry: Option<&CatalogueEntry>| {
                    entry.map_or("nothing".to_owned(), |it| format!("{} of {}", it.latest, it.versions))
                };
                report.add(
                    format!("{package} in the catalogue"),
                    "wrong-document",
                    shown(Some(&expected)),
                    shown(found),
                );
            }
        }
        listed.extend(index.versions.into_iter().map(|(version, entry)| Listed {
            package: package.clone(),
            version,
            entry,
        }));
    }
    Ok(listed)
}

/// The index of a package as the remote's answers make it.
async fn derived_index(remote: &dyn Remote, package: &PackageName) -> Result<PackageIndex, RemoteError> {
    let mut index = PackageIndex::empty(package.clone());
    for version in remote.versions(package).await?.unwrap_or_default() {
        let entry = releases::resolve(remote, package, &version).await?;
        index.versions.insert(version, entry);
    }
    Ok(index)
}

async fn read_release(remote: &dyn Remote, listed: &Listed) -> Result<Result<Release, VerifyFinding>, RemoteError> {
    let Listed { package, version, entry } = listed;
    let name = format!("{package}@{version}");
    let wrong = |problem: &str, expected: String, found: String| {
        Ok(Err(VerifyFinding { path: name.clone(), problem: problem.to_owned(), expected, found }))
    };
    let digest = || format!("sha256:{}", entry.release);
    let bytes = match remote.release(package, version, &entry.release).await {
        Ok(bytes) => bytes,
        Err(RemoteError::WrongDigest { found, .. }) => {
            return wrong("wrong-content", digest(), format!("sha256:{found}"));
        }
        Err(error @ RemoteError::NotFound { .. }) => return wrong("missing", digest(), error.to_string()),
        Err(error) => return Err(error),
    };
    if entry.size != 0 && bytes.len() as u64 != entry.size {
        return wrong(
            "wrong-document",
            format!("a manifest of {} bytes in the index", bytes.len()),
            format!("{} bytes", entry.size),
        );
    }
    match Release::parse(&bytes) {
        Ok(release) if (&release.package, &release.version) == (package, version) => Ok(Ok(release)),
        Ok(release) => wrong("wrong-name", name.clone(), format!("{}@{}", release.package, release.version)),
        Err(error) => wrong("invalid-release", "a release manifest".to_owned(), error.to_string()),
    }
}

/// Reads a whole blob and hashes it on its way.
async fn check_blob(
    remote: &dyn Remote,
    release: &Release,
    digest: &Digest,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<VerifyReport, RemoteError> {
    let mut report = VerifyReport::new("");
    let path = format!("{}: sha256:{digest}", remote.url());
    let blob = &release.blobs[digest];
    let mut hasher = BlobHasher::default();
    if let Some(range) = ByteRange::new(0, blob.size) {
        let mut sink = |bytes: &[u8]| {
            hasher.update(bytes);
            seen(bytes.len() as u64);
            Ok(())
        };
        match remote.read(release, digest, range, &mut sink).await {
            Ok(()) => {}
            Err(error @ RemoteError::NotFound { .. }) => {
                report.add(path, "missing", format!("{} bytes", blob.size), error);
                return Ok(report);
            }
            Err(error @ (RemoteError::WrongSize { .. } | RemoteError::Changed { .. })) => {
                report.add(path, "wrong-size", format!("{} bytes", blob.size), error);
                return Ok(report);
            }
            Err(error) => return Err(error),
        }
    }
    report.compare(path, digest, blob, &hasher.finish());
    Ok(report)
}
