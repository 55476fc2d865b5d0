//! What can go wrong while fetching and placing. Rules: every variant says what and where, with what was expected and
//! found as values; errors of the store and of remotes pass through unchanged.

use std::{
    io,
    path::{Path, PathBuf},
};

use semver::Version;

use crate::{
    base::{Blake3, Digest, FolderError, OsFloor, PackageName, PathClash, Platform, Target, TargetError, told_bytes},
    manifest::{GlobError, ReleaseError, Requirement, SelectError, unfit_listing},
    remote::RemoteError,
    store::{SegmentError, StoreError},
};

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum FetchError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The remote.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// An OS version that is older than every target.
    #[error(transparent)]
    Floor(#[from] TargetError),
    /// An OS version that is older than every target, and what a release has instead.
    #[error("`{release}` has nothing for {floor}: {}", unfit_listing(offered))]
    TooOld {
        release: String,
        floor: OsFloor,
        /// Names, each with the targets that there are.
        offered: Vec<(String, Vec<Target>)>,
    },
    /// Text that is no glob.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A selection that comes to nothing.
    #[error("cannot choose variants of `{release}`")]
    Selection {
        release: String,
        /// What it was chosen for, where that is known.
        platform: Option<Platform>,
        /// What is wrong with it.
        #[source]
        source: SelectError,
    },
    /// A narrower selection without a match.
    #[error("`{release}` has no variant that is wanted here and that was asked for")]
    NothingNarrowed { release: String },
    /// A manifest that cannot be used although its bytes are what was published.
    #[error("the release `{release}` cannot be used")]
    Release {
        release: String,
        /// What is wrong with it.
        #[source]
        source: ReleaseError,
    },
    /// A manifest that belongs to another release than its place says.
    #[error("`{origin}` has the manifest of `{found}` in place of `{expected}`")]
    WrongRelease {
        /// The remote, or the store's folder.
        origin: String,
        /// Package and version that were asked for.
        expected: String,
        /// Package and version that it names.
        found: String,
    },
    /// No such package.
    #[error("`{origin}` has no package `{package}`")]
    NoPackage {
        package: PackageName,
        /// Where it was looked for.
        origin: String,
        /// The package that may be meant.
        nearest: Option<String>,
    },
    /// A release that a lock pins, and that may not be asked for.
    #[error("`{package}@{version}` (sha256:{release}) is not in the store, and no remote may be asked")]
    NoRelease {
        package: PackageName,
        version: Box<Version>,
        /// The sha256 of its manifest.
        release: Digest,
    },
    /// None of its versions will do.
    #[error("no version of `{package}` in `{origin}` matches `{requirement}`: there is {}", join(versions))]
    NoVersion {
        package: PackageName,
        requirement: Requirement,
        /// Where it was looked for.
        origin: String,
        /// The versions that there are.
        versions: Vec<Version>,
    },
    /// None of a collection's bundles will do.
    #[error("`{glob}` matches no bundle of `{package}`: there is {}", ids.join(", "))]
    NoBundle {
        glob: String,
        package: PackageName,
        /// The bundles that there are.
        ids: Vec<String>,
    },
    /// A release whose variants name a blob that its list does not have.
    #[error("the release has no blob {blob}, which one of its variants names")]
    UnlistedBlob { blob: Digest },
    /// Segments that do not fit their blob.
    #[error("the release describes blob {blob} wrongly")]
    Segments {
        blob: Digest,
        #[source]
        source: SegmentError,
    },
    /// Bytes that came wrong again and again.
    #[error(
        "digest mismatch: {} at {offset} of blob {blob}: expected blake3:{expected}, received blake3:{received} ({length} bytes from `{remote}`)",
        tensor_or_bytes(tensor.as_deref())
    )]
    DamagedSegment {
        blob: Digest,
        /// First byte of the segment.
        offset: u64,
        length: u64,
        /// The tensor whose bytes these are, where it is known.
        tensor: Option<String>,
        expected: Blake3,
        received: Blake3,
        remote: String,
    },
    /// A blob that came wrong again and again.
    #[error("digest mismatch: expected sha256:{expected}, received sha256:{received} ({size} bytes from `{remote}`)")]
    DamagedBlob { expected: Digest, received: Digest, size: u64, remote: String },
    /// The file at the remote changes all the time.
    #[error("blob {blob} changed at `{remote}` while it was read, {times} times")]
    KeepsChanging {
        blob: Digest,
        remote: String,
        /// How often it was tried.
        times: usize,
    },
    /// Blobs that are neither here nor may be asked for.
    #[error("{} of `{package}@{version}` ({bytes} bytes) {} not in the store, and no remote may be asked", counted(*count, "file"), if *count == 1 { "is" } else { "are" })]
    NotHere {
        package: PackageName,
        version: Box<Version>,
        /// How many blobs.
        count: usize,
        /// Their bytes that are missing.
        bytes: u64,
    },
    /// A placed name that is no name for a file.
    #[error("`{variant}` cannot be placed as `{name}`: it is not the name of a single file or folder")]
    PlacedName { variant: String, name: String },
    /// Two things that would get the same place on some file system.
    #[error("`{}` and `{}` cannot both be placed in `{place}`: {}", clash.first, clash.second, clash.why)]
    Collision {
        place: String,
        /// The two, and how they clash.
        clash: PathClash,
    },
    /// Something in a managed folder that is a link, or no plain file or folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Blobs that the disk of the store has no room for.
    #[error("`{release}` needs {}, `{}` has {} free: the blob {blob} alone has {}", told_bytes(*needs), home.display(), told_bytes(*free), told_bytes(*size))]
    NoRoom {
        release: String,
        /// Bytes that are missing.
        needs: u64,
        home: PathBuf,
        /// Bytes that its disk has free.
        free: u64,
        /// The largest of the missing blobs.
        blob: Digest,
        /// Its length by the release.
        size: u64,
    },
    /// More bytes than one plan may have.
    #[error("the release asks for {} at once, which is more than any machine holds: the blob {blob} alone has {}", told_bytes(*needs), told_bytes(*size))]
    TooMuch {
        /// Bytes that are asked for.
        needs: u64,
        blob: Digest,
        /// Its length by the release.
        size: u64,
    },
    /// Something in the destination that was not placed by mlreg.
    #[error("`{}` is in the way: it was not placed by mlreg and is not what would be placed there", path.display())]
    InTheWay { path: PathBuf },
    /// A folder that was placed for another floor.
    #[error("`{}` was placed for {}, and is now asked for {}: a destination has one deployment target", folder.display(), floor_name(*placed), floor_name(*asked))]
    SecondFloor {
        folder: PathBuf,
        /// What it was placed for.
        placed: Option<Target>,
        asked: Option<Target>,
    },
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Work on the disk that was given up because the program ends.
    #[error("the work on the disk was cut short")]
    Interrupted {
        #[source]
        source: tokio::task::JoinError,
    },
}

/// The floor that would fit, as the platform at hand counts it.
fn floor_hint(error: &SelectError, platform: Option<Platform>) -> Option<String> {
    let (SelectError::Floor { fits, .. }, Some(platform)) = (error, platform) else { return None };
    let os = fits.floor_on(platform).filter(|os| os.to_string() != fits.name())?;
    Some(format!("the floor {os} ({fits}) fits; or select other variants"))
}

fn join(versions: &[Version]) -> String {
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn tensor_or_bytes(tensor: Option<&str>) -> String {
    tensor.map_or_else(|| "the bytes".to_owned(), |tensor| format!("tensor `{tensor}`"))
}

fn floor_name(floor: Option<Target>) -> String {
    floor.map_or_else(|| "every deployment target".to_owned(), |target| format!("`{target}`"))
}

impl FetchError {
    /// Wraps an IO error with what was tried, for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Remote(error) => error.hint(),
            Self::Selection { source, platform, .. } => floor_hint(source, *platform).or_else(|| source.hint()),
            Self::Release { source, .. } => source.hint(),
            Self::Folder(error) => error.hint(),
            Self::NoRoom { .. } => Some(
                "make room, e.g. with `mlreg gc --budget SIZE`, choose another `--home`, or ask for fewer variants; a remote that claims sizes which its blobs do not have is found with `mlreg verify URL`".to_owned(),
            ),
            Self::Floor(TargetError::TooOld { lowest, .. }) => {
                Some(format!("the floor {lowest} fits, if the package has bundles for it: `mlreg show PACKAGE` lists what there is"))
            }
            Self::TooOld { floor, offered, .. } => {
                let fits = offered.iter().filter_map(|(_, targets)| targets.first().copied()).max()?;
                Some(format!("the floor {} fits; or select other variants", fits.floor_on(floor.platform)?))
            }
            Self::NoVersion { package, versions, .. } => {
                let version = versions.iter().max().filter(|version| !version.pre.is_empty())?;
                Some(format!("pre-releases are taken where they are asked for: `{package}@{version}`"))
            }
            Self::NoPackage { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::NoPackage { .. } => {
                Some("`mlreg list` shows the packages of the store, `mlreg list --from URL` those of a remote".to_owned())
            }
            Self::DamagedSegment { remote, .. } | Self::DamagedBlob { remote, .. } | Self::KeepsChanging { remote, .. } => {
                Some(format!("the wrong bytes were discarded; `mlreg verify {remote}` checks the remote"))
            }
            Self::NoRelease { .. } => Some("fetch it once without `--offline`".to_owned()),
            Self::NotHere { .. } => Some("fetch without `--offline`, or ask for fewer variants".to_owned()),
            Self::InTheWay { path } => Some(format!("move `{}` away, or choose another `--out`", path.display())),
            Self::SecondFloor { placed, .. } => {
                let again = placed.map_or_else(|| "leave `--target` out".to_owned(), |target| format!("ask for `--target {target}`"));
                Some(format!("{again}, choose another `out`, or remove the folder"))
            }
            _ => None,
        }
    }
}
