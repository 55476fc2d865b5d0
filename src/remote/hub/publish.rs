//! Publishing into a repository: find what it lacks, upload large objects, then make commits of bounded size, the last
//! of which has the release manifest and the index, then the tag. Every commit names its parent; after a rival's commit
//! everything is compared anew. Existing objects are never sent again, so that an interrupted publication continues.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use tokio::task;

use super::{
    HubError, attributes,
    commit::{Candidate, Operation, SAMPLE},
    draft::{self, BranchFile, Draft, Files},
    layout::{self, HubEntry, HubIndex, Locations},
    object::Source,
    repository::HubRemote,
    tree::{Commit, Content, Mode, References, Tree, git_blob_id},
};
use crate::{
    base::{Digest, RelativePath},
    manifest::release::{Release, SCHEMA},
    remote::{
        self, BlobFiles, INDEX_LIMIT, IndexEntry, Publication, RELEASE_LIMIT, RemoteError, RetryPolicy, Sent, default_places, documents,
        file::check_file, release_name,
    },
};

/// Commits of rivals after which a publication begins anew.
const CONFLICTS: u32 = 12;
const CARD: &str = "README.md";

/// A branch and the files of its newest commit.
pub(super) struct Branch {
    pub(super) head: Commit,
    pub(super) tree: Tree,
    references: References,
}

/// How a branch stands to a release.
enum Standing {
    Lacks(Box<Draft>),
    /// The index has the version.
    Has {
        head: Commit,
        tree: Tree,
        references: References,
        entry: HubEntry,
    },
}

impl HubRemote {
    /// The blobs that have to be put: large objects that no revision has, and small files that the branch lacks.
    pub(super) async fn missing_blobs(&self, publication: &Publication) -> Result<Vec<Digest>, RemoteError> {
        let all = || publication.places.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let draft = match self.standing(publication).await {
            Err(RemoteError::Hub(HubError::NoRepository { with_token: true, .. })) => return Ok(all()),
            Err(error) => return Err(error),
            Ok(Standing::Has { .. }) => return Ok(Vec::new()),
            Ok(Standing::Lacks(draft)) => draft,
        };
        let objects: BTreeMap<Digest, u64> = draft.blobs(Mode::Lfs).collect();
        let lacking = self.hub.lacking(self.hub.revision(), &objects.into_iter().collect::<Vec<_>>()).await?;
        let mut missing: BTreeSet<Digest> = lacking.into_iter().collect();
        missing.extend(draft.blobs(Mode::Regular).map(|(digest, _)| digest));
        self.keep_draft(publication.digest(), Arc::from(draft));
        Ok(missing.into_iter().collect())
    }

    /// Checks a blob's file, and uploads it if it is a large object. A small file travels with its commit.
    pub(super) async fn put_blob(&self, publication: &Publication, blob: &Digest, sent: Sent<'_>) -> Result<(), RemoteError> {
        let known = remote::blob_of(publication.release(), blob)?.clone();
        let (size, path) = (known.size, publication.blobs().path(blob));
        // Parts are sent side by side, and hf-xet believes the sha256 that it is told, so the file is hashed before it
        // is sent.
        let (source, digest) = (path.clone(), *blob);
        blocking(move || check_file(&source, &digest, &known)).await?;
        self.ensure_repository(publication).await?;
        let draft = match self.draft(&publication.digest()) {
            Some(draft) => draft,
            None => match self.standing(publication).await? {
                Standing::Lacks(draft) => self.keep_draft(publication.digest(), Arc::from(draft)),
                Standing::Has { .. } => {
                    sent(size);
                    return Ok(());
                }
            },
        };
        if draft.blobs(Mode::Lfs).any(|(digest, _)| digest == *blob) {
            return self.hub.upload(self.xet.as_ref(), blob, size, &Source::File(path), sent).await;
        }
        sent(size);
        Ok(())
    }

    /// Makes a release visible. Begins anew when a rival's commit was faster.
    pub(super) async fn publish(&self, publication: &Publication) -> Result<remote::Commit, RemoteError> {
        self.ensure_repository(publication).await?;
        let policy = RetryPolicy { retries: CONFLICTS, ..self.hub.retry() };
        let mut attempts = policy.attempts();
        loop {
            match self.attempt(publication).await {
                Err(error @ RemoteError::Hub(HubError::Moved { .. })) => attempts.wait_after_conflict(error).await?,
                other => return other,
            }
        }
    }

    async fn attempt(&self, publication: &Publication) -> Result<remote::Commit, RemoteError> {
        let (release, offered) = (publication.release(), publication.digest());
        let draft = match self.standing(publication).await? {
            Standing::Lacks(draft) => draft,
            Standing::Has { head, tree, references, entry } => {
                if entry.entry.release != offered {
                    return Err(RemoteError::VersionExists { release: release_name(release), existing: entry.entry.release, offered });
                }
                let was_tagged = references.tags.contains_key(&layout::tag(&release.package, &release.version));
                self.ensure_tag(publication, head, tree, &references).await?;
                // Without a tag nobody has seen the release, whoever committed it.
                let is_new = self.take_commit(&offered) || !was_tagged;
                return Ok(if is_new { remote::Commit::New } else { remote::Commit::AlreadyThere });
            }
        };
        let head = self.commit_draft(publication, &draft).await?;
        self.tag(publication, &head).await?;
        self.take_commit(&offered);
        Ok(remote::Commit::New)
    }

    async fn ensure_repository(&self, publication: &Publication) -> Result<(), RemoteError> {
        let make = || async {
            match self.hub.commit_of(self.hub.revision()).await {
                Ok(_) => Ok(()),
                Err(RemoteError::Hub(HubError::NoRepository { .. })) => self.hub.create(publication.public).await,
                Err(error) => Err(error),
            }
        };
        self.made.get_or_try_init(make).await.copied()
    }

    /// Reads the branch that is published to.
    ///
    /// # Errors
    /// [`HubError::NoToken`], [`HubError::NotABranch`], and what the Hub says.
    pub(super) async fn branch(&self) -> Result<Branch, RemoteError> {
        if !self.hub.has_token() {
            return Err(HubError::NoToken { repository: self.hub.repository().to_owned() }.into());
        }
        let branch = self.hub.revision();
        let references = self.hub.references().await?;
        if Commit::parse(branch).is_some() || (references.tags.contains_key(branch) && !references.branches.contains_key(branch)) {
            return Err(HubError::NotABranch { repository: self.hub.repository().to_owned(), revision: branch.to_owned() }.into());
        }
        let head = match references.branches.get(branch) {
            Some(head) => head.clone(),
            None => self.hub.commit_of(branch).await?,
        };
        let tree = self.hub.files(&head, "").await?;
        Ok(Branch { head, tree, references })
    }

    /// Looks at the branch and compares it with what it should hold.
    async fn standing(&self, publication: &Publication) -> Result<Standing, RemoteError> {
        let release = publication.release();
        let Branch { head, tree, references } = self.branch().await?;
        let index = match self.text(&head, &tree, &layout::index(&release.package)).await? {
            Some(bytes) => {
                let place = layout::index(&release.package);
                HubIndex::parse(&bytes, &release.package).map_err(|source| self.damaged(&head, &place, source))?
            }
            None => HubIndex::empty(release.package.clone()),
        };
        if let Some(entry) = index.versions.get(&release.version).cloned() {
            return Ok(Standing::Has { head, tree, references, entry });
        }
        if let Some(tagged) = references.tags.get(&layout::tag(&release.package, &release.version)) {
            self.check_tag(publication, tagged).await?;
        }
        let owned = self.owned(&head, &tree, &index).await?;
        let (wanted, last) = self.branch_files(publication, index, &head, &tree).await?;
        let deletions = draft::deletions(&owned, &wanted, &tree);
        let draft = self.with_modes(publication.blobs().clone(), head, tree, wanted, deletions, last).await?;
        Ok(Standing::Lacks(Box::new(draft)))
    }

    /// The paths that the version in the branch has, which mlreg put there.
    async fn owned(&self, head: &Commit, tree: &Tree, index: &HubIndex) -> Result<BTreeSet<String>, RemoteError> {
        let Some((version, known)) = index.current.as_ref().and_then(|version| index.versions.get_key_value(version)) else {
            return Ok(BTreeSet::new());
        };
        let path = layout::manifest(&index.package, version);
        let Some(bytes) = self.text(head, tree, &path).await? else { return Ok(BTreeSet::new()) };
        let old: Release = documents::parse(&bytes, SCHEMA).map_err(|source| self.damaged(head, &path, source))?;
        let package = format!("{}/", index.package);
        let places = match known.locations {
            None => default_places(&old).into_keys().collect(),
            Some(_) => {
                let path = layout::locations(&index.package, version);
                let Some(bytes) = self.text(head, tree, &path).await? else { return Ok(BTreeSet::new()) };
                Locations::parse(&bytes).map_err(|source| self.damaged(head, &path, source))?.files
            }
        };
        // What lies elsewhere was there before mlreg came.
        Ok(places.iter().map(RelativePath::to_string).filter(|path: &String| path.starts_with(&package)).collect())
    }

    /// The files that the branch should have, and the paths of those that make the release visible.
    async fn branch_files(
        &self,
        publication: &Publication,
        mut index: HubIndex,
        head: &Commit,
        tree: &Tree,
    ) -> Result<(Files, BTreeSet<String>), RemoteError> {
        let (release, bytes) = (publication.release(), publication.manifest());
        let mut wanted = Files::new();
        let places = places_in(publication, tree).await?;
        for (path, digest) in &places {
            let size = remote::blob_of(release, digest)?.size;
            wanted.insert(path.to_string(), BranchFile::Blob { digest: *digest, size });
        }
        for (path, bytes) in &publication.documents {
            wanted.insert(path.to_string(), BranchFile::Document(Bytes::copy_from_slice(bytes)));
        }
        let mut last = BTreeMap::new();
        let (package, version) = (&release.package, &release.version);
        let locations = (places != default_places(release)).then(|| {
            let owned = places.keys().chain(publication.documents.keys()).cloned().collect();
            Locations::new(release, &places, owned).to_bytes()
        });
        let entry = IndexEntry { release: Digest::of(bytes), size: bytes.len() as u64 };
        index.versions.insert(version.clone(), HubEntry { locations: locations.as_deref().map(Digest::of), entry });
        index.current = Some(version.clone());
        last.extend(locations.map(|bytes| (layout::locations(package, version), bytes)));
        last.insert(layout::manifest(package, version), bytes.to_owned());
        last.insert(layout::index(package), index.to_bytes());
        if let Some(card) = &publication.card {
            let existing = self.text(head, tree, CARD).await?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            last.insert(CARD.to_owned(), card.render(self.hub.repository(), existing.as_deref()).into_bytes());
        }
        let paths = last.keys().cloned().collect();
        wanted.extend(last.into_iter().map(|(path, bytes)| (path, BranchFile::Document(bytes.into()))));
        Ok((wanted, paths))
    }

    /// Leaves out unchanged files, and asks how the Hub stores the others.
    pub(super) async fn with_modes(
        &self,
        blobs: Arc<dyn BlobFiles>,
        parent: Commit,
        tree: Tree,
        wanted: Files,
        deletions: Vec<Operation>,
        last: BTreeSet<String>,
    ) -> Result<Draft, RemoteError> {
        let (tree, mut changes, candidates) = blocking(move || {
            let content = |file: &BranchFile| content(blobs.as_ref(), file);
            let changes = draft::changes(&wanted, &tree, |file| content(file).map(|bytes| git_blob_id(&bytes)))?;
            let candidates: Result<Vec<_>, RemoteError> =
                changes.iter().map(|(path, file)| candidate(blobs.as_ref(), path, file)).collect();
            Ok((tree, changes, candidates?))
        })
        .await?;
        let mut modes = self.hub.modes(self.hub.revision(), &candidates).await?;
        let rules = self.text(&parent, &tree, attributes::FILE).await?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let standing = tree.iter().map(|(path, entry)| (path.clone(), entry.mode()));
        let all = standing.chain(modes.iter().map(|(path, mode)| (path.clone(), *mode))).collect();
        if let Some(text) = attributes::complete(rules.as_deref().unwrap_or_default(), &modes, &all) {
            changes.insert(attributes::FILE.to_owned(), BranchFile::Document(text.into()));
            modes.insert(attributes::FILE.to_owned(), Mode::Regular);
        }
        Ok(Draft { parent, changes, modes, deletions, last })
    }

    /// Uploads the documents of a draft that are large objects.
    pub(super) async fn upload_documents(&self, draft: &Draft) -> Result<(), RemoteError> {
        for (_, file) in draft.changes.iter().filter(|(path, _)| draft.modes.get(*path) == Some(&Mode::Lfs)) {
            if let BranchFile::Document(bytes) = file {
                let source = Source::Memory(bytes.clone());
                self.hub.upload(self.xet.as_ref(), &file.digest(), file.size(), &source, &|_| ()).await?;
            }
        }
        Ok(())
    }

    /// Commits the changes of a draft and returns the last commit.
    async fn commit_draft(&self, publication: &Publication, draft: &Draft) -> Result<Commit, RemoteError> {
        self.upload_documents(draft).await?;
        let (first, mut last): (Vec<_>, Vec<_>) = draft.changes.iter().partition(|(path, _)| !draft.last.contains(*path));
        let inline = |(path, file): &(&String, &BranchFile)| match draft.modes.get(*path) {
            Some(Mode::Regular) => usize::try_from(file.size()).unwrap_or(usize::MAX),
            _ => 0,
        };
        let lengths: Vec<usize> = first.iter().map(inline).collect();
        let last_bytes = last.iter().map(inline).fold(0, usize::saturating_add);
        let cuts = draft::cuts(&lengths, last.len() + draft.deletions.len(), last_bytes);
        let Release { package, version, .. } = publication.release();
        let mut head = draft.parent.clone();
        let count = cuts.len();
        let done = cuts.last().map_or(0, |cut| cut.end);
        for (index, cut) in cuts.into_iter().enumerate() {
            let operations = self.operations(publication.blobs().clone(), draft, &first[cut]).await?;
            let summary = format!("Upload {package} {version}, part {} of {count}", index + 1);
            head = self.hub.commit(self.hub.revision(), &head, &summary, &operations).await?;
        }
        last.extend_from_slice(&first[done..]);
        last.sort_by_key(|(path, _)| *path);
        let mut operations = self.operations(publication.blobs().clone(), draft, &last).await?;
        operations.extend(draft.deletions.iter().cloned());
        let summary = publication.message.clone().unwrap_or_else(|| format!("Publish {package} {version}"));
        self.note_commit(publication.digest());
        self.hub.commit(self.hub.revision(), &head, &summary, &operations).await
    }

    pub(super) async fn operations(
        &self,
        blobs: Arc<dyn BlobFiles>,
        draft: &Draft,
        files: &[(&String, &BranchFile)],
    ) -> Result<Vec<Operation>, RemoteError> {
        let owned: Vec<(String, BranchFile, Mode)> = files
            .iter()
            .map(|(path, file)| ((*path).clone(), (*file).clone(), draft.modes.get(*path).copied().unwrap_or(Mode::Regular)))
            .collect();
        blocking(move || {
            let operation = |(path, file, mode): &(String, BranchFile, Mode)| {
                let bytes = if *mode == Mode::Regular { content(blobs.as_ref(), file)? } else { Bytes::new() };
                Ok(draft::operation(path, file, *mode, || bytes))
            };
            owned.iter().map(operation).collect()
        })
        .await
    }

    /// Tags the commit of a release. A tag that is there must have it.
    async fn tag(&self, publication: &Publication, commit: &Commit) -> Result<(), RemoteError> {
        let release = publication.release();
        let tag = layout::tag(&release.package, &release.version);
        match self.hub.tag(&tag, commit, &format!("{} {}", release.package, release.version)).await {
            Err(RemoteError::Hub(HubError::Exists { .. })) => {
                let tagged = self.hub.commit_of(&tag).await?;
                if tagged == *commit { Ok(()) } else { self.check_tag(publication, &tagged).await }
            }
            other => other,
        }
    }

    async fn check_tag(&self, publication: &Publication, tagged: &Commit) -> Result<(), RemoteError> {
        let release = publication.release();
        let path = layout::manifest(&release.package, &release.version);
        match self.document(tagged, &path, RELEASE_LIMIT).await {
            Ok(found) if found == publication.manifest() => Ok(()),
            Ok(_) | Err(RemoteError::NotFound { .. }) => {
                let tag = layout::tag(&release.package, &release.version);
                Err(HubError::WrongTag { repository: self.hub.repository().to_owned(), tag }.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Tags a release whose publication broke off just before that: the newest commit that holds all of it.
    async fn ensure_tag(
        &self,
        publication: &Publication,
        head: Commit,
        tree: Tree,
        references: &References,
    ) -> Result<(), RemoteError> {
        let release = publication.release();
        if let Some(tagged) = references.tags.get(&layout::tag(&release.package, &release.version)) {
            return self.check_tag(publication, tagged).await;
        }
        let (mut commit, mut tree) = (head.clone(), tree);
        let mut older = self.hub.history(head.as_str()).await?.into_iter().filter(|commit| *commit != head);
        while !holds_all(&places_in(publication, &tree).await?, &tree) {
            commit = older.next().ok_or_else(|| RemoteError::MissingBlobs {
                release: release_name(release),
                first: publication.places.values().next().copied().unwrap_or(publication.digest()),
                count: publication.places.len(),
            })?;
            tree = self.hub.files(&commit, "").await?;
        }
        self.tag(publication, &commit).await
    }

    /// A small file of a commit, if its tree has it.
    pub(super) async fn text(&self, commit: &Commit, tree: &Tree, path: &str) -> Result<Option<Vec<u8>>, RemoteError> {
        match tree.get(path) {
            Some(_) => self.document(commit, path, INDEX_LIMIT.max(RELEASE_LIMIT)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Where the files of a release lie in a branch.
async fn places_in(publication: &Publication, tree: &Tree) -> Result<BTreeMap<RelativePath, Digest>, RemoteError> {
    let release = publication.release();
    if publication.places != default_places(release) {
        return Ok(publication.places.clone());
    }
    let (release, tree, blobs) = (release.clone(), tree.clone(), publication.blobs().clone());
    blocking(move || draft::places(&release, &tree, |digest| blob_bytes(blobs.as_ref(), digest).map(|bytes| git_blob_id(&bytes)))).await
}

/// Whether every place has a file; large ones the right one.
fn holds_all(places: &BTreeMap<RelativePath, Digest>, tree: &Tree) -> bool {
    places.iter().all(|(path, digest)| {
        tree.get(path.as_str()).is_some_and(|entry| match &entry.content {
            Content::Lfs(found) => found == digest,
            Content::Git(_) => true,
        })
    })
}

fn content(blobs: &dyn BlobFiles, file: &BranchFile) -> Result<Bytes, RemoteError> {
    match file {
        BranchFile::Document(bytes) => Ok(bytes.clone()),
        BranchFile::Blob { digest, .. } => blob_bytes(blobs, digest),
    }
}

fn blob_bytes(blobs: &dyn BlobFiles, digest: &Digest) -> Result<Bytes, RemoteError> {
    let path = blobs.path(digest);
    let bytes = fs::read(&path).map_err(failed(&path))?;
    let found = Digest::of(&bytes);
    if found == *digest { Ok(bytes.into()) } else { Err(RemoteError::WrongContent { path, expected: *digest, found }) }
}

fn candidate(blobs: &dyn BlobFiles, path: &str, file: &BranchFile) -> Result<Candidate, RemoteError> {
    let sample = match file {
        BranchFile::Document(bytes) => bytes.slice(..bytes.len().min(SAMPLE)).to_vec(),
        BranchFile::Blob { digest, .. } => {
            let source = blobs.path(digest);
            let mut sample = Vec::new();
            File::open(&source).and_then(|file| file.take(SAMPLE as u64).read_to_end(&mut sample)).map_err(failed(&source))?;
            sample
        }
    };
    Ok(Candidate { path: path.to_owned(), size: file.size(), sample })
}

fn failed(path: &std::path::Path) -> impl FnOnce(io::Error) -> RemoteError {
    let path = path.to_owned();
    move |source| RemoteError::File { action: "read", path, source }
}

/// Runs disk work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RemoteError> + Send + 'static) -> Result<T, RemoteError> {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(RemoteError::File {
                action: "finish work in",
                path: PathBuf::from("."),
                source: io::Error::new(io::ErrorKind::Interrupted, error),
            }),
        },
    }
}
