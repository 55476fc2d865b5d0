//! `xcode`: writes the files of a build phase beside an app's manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde::Serialize;

use super::{
    AppError,
    project::Project,
    resolve::{Policy, Resolver, locked_sources},
};
use crate::{
    app::{AppPackage, Lock, LockedPackage, PhasePaths, SCRIPT_NAME, phase_files, phase_steps},
    base::{OsFloor, PackageName, Target},
    fetch::{FetchError, Named, Proof},
    manifest::select,
    workflow::{
        Context, Error,
        codegen::{refuse_link, write},
        fetch::Finder,
    },
};

/// How to write a build phase.
#[derive(Debug, Clone)]
pub struct XcodeOptions {
    /// Where the files go, from the working directory.
    pub out: PathBuf,
    /// The folder of the Xcode project, from the working directory; none: the manifest's.
    pub project: Option<PathBuf>,
    /// The lowest OS, whatever the manifest says.
    pub floor: Option<OsFloor>,
    /// Use the store alone.
    pub offline: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct XcodeReport {
    /// The files, and whether each changed.
    pub files: BTreeMap<PathBuf, bool>,
    /// Number of paths that the phase declares as its outputs.
    pub outputs: u64,
    /// What to do in Xcode.
    pub steps: String,
}

/// Writes the script, the lists and the dependency file of a build phase; what is as it should be stays untouched.
///
/// # Errors
/// What [`fetch_app`](super::fetch_app) says about manifest and lock; `Floors` where the files depend on a floor that nobody gave.
pub fn xcode(context: &Context, options: &XcodeOptions) -> Result<XcodeReport, Error> {
    let root = Project::open(context.directory())?.root;
    let _held = Project::hold(&root, context.store())?;
    let project = Project::open(&root)?;
    let policy = Policy { offline: options.offline, frozen: None, dry_run: false };
    let lock = Resolver { context, project: &project, policy }.lock()?;
    project.write_lock(&lock)?;
    let scripts = plain(&context.directory().join(&options.out));
    let srcroot = options.project.as_ref().map_or_else(|| root.clone(), |project| plain(&context.directory().join(project)));
    let paths = PhasePaths { project: &srcroot, manifest: &root, scripts: &scripts };
    let outputs = Phase { context, options, project: &project }.outputs(&lock)?;
    let texts = phase_files(paths, outputs.iter().map(PathBuf::as_path));
    for path in texts.keys().map(|name| scripts.join(name)) {
        refuse_link(&path).map_err(AppError::io("write", &path))?;
    }
    let mut files = BTreeMap::new();
    for (name, text) in texts {
        let path = scripts.join(name);
        let changed = write(&path, &text, if name == SCRIPT_NAME { 0o755 } else { 0o644 }).map_err(AppError::io("write", &path))?;
        files.insert(path, changed);
    }
    Ok(XcodeReport { files, outputs: outputs.len() as u64, steps: phase_steps(paths) })
}

struct Phase<'a> {
    context: &'a Context,
    options: &'a XcodeOptions,
    project: &'a Project,
}

impl Phase<'_> {
    /// Every file and folder that a fetch writes.
    fn outputs(&self, lock: &Lock) -> Result<BTreeSet<PathBuf>, Error> {
        let mut outputs = BTreeSet::new();
        for (name, package) in &self.project.manifest.packages {
            let paths = self.package(name, package, &lock.packages[name]).map_err(|error| self.project.at(package, error))?;
            let out = plain(&self.project.root.join(&package.out));
            let folder = out.join(name.as_str());
            outputs.extend(paths.iter().map(|path| folder.join(path)));
            let own = |parent: &&Path| parent.starts_with(&self.project.root) && *parent != self.project.root;
            outputs.extend(folder.ancestors().take_while(own).map(Path::to_owned));
        }
        Ok(outputs)
    }

    /// Paths in the package's folder. Without a floor they have to be the same for every one.
    fn package(&self, name: &PackageName, package: &AppPackage, entry: &LockedPackage) -> Result<BTreeSet<String>, Error> {
        let floor = self.options.floor.or(package.target);
        if let Some(floor) = floor {
            return self.paths(name, package, entry, floor.target().map_err(FetchError::from)?);
        }
        let mut found: Option<BTreeSet<String>> = None;
        for target in entry.variants.keys().flatten() {
            let paths = self.paths(name, package, entry, *target)?;
            if found.replace(paths.clone()).is_some_and(|other| other != paths) {
                return Err(AppError::Floors { package: name.clone() }.into());
            }
        }
        Ok(found.unwrap_or_default())
    }

    fn paths(&self, name: &PackageName, package: &AppPackage, entry: &LockedPackage, floor: Target) -> Result<BTreeSet<String>, Error> {
        let sources = locked_sources(self.context, package, entry, self.options.offline);
        let found = Finder::new(self.context, name, &sources, &package.wanted).pinned(&entry.version, entry.release)?;
        let mut selection = package.wanted.selection(Some(floor)).map_err(FetchError::from)?;
        if found.is_chosen {
            selection.variants.clear();
        }
        let release = format!("{name}@{}", entry.version);
        let platform = self.options.floor.or(package.target).map(|floor| floor.platform);
        let chosen = select(&found.release, &selection).map_err(|source| FetchError::Selection { release, platform, source })?;
        let named: Vec<Named<'_>> = chosen.iter().map(|chosen| Named { name: chosen.path.as_str(), variant: chosen.variant }).collect();
        Ok(Proof::new(&found.release, entry.release, Some(floor), package.layout, &named)?.paths())
    }
}

/// An absolute path without `.` and `..`; links are not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}
