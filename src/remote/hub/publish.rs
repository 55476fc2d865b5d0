//! Publishing into a repository: what it lacks is found, large objects go up, then commits of bounded size, of which the last one has the
//! release manifest and the index, then the tag. Every commit names its parent; when somebody else was faster, everything is looked at
//! anew. What is there already is never sent again, so that an interrupted publication goes on where it was.

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
    HubError, HubRemote, Publication, attributes,
    commit::{Candidate, Mode, Operation, SAMPLE},
    draft::{self, Files, Wanted},
    layout::{self, HubEntry, HubIndex, Locations},
    lfs::Source,
    tree::{Commit, Content, References, Tree, git_blob_id},
};
use crate::{
    base::{Digest, RelativePath},
    manifest::release::{Release, SCHEMA},
    remote::{self, INDEX_LIMIT, IndexEntry, RELEASE_LIMIT, RemoteError, Sent, documents, release_name},
};

/// How often somebody else may be faster.
const CONFLICTS: u32 = 12;
const CARD: &str = "README.md";

/// What a branch lacks of a release.
#[derive(Debug)]
pub(super) struct Draft {
    parent: Commit,
    changes: Files,
    modes: BTreeMap<String, Mode>,
    deletions: Vec<Operation>,
    /// The paths of what makes the release visible.
    last: BTreeSet<String>,
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
    pub(super) async fn missing_blobs(&self, publication: &Publication, release: &Release) -> Result<Vec<Digest>, RemoteError> {
        let all = || publication.places.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let bytes = documents::to_bytes(release);
        let draft = match self.standing(publication, release, &bytes).await {
            Err(RemoteError::Hub(HubError::NoRepository { with_token: true, .. })) => return Ok(all()),
            Err(error) => return Err(error),
            Ok(Standing::Has { .. }) => return Ok(Vec::new()),
            Ok(Standing::Lacks(draft)) => draft,
        };
        let objects: BTreeMap<Digest, u64> = draft.blobs(Mode::Lfs).collect();
        let lacking = self.hub.lacking(self.hub.revision(), &objects.into_iter().collect::<Vec<_>>()).await?;
        let mut missing: BTreeSet<Digest> = lacking.into_iter().collect();
        missing.extend(draft.blobs(Mode::Regular).map(|(digest, _)| digest));
        self.remember(Arc::from(draft));
        Ok(missing.into_iter().collect())
    }

    /// Uploads a large object. A small file travels with its commit.
    pub(super) async fn put_blob(
        &self,
        publication: &Publication,
        release: &Release,
        blob: &Digest,
        path: PathBuf,
        sent: Sent<'_>,
    ) -> Result<(), RemoteError> {
        let size = remote::blob_of(release, blob)?.size;
        self.ensure_repository(publication).await?;
        let draft = match self.draft() {
            Some(draft) => draft,
            None => match self.standing(publication, release, &documents::to_bytes(release)).await? {
                Standing::Lacks(draft) => self.remember(Arc::from(draft)),
                Standing::Has { .. } => {
                    sent(size);
                    return Ok(());
                }
            },
        };
        if draft.blobs(Mode::Lfs).any(|(digest, _)| digest == *blob) {
            return self.hub.upload(self.hub.revision(), blob, size, &Source::File(path), sent).await;
        }
        sent(size);
        Ok(())
    }

    /// Makes a release visible.
    pub(super) async fn publish(&self, publication: &Publication, bytes: &[u8]) -> Result<remote::Commit, RemoteError> {
        let release: Release = documents::parse(bytes, SCHEMA).map_err(|source| RemoteError::InvalidRelease { source })?;
        self.ensure_repository(publication).await?;
        let mut conflicts = 0;
        loop {
            match self.attempt(publication, &release, bytes).await {
                Err(RemoteError::Hub(HubError::Moved { .. })) if conflicts < CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(self.hub.wait_before(conflicts, None)).await;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, publication: &Publication, release: &Release, bytes: &[u8]) -> Result<remote::Commit, RemoteError> {
        let draft = match self.standing(publication, release, bytes).await? {
            Standing::Lacks(draft) => draft,
            Standing::Has { head, tree, references, entry } => {
                let offered = Digest::of(bytes);
                if entry.entry.release != offered {
                    return Err(RemoteError::VersionExists { release: release_name(release), existing: entry.entry.release, offered });
                }
                let was_tagged = references.tags.contains_key(&layout::tag(&release.package, &release.version));
                self.ensure_tag(publication, release, bytes, head, tree, &references).await?;
                // Whoever committed it without the tag was not seen by anybody.
                return Ok(if was_tagged && !self.has_committed() { remote::Commit::AlreadyThere } else { remote::Commit::New });
            }
        };
        let head = self.commit_draft(publication, release, &draft).await?;
        self.tag(release, bytes, &head).await?;
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

    /// Looks at the branch and compares it with what it should hold.
    async fn standing(&self, publication: &Publication, release: &Release, bytes: &[u8]) -> Result<Standing, RemoteError> {
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
            self.check_tag(release, bytes, tagged).await?;
        }
        let owned = self.owned(&head, &tree, &index).await?;
        let (wanted, last) = self.wanted(publication, release, bytes, index, &head, &tree).await?;
        let deletions = draft::deletions(&owned, &wanted, &tree);
        let draft = self.with_modes(publication, head, tree, wanted, deletions, last).await?;
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
            None => layout::default_places(&old).into_keys().collect(),
            Some(_) => {
                let path = layout::locations(&index.package, version);
                let Some(bytes) = self.text(head, tree, &path).await? else { return Ok(BTreeSet::new()) };
                Locations::parse(&bytes).map_err(|source| self.damaged(head, &path, source))?.files
            }
        };
        // What lies elsewhere was there before mlreg came.
        Ok(places.iter().map(RelativePath::to_string).filter(|path: &String| path.starts_with(&package)).collect())
    }

    /// Everything that the branch should hold, and which of it makes the release visible.
    async fn wanted(
        &self,
        publication: &Publication,
        release: &Release,
        bytes: &[u8],
        mut index: HubIndex,
        head: &Commit,
        tree: &Tree,
    ) -> Result<(Files, BTreeSet<String>), RemoteError> {
        let mut wanted = Files::new();
        let places = places_in(publication, release, tree).await?;
        for (path, digest) in &places {
            let size = remote::blob_of(release, digest)?.size;
            wanted.insert(path.to_string(), Wanted::Blob { digest: *digest, size });
        }
        for (path, bytes) in &publication.documents {
            wanted.insert(path.to_string(), Wanted::Document(Bytes::copy_from_slice(bytes)));
        }
        let mut last = BTreeMap::new();
        let (package, version) = (&release.package, &release.version);
        let locations = (places != layout::default_places(release)).then(|| {
            let owned = places.keys().chain(publication.documents.keys()).cloned().collect();
            Locations::new(release, &places, owned).to_bytes()
        });
        let entry = IndexEntry { release: Digest::of(bytes), size: bytes.len() as u64 };
        index.versions.insert(version.clone(), HubEntry { locations: locations.as_deref().map(Digest::of), entry });
        index.current = Some(version.clone());
        last.extend(locations.map(|bytes| (layout::locations(package, version), bytes)));
        last.insert(layout::manifest(package, version), bytes.to_owned());
        last.insert(layout::index(package), index.to_bytes());
        let card = self.text(head, tree, CARD).await?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        last.insert(CARD.to_owned(), publication.card.render(card.as_deref()).into_bytes());
        let paths = last.keys().cloned().collect();
        wanted.extend(last.into_iter().map(|(path, bytes)| (path, Wanted::Document(bytes.into()))));
        Ok((wanted, paths))
    }

    /// Leaves out what is there, and asks how the rest goes up.
    async fn with_modes(
        &self,
        publication: &Publication,
        parent: Commit,
        tree: Tree,
        wanted: Files,
        deletions: Vec<Operation>,
        last: BTreeSet<String>,
    ) -> Result<Draft, RemoteError> {
        let blobs = publication.blobs.clone();
        let (tree, mut changes, candidates) = blocking(move || {
            let content = |file: &Wanted| content(blobs.as_ref(), file);
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
            changes.insert(attributes::FILE.to_owned(), Wanted::Document(text.into()));
            modes.insert(attributes::FILE.to_owned(), Mode::Regular);
        }
        Ok(Draft { parent, changes, modes, deletions, last })
    }

    /// Commits what a draft says and gives the last commit.
    async fn commit_draft(&self, publication: &Publication, release: &Release, draft: &Draft) -> Result<Commit, RemoteError> {
        for (_, file) in draft.changes.iter().filter(|(path, _)| draft.modes.get(*path) == Some(&Mode::Lfs)) {
            if let Wanted::Document(bytes) = file {
                let source = Source::Memory(bytes.clone());
                self.hub.upload(self.hub.revision(), &file.digest(), file.size(), &source, &|_| ()).await?;
            }
        }
        let (first, mut last): (Vec<_>, Vec<_>) = draft.changes.iter().partition(|(path, _)| !draft.last.contains(*path));
        let inline = |(path, file): &(&String, &Wanted)| match draft.modes.get(*path) {
            Some(Mode::Regular) => usize::try_from(file.size()).unwrap_or(usize::MAX),
            _ => 0,
        };
        let lengths: Vec<usize> = first.iter().map(inline).collect();
        let last_bytes = last.iter().map(inline).fold(0, usize::saturating_add);
        let cuts = draft::cuts(&lengths, last.len() + draft.deletions.len(), last_bytes);
        let (package, version) = (&release.package, &release.version);
        let mut head = draft.parent.clone();
        let count = cuts.len();
        let done = cuts.last().map_or(0, |cut| cut.end);
        for (index, cut) in cuts.into_iter().enumerate() {
            let operations = self.operations(publication, draft, &first[cut]).await?;
            let summary = format!("Upload {package} {version}, part {} of {count}", index + 1);
            head = self.hub.commit(self.hub.revision(), &head, &summary, &operations).await?;
        }
        last.extend_from_slice(&first[done..]);
        last.sort_by_key(|(path, _)| *path);
        let mut operations = self.operations(publication, draft, &last).await?;
        operations.extend(draft.deletions.iter().cloned());
        let summary = publication.message.clone().unwrap_or_else(|| format!("Publish {package} {version}"));
        self.note_commit();
        self.hub.commit(self.hub.revision(), &head, &summary, &operations).await
    }

    async fn operations(
        &self,
        publication: &Publication,
        draft: &Draft,
        files: &[(&String, &Wanted)],
    ) -> Result<Vec<Operation>, RemoteError> {
        let blobs = publication.blobs.clone();
        let owned: Vec<(String, Wanted, Mode)> = files
            .iter()
            .map(|(path, file)| ((*path).clone(), (*file).clone(), draft.modes.get(*path).copied().unwrap_or(Mode::Regular)))
            .collect();
        blocking(move || {
            let operation = |(path, file, mode): &(String, Wanted, Mode)| {
                let bytes = if *mode == Mode::Regular { content(blobs.as_ref(), file)? } else { Bytes::new() };
                Ok(draft::operation(path, file, *mode, || bytes))
            };
            owned.iter().map(operation).collect()
        })
        .await
    }

    /// Tags the commit of a release. A tag that is there must have it.
    async fn tag(&self, release: &Release, bytes: &[u8], commit: &Commit) -> Result<(), RemoteError> {
        let tag = layout::tag(&release.package, &release.version);
        match self.hub.tag(&tag, commit, &format!("{} {}", release.package, release.version)).await {
            Err(RemoteError::Hub(HubError::Exists { .. })) => {
                let tagged = self.hub.commit_of(&tag).await?;
                if tagged == *commit { Ok(()) } else { self.check_tag(release, bytes, &tagged).await }
            }
            other => other,
        }
    }

    async fn check_tag(&self, release: &Release, bytes: &[u8], tagged: &Commit) -> Result<(), RemoteError> {
        let path = layout::manifest(&release.package, &release.version);
        match self.document(tagged, &path, RELEASE_LIMIT).await {
            Ok(found) if found == bytes => Ok(()),
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
        release: &Release,
        bytes: &[u8],
        head: Commit,
        tree: Tree,
        references: &References,
    ) -> Result<(), RemoteError> {
        if let Some(tagged) = references.tags.get(&layout::tag(&release.package, &release.version)) {
            return self.check_tag(release, bytes, tagged).await;
        }
        let (mut commit, mut tree) = (head.clone(), tree);
        let mut older = self.hub.history(head.as_str()).await?.into_iter().filter(|commit| *commit != head);
        while !holds_all(&places_in(publication, release, &tree).await?, &tree) {
            commit = older.next().ok_or_else(|| RemoteError::MissingBlobs {
                release: release_name(release),
                first: publication.places.values().next().copied().unwrap_or(Digest::of(bytes)),
                count: publication.places.len(),
            })?;
            tree = self.hub.files(&commit, "").await?;
        }
        self.tag(release, bytes, &commit).await
    }

    /// A small file of a commit, if its tree has it.
    async fn text(&self, commit: &Commit, tree: &Tree, path: &str) -> Result<Option<Vec<u8>>, RemoteError> {
        match tree.get(path) {
            Some(_) => self.document(commit, path, INDEX_LIMIT.max(RELEASE_LIMIT)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Where the files of a release lie in a branch.
async fn places_in(publication: &Publication, release: &Release, tree: &Tree) -> Result<BTreeMap<RelativePath, Digest>, RemoteError> {
    if publication.places != layout::default_places(release) {
        return Ok(publication.places.clone());
    }
    let (release, tree, blobs) = (release.clone(), tree.clone(), publication.blobs.clone());
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

impl Draft {
    /// The blobs that go up in a mode, once for each place.
    fn blobs(&self, mode: Mode) -> impl Iterator<Item = (Digest, u64)> + '_ {
        self.changes.iter().filter_map(move |(path, file)| match file {
            Wanted::Blob { digest, size } if self.modes.get(path) == Some(&mode) => Some((*digest, *size)),
            _ => None,
        })
    }
}

fn content(blobs: &dyn super::BlobFiles, file: &Wanted) -> Result<Bytes, RemoteError> {
    match file {
        Wanted::Document(bytes) => Ok(bytes.clone()),
        Wanted::Blob { digest, .. } => blob_bytes(blobs, digest),
    }
}

fn blob_bytes(blobs: &dyn super::BlobFiles, digest: &Digest) -> Result<Bytes, RemoteError> {
    let path = blobs.path(digest);
    let bytes = fs::read(&path).map_err(failed(&path))?;
    let found = Digest::of(&bytes);
    if found == *digest { Ok(bytes.into()) } else { Err(RemoteError::WrongContent { path, expected: *digest, found }) }
}

fn candidate(blobs: &dyn super::BlobFiles, path: &str, file: &Wanted) -> Result<Candidate, RemoteError> {
    let sample = match file {
        Wanted::Document(bytes) => bytes.slice(..bytes.len().min(SAMPLE)).to_vec(),
        Wanted::Blob { digest, .. } => {
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
