//! `rm`: deletes releases from the store. The next `gc` deletes their blobs, unless another release has them.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::Serialize;

use super::{Context, Error};
use crate::{
    base::{Digest, PackageName},
    manifest::{nearest, release::Release},
    store::{Store, StoreError},
};

/// A package and, where it is said, one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RmSubject {
    /// The package.
    pub package: PackageName,
    /// The version; none: the only one, or with [`RmOptions::all`] all of them.
    pub version: Option<Version>,
}

/// What to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RmOptions {
    /// Packages and versions.
    pub subjects: Vec<RmSubject>,
    /// Whether a package without a version means all of its versions.
    pub all: bool,
    /// Only say what would be deleted.
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RmReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The releases, in the order of the command line.
    pub releases: Vec<RemovedRelease>,
    /// Bytes of blobs that no other release of the store has: what the next `gc` frees.
    pub unneeded_bytes: u64,
}

/// A release that was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedRelease {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The sha256 of its manifest.
    pub release: Digest,
    /// Whether it was built here.
    pub built: bool,
    /// The remotes that have it, from which it can be fetched again.
    pub remotes: BTreeSet<String>,
}

/// Who needs a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Holder {
    /// A folder holds bundles of it.
    #[error("the folder `{0}` holds bundles of it")]
    Folder(String),
    /// A pin holds it.
    #[error("`{holder}` has pinned `{subject}`")]
    Pin {
        /// Who pinned it.
        holder: String,
        /// What was pinned.
        subject: String,
    },
}

/// Why a release cannot be deleted.
#[derive(Debug, thiserror::Error)]
pub enum RmError {
    /// No such package.
    #[error("the store has no package `{package}`")]
    NoPackage {
        /// What was asked for.
        package: PackageName,
        /// Every package that there is.
        known: Vec<String>,
    },
    /// No such version.
    #[error("the store has no `{package}@{version}`: there is {}", join(known))]
    NoVersion {
        /// The package.
        package: PackageName,
        /// What was asked for.
        version: Box<Version>,
        /// The versions that there are.
        known: Vec<Version>,
    },
    /// A package of several versions, and none was named.
    #[error("`{package}` has {} versions: {}", known.len(), join(known))]
    Several {
        /// The package.
        package: PackageName,
        /// The versions that there are.
        known: Vec<Version>,
    },
    /// A release that a folder or a pin holds.
    #[error("`{package}@{version}` is in use: {}", holders.iter().map(Holder::to_string).collect::<Vec<_>>().join("; "))]
    Held {
        /// The package.
        package: PackageName,
        /// Its version.
        version: Box<Version>,
        /// Who needs it.
        holders: Vec<Holder>,
    },
}

fn join(versions: &[Version]) -> String {
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}

impl RmError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPackage { package, known } => {
                let near = nearest(package.as_str(), known.iter().map(String::as_str), 1);
                Some(near.first().map_or_else(
                    || "`mlreg list` shows what there is".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ))
            }
            Self::NoVersion { .. } => None,
            Self::Several { package, known } => {
                let last = known.last().map(Version::to_string).unwrap_or_default();
                Some(format!("name one, e.g. `mlreg rm {package}@{last}`, or delete all of them with `--all`"))
            }
            Self::Held { holders, .. } => holders.first().map(|holder| match holder {
                Holder::Folder(folder) => {
                    format!("delete the folder `{folder}` first, or `mlreg remove` the package from its app")
                }
                Holder::Pin { holder, .. } => {
                    format!("end the pin first: `mlreg unpin ... --holder {holder}`; `mlreg pin` lists all pins")
                }
            }),
        }
    }
}

/// Deletes releases: all that are named, or none.
///
/// # Errors
/// `NoPackage`, `NoVersion`, `Several`, `Held`, and what the store says.
pub fn rm(context: &Context, options: &RmOptions) -> Result<RmReport, Error> {
    let store = context.store();
    // Looking for what is not there makes no home.
    let _guard = store.home().is_dir().then(|| store.writing()).transpose()?;
    let mut releases: Vec<RemovedRelease> = Vec::new();
    for subject in &options.subjects {
        for version in versions(store, subject, options.all)? {
            let release = look(store, &subject.package, &version)?;
            if !releases.contains(&release) {
                releases.push(release);
            }
        }
    }
    releases.iter().try_for_each(|release| free(store, release))?;
    let unneeded_bytes = unneeded(store, &releases)?;
    if !options.dry_run {
        for release in &releases {
            store.remove_release(&release.package, &release.version)?;
        }
    }
    Ok(RmReport { dry_run: options.dry_run, releases, unneeded_bytes })
}

fn versions(store: &Store, subject: &RmSubject, all: bool) -> Result<Vec<Version>, Error> {
    let RmSubject { package, version } = subject;
    let known = store.releases(package)?;
    let package = package.clone();
    Ok(match version {
        _ if known.is_empty() => {
            let known = store.packages()?.iter().map(PackageName::to_string).collect();
            return Err(RmError::NoPackage { package, known }.into());
        }
        Some(version) if known.contains(version) => vec![version.clone()],
        Some(version) => return Err(RmError::NoVersion { package, version: Box::new(version.clone()), known }.into()),
        None if known.len() > 1 && !all => return Err(RmError::Several { package, known }.into()),
        None => known,
    })
}

fn look(store: &Store, package: &PackageName, version: &Version) -> Result<RemovedRelease, Error> {
    let gone =
        || RmError::NoVersion { package: package.clone(), version: Box::new(version.clone()), known: Vec::new() };
    let (release, _) = store.release(package, version)?.ok_or_else(gone)?;
    let origin = store.release_origin(package, version)?.ok_or_else(gone)?;
    let (package, version, remotes) = (package.clone(), version.clone(), origin.remotes().clone());
    Ok(RemovedRelease { package, version, release, built: origin.is_built(), remotes })
}

/// Checks that no folder and no pin holds the release.
fn free(store: &Store, release: &RemovedRelease) -> Result<(), Error> {
    let placements = store.placements()?.into_iter();
    let placed =
        placements.filter(|placement| placement.releases.contains(&release.release) && placement.folder.is_dir());
    let mut holders: Vec<Holder> =
        placed.map(|placement| Holder::Folder(placement.folder.display().to_string())).collect();
    for (holder, pins) in store.pins()?.holders {
        let own = pins.iter().filter(|pin| pin.held.iter().any(|key| key.release == release.release));
        holders.extend(own.map(|pin| Holder::Pin { holder: holder.clone(), subject: pin.subject.to_string() }));
    }
    if holders.is_empty() {
        return Ok(());
    }
    let (package, version) = (release.package.clone(), Box::new(release.version.clone()));
    Err(RmError::Held { package, version, holders }.into())
}

/// Bytes in the store of blobs that only these releases have.
fn unneeded(store: &Store, removed: &[RemovedRelease]) -> Result<u64, Error> {
    let removed: BTreeSet<Digest> = removed.iter().map(|release| release.release).collect();
    let (mut gone, mut needed) = (BTreeMap::new(), BTreeSet::new());
    for package in store.packages()? {
        for version in store.releases(&package)? {
            // One whose manifest is damaged names no blobs, and is no reason to keep others.
            let found = match store.release(&package, &version) {
                Err(StoreError::DamagedRecord { .. }) => continue,
                found => found?,
            };
            let Some((digest, bytes)) = found else { continue };
            let Ok(release) = Release::parse(&bytes) else { continue };
            if removed.contains(&digest) {
                gone.extend(release.blobs.keys().filter_map(|blob| Some((*blob, store.blob_size(blob)?))));
            } else {
                needed.extend(release.blobs.into_keys());
            }
        }
    }
    Ok(gone.iter().filter(|(blob, _)| !needed.contains(*blob)).map(|(_, size)| *size).fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Origin, Placement, Segmentation, Subject, VariantKey};

    struct Home {
        folder: tempfile::TempDir,
        context: Context,
    }

    /// `tae` in two versions that share a blob, `other` in one.
    fn home() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(&folder.path().join("home"), folder.path().to_owned()).unwrap();
        let put = |package: &str, version: &str, blobs: &[&[u8]], origin: Origin| {
            let store = context.store();
            let blobs = blobs.iter().map(|bytes| {
                let stored = store.put(bytes, Segmentation::Whole).unwrap();
                (stored.digest.to_string(), serde_json::to_value(&stored.blob).unwrap())
            });
            let blobs: serde_json::Map<_, _> = blobs.collect();
            let release = serde_json::json!({
                "schema": "mlreg/release/1", "package": package, "version": version, "variants": [], "blobs": blobs,
            });
            store.put_release(&serde_json::to_vec(&release).unwrap(), origin).unwrap();
        };
        let built = || Origin::Built { published_to: BTreeSet::new() };
        put("tae", "1.0.0", &[&[1; 100], &[2; 1000]], built());
        put("tae", "1.1.0", &[&[1; 100], &[3; 2000]], Origin::Built { published_to: ["file:///r".to_owned()].into() });
        put("other", "1.0.0", &[&[4; 50]], Origin::Fetched { from: ["https://host/".to_owned()].into() });
        Home { folder, context }
    }

    impl Home {
        fn rm(&self, subject: &str, all: bool, dry_run: bool) -> Result<RmReport, Error> {
            let (package, version) =
                subject.split_once('@').map_or((subject, None), |(package, version)| (package, Some(version)));
            let subject = RmSubject {
                package: package.parse().unwrap(),
                version: version.map(|version| version.parse().unwrap()),
            };
            rm(&self.context, &RmOptions { subjects: vec![subject], all, dry_run })
        }

        fn release(&self, version: &str) -> Digest {
            self.context.store().release(&"tae".parse().unwrap(), &version.parse().unwrap()).unwrap().unwrap().0
        }

        fn versions(&self) -> usize {
            self.context.store().releases(&"tae".parse().unwrap()).unwrap().len()
        }
    }

    #[test]
    fn a_release_goes_and_its_own_bytes_with_the_next_collection() {
        let home = home();
        let report = home.rm("tae@1.0.0", false, true).unwrap();
        assert_eq!(
            (report.unneeded_bytes, report.releases[0].built, report.releases[0].remotes.len()),
            (1000, true, 0)
        );
        assert_eq!(home.versions(), 2);
        home.rm("tae@1.0.0", false, false).unwrap();
        assert_eq!(home.versions(), 1);
        let options = super::super::gc::GcOptions { dry_run: false, budget: None, now: std::time::SystemTime::now() };
        assert_eq!(
            super::super::gc::gc(&home.context, &options).unwrap().freed_bytes,
            1000 + 50,
            "and the fetched one"
        );
        assert_eq!(home.rm("tae", false, false).unwrap().unneeded_bytes, 2100, "the only version");
    }

    #[test]
    fn several_versions_have_to_be_meant() {
        let home = home();
        let error = home.rm("tae", false, false).unwrap_err();
        assert_eq!(error.to_string(), "`tae` has 2 versions: 1.0.0, 1.1.0");
        assert_eq!(error.hints(), ["name one, e.g. `mlreg rm tae@1.1.0`, or delete all of them with `--all`"]);
        let report = home.rm("tae", true, false).unwrap();
        assert_eq!((report.releases.len(), report.unneeded_bytes, home.versions()), (2, 3100, 0));
    }

    #[test]
    fn what_is_placed_or_pinned_stays_and_names_its_holder() {
        let home = home();
        let (store, digest) = (home.context.store(), home.release("1.0.0"));
        let folder = home.folder.path().join("app/tae");
        std::fs::create_dir_all(&folder).unwrap();
        let body = serde_json::Value::Null;
        store.put_placement(&Placement { folder: folder.clone(), releases: vec![digest], held: None, body }).unwrap();
        let subject = Subject { package: Some("tae".parse().unwrap()), tag: None };
        store.pin("ci", &subject, [VariantKey { release: digest, variant: "a".to_owned() }].into()).unwrap();
        let error = home.rm("tae", true, false).unwrap_err();
        let expected = format!(
            "`tae@1.0.0` is in use: the folder `{}` holds bundles of it; `ci` has pinned `tae`",
            folder.display()
        );
        assert_eq!((error.to_string(), home.versions()), (expected, 2), "all or none");
        store.unpin("ci", &subject).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        home.rm("tae@1.0.0", false, false).unwrap();
    }

    #[test]
    fn what_is_not_there_has_near_names() {
        let home = home();
        let error = home.rm("tea", false, false).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.hints()),
            ("the store has no package `tea`", vec!["did you mean `tae`?".to_owned()])
        );
        let error = home.rm("tae@2.0.0", true, false).unwrap_err();
        assert_eq!(error.to_string(), "the store has no `tae@2.0.0`: there is 1.0.0, 1.1.0");
    }
}
