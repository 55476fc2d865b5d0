//! `add`, `remove`, `update`: change `mlreg.toml` and `mlreg.lock` together. Nothing is written before the new lock is
//! known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use semver::{BuildMetadata, Version};
use serde::Serialize;

use super::{
    AppError,
    project::Project,
    resolve::{Policy, Resolver},
    xcode::{PhaseUpdate, refresh},
};
use crate::{
    app::{Changes, Lock, LockedPackage, MANIFEST_NAME, remove_package, set_package},
    base::{AtomicFile, Digest, PackageName},
    fetch::{check_others, forget_others},
    manifest::{ManifestError, Problem},
    workflow::{Context, Error},
};

/// A package to add, or to change.
#[derive(Debug, Clone)]
pub struct AddOptions {
    /// The package.
    pub package: PackageName,
    /// Which versions will do, as it is to stand in the manifest; none: what is compatible with the highest.
    pub requirement: Option<String>,
    /// What else to write about it. Sources that are relative folders start at the working directory.
    pub changes: Changes,
    /// Use the store alone.
    pub offline: bool,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddReport {
    /// The manifest.
    pub manifest: PathBuf,
    /// The package.
    pub package: PackageName,
    /// The version that the lock has now.
    pub version: Version,
    /// The sha256 of its release manifest.
    pub release: Digest,
    /// Whether it is new in the manifest.
    pub is_new: bool,
    /// What became of the files of a build phase of Xcode, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xcode: Option<PhaseUpdate>,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoveReport {
    /// The manifest.
    pub manifest: PathBuf,
    /// The packages.
    pub packages: Vec<PackageName>,
    /// Folders that were removed with them.
    pub removed: Vec<PathBuf>,
    /// What became of the files of a build phase of Xcode, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xcode: Option<PhaseUpdate>,
}

/// What to update.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// Packages; none: all.
    pub packages: Vec<PackageName>,
    /// Use the store alone.
    pub offline: bool,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What was updated, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdateReport {
    /// The manifest.
    pub manifest: PathBuf,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// The packages that were asked for, by name.
    pub packages: Vec<UpdatedPackage>,
    /// What became of the files of a build phase of Xcode, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xcode: Option<PhaseUpdate>,
}

/// A package before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdatedPackage {
    /// The package.
    pub package: PackageName,
    /// The version before; none: it was not locked.
    pub from: Option<Version>,
    /// The version now.
    pub to: Version,
    /// Whether its entry in the lock changed.
    pub changed: bool,
}

/// Adds a package to the app's manifest, which is made where there is none, and to its lock.
///
/// # Errors
/// When no source has a version that will do or the selection comes to nothing; then nothing was written.
pub fn add(context: &Context, options: &AddOptions) -> Result<AddReport, Error> {
    let directory = context.directory();
    let root = Project::find(directory).unwrap_or_else(|| directory.to_owned());
    let _held = Project::hold(&root, context.store())?;
    let path = root.join(MANIFEST_NAME);
    let text =
        if path.exists() { fs::read_to_string(&path).map_err(AppError::io("read", &path))? } else { String::new() };
    let before = Project::with_text(root.clone(), text)?;
    let name = &options.package;
    let mut changes = options.changes.clone();
    changes.from = changes.from.iter().map(|from| from_root(from, directory, &root)).collect();
    changes.version = options.requirement.clone();
    let is_new = !before.manifest.packages.contains_key(name);
    let mut project = edited(&before, name, &changes).map_err(|error| without_source(error, name))?;
    let entry = newest(context, &project, name, options.offline)?;
    if options.requirement.is_none() && is_new {
        // What is compatible with the version, not one build of it.
        changes.version = Some(Version { build: BuildMetadata::EMPTY, ..entry.version.clone() }.to_string());
        project = edited(&before, name, &changes)?;
    }
    let resolver = Resolver { context, project: &project, policy: policy(options.offline, false) };
    let mut lock = project.lock.clone();
    lock.packages.insert(name.clone(), entry.clone());
    let project = Project { lock, ..project.clone() };
    let lock = Resolver { project: &project, ..resolver }.lock()?;
    AtomicFile::write_through_links(&path, project.text.as_bytes()).map_err(AppError::io("write", &path))?;
    project.write_lock(&lock)?;
    let xcode = refresh(context, &project, &lock, options.offline);
    Ok(AddReport {
        manifest: path,
        package: name.clone(),
        version: entry.version,
        release: entry.release,
        is_new,
        xcode,
    })
}

/// Removes packages from the app's manifest and lock, and the folders that were placed for them.
///
/// # Errors
/// `NotListed`; then nothing was written.
pub fn remove(context: &Context, packages: &[PackageName]) -> Result<RemoveReport, Error> {
    let root = Project::open(context.directory())?.root;
    let _held = Project::hold(&root, context.store())?;
    let before = Project::open(&root)?;
    let mut text = before.text.clone();
    for name in packages {
        before.package(name)?;
        text = remove_package(&text, name).map_err(|error| not_toml(&before, &error))?.unwrap_or(text);
    }
    let project = Project::with_text(root, text)?;
    let mut lock = project.lock.clone();
    lock.packages.retain(|name, _| !packages.contains(name));
    let kept = project.members(|package| project.root.join(&package.out)).into_keys().collect();
    check_others(context.store(), &project.root, &kept)?;
    let path = project.manifest_path();
    AtomicFile::write_through_links(&path, project.text.as_bytes()).map_err(AppError::io("write", &path))?;
    project.write_lock(&lock)?;
    let removed = forget_others(context.store(), &project.root, &kept)?;
    let xcode = refresh(context, &project, &lock, false);
    Ok(RemoveReport { manifest: path, packages: packages.to_vec(), removed, xcode })
}

/// Moves the lock to the highest versions within the manifest's requirements.
///
/// # Errors
/// `NotListed`, `Rewritten`, and what the sources say.
pub fn update(context: &Context, options: &UpdateOptions) -> Result<UpdateReport, Error> {
    let root = Project::open(context.directory())?.root;
    let _held = Project::hold(&root, context.store())?;
    let project = Project::open(&root)?;
    options.packages.iter().try_for_each(|name| project.package(name).map(drop))?;
    let asked = |name: &PackageName| options.packages.is_empty() || options.packages.contains(name);
    let mut lock = Lock::default();
    let mut packages = Vec::new();
    for (name, package) in &project.manifest.packages {
        let old = project.lock.packages.get(name);
        if !asked(name) {
            lock.packages.extend(old.map(|old| (name.clone(), old.clone())));
            continue;
        }
        let resolver = Resolver { context, project: &project, policy: policy(options.offline, options.dry_run) };
        let entry = resolver.newest(name, package).map_err(|error| project.at(package, error))?;
        let (from, to) = (old.map(|old| old.version.clone()), entry.version.clone());
        packages.push(UpdatedPackage { package: name.clone(), from, to, changed: old != Some(&entry) });
        lock.packages.insert(name.clone(), entry);
    }
    let mut xcode = None;
    if !options.dry_run {
        project.write_lock(&lock)?;
        xcode = refresh(context, &project, &lock, options.offline);
    }
    Ok(UpdateReport { manifest: project.manifest_path(), dry_run: options.dry_run, packages, xcode })
}

/// The text in which the source is missing is not written yet, so that its place would lead nowhere.
fn without_source(error: AppError, name: &PackageName) -> AppError {
    match error {
        AppError::Manifest(ManifestError { problem, .. })
            if matches!(*problem, Problem::MissingKey { key: "from", .. }) =>
        {
            AppError::NoSource { package: name.clone() }
        }
        error => error,
    }
}

fn policy(offline: bool, dry_run: bool) -> Policy {
    Policy { offline, frozen: None, dry_run }
}

fn edited(project: &Project, name: &PackageName, changes: &Changes) -> Result<Project, AppError> {
    let text = set_package(&project.text, name, changes).map_err(|error| not_toml(project, &error))?;
    Project::with_text(project.root.clone(), text)
}

/// The manifest was read before, so that this does not happen.
pub(super) fn not_toml(project: &Project, error: &dyn std::error::Error) -> AppError {
    let problem = Box::new(Problem::Syntax { message: error.to_string() });
    ManifestError { file: project.manifest_path().display().to_string(), line: 1, column: 1, problem }.into()
}

fn newest(context: &Context, project: &Project, name: &PackageName, offline: bool) -> Result<LockedPackage, Error> {
    let resolver = Resolver { context, project, policy: policy(offline, false) };
    resolver.newest(name, project.package(name)?)
}

/// A source as it is to stand in the manifest: a relative folder starts at the manifest's.
fn from_root(from: &str, directory: &Path, root: &Path) -> String {
    if from.contains("://") || Path::new(from).is_absolute() || directory == root {
        return from.to_owned();
    }
    let below = directory.strip_prefix(root).unwrap_or(Path::new(""));
    let mut parts: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
    for part in from.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_sources_start_at_the_manifest() {
        let from = |from: &str| from_root(from, Path::new("/app/ios/x"), Path::new("/app"));
        assert_eq!(
            [from("r"), from("../r"), from("../../../r"), from("../.."), from("/r"), from("https://h/r")],
            ["ios/x/r", "ios/r", "../r", ".", "/r", "https://h/r"]
        );
        assert_eq!(from_root("./r", Path::new("/app"), Path::new("/app")), "./r");
    }
}
