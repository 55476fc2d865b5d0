//! `xcode`: writes the files of a build phase beside an app's manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde::Serialize;

use super::{
    AppError,
    edit::not_toml,
    project::Project,
    resolve::{Policy, Resolver, locked_sources},
};
use crate::{
    app::{
        AppPackage, BuildPhase, Lock, LockedPackage, OUTPUTS_NAME, PhasePaths, SCRIPT_NAME, phase_files, phase_steps,
        relative, set_phase,
    },
    base::{AtomicFile, OsFloor, PackageName, Target},
    fetch::{FetchError, Named, Proof},
    manifest::select,
    workflow::{
        Context, Error,
        codegen::{refuse_link, write},
        fetch::Finder,
    },
};

/// Where the files go if nobody says.
const DEFAULT_FOLDER: &str = "Scripts";

/// How to write a build phase.
#[derive(Debug, Clone)]
pub struct XcodeOptions {
    /// Where the files go, from the working directory; none: where the manifest says, else `Scripts`.
    pub out: Option<PathBuf>,
    /// The folder of the Xcode project, from the working directory; none: what `[xcode]` says, else the manifest's.
    pub project: Option<PathBuf>,
    /// The lowest OS, whatever the packages say; none: what `[xcode]` says.
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

/// What became of a build phase's files after the lock changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseUpdate {
    /// The folder of the files.
    pub folder: PathBuf,
    /// The files that changed.
    pub changed: Vec<PathBuf>,
    /// Why they are as they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Writes the script, the lists and the dependency file of a build phase; what is as it should be stays untouched. The
/// manifest remembers where they are, so that whatever changes the lock writes them anew.
///
/// # Errors
/// What [`fetch_app`](super::fetch_app) says about manifest and lock; `Floors` where the files depend on a floor that
/// nobody gave.
pub fn xcode(context: &Context, options: &XcodeOptions) -> Result<XcodeReport, Error> {
    let root = Project::open(context.directory())?.root;
    let _held = Project::hold(&root, context.store())?;
    let project = Project::open(&root)?;
    let policy = Policy { offline: options.offline, frozen: None, dry_run: false };
    let lock = Resolver { context, project: &project, policy }.lock()?;
    project.write_lock(&lock)?;
    let from_root = |path: &Path| PathBuf::from(relative(&root, &plain(&context.directory().join(path))));
    let known = project.manifest.phase.clone();
    let own = BuildPhase {
        out: match (&options.out, &known) {
            (Some(out), _) => from_root(out),
            (None, Some(known)) => known.out.clone(),
            (None, None) => from_root(Path::new(DEFAULT_FOLDER)),
        },
        project: options.project.as_deref().map(from_root).or_else(|| known.as_ref()?.project.clone()),
        target: options.floor.or_else(|| known.as_ref()?.target),
    };
    let phase = Phase { context, project: &project, settings: &own, offline: options.offline };
    let (files, outputs) = phase.write(&lock)?;
    if known.as_ref() != Some(&own) {
        let text = set_phase(&project.text, &own).map_err(|error| not_toml(&project, &error))?;
        let path = project.manifest_path();
        AtomicFile::write_through_links(&path, text.as_bytes()).map_err(AppError::io("write", &path))?;
    }
    let (srcroot, scripts) = (phase.srcroot(), phase.scripts());
    let paths = PhasePaths { project: &srcroot, manifest: &root, scripts: &scripts };
    let folders: Vec<PathBuf> =
        project.manifest.packages.values().map(|package| plain(&root.join(&package.out))).collect();
    Ok(XcodeReport { files, outputs, steps: phase_steps(paths, folders.iter().map(PathBuf::as_path)) })
}

/// Writes the files of the project's build phase anew, after its lock changed; nothing where it has none.
pub(super) fn refresh(context: &Context, project: &Project, lock: &Lock, offline: bool) -> Option<PhaseUpdate> {
    let is_default = || project.root.join(DEFAULT_FOLDER).join(OUTPUTS_NAME).is_file();
    let default = || BuildPhase { out: DEFAULT_FOLDER.into(), project: None, target: None };
    let settings = project.manifest.phase.clone().or_else(|| is_default().then(default))?;
    let phase = Phase { context, project, settings: &settings, offline };
    let folder = phase.scripts();
    // Who has deleted the files does not want them back.
    if !folder.join(OUTPUTS_NAME).is_file() {
        return None;
    }
    let (changed, problem) = match phase.write(lock) {
        Ok((files, _)) => (files.into_iter().filter(|(_, changed)| *changed).map(|(path, _)| path).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Some(PhaseUpdate { folder, changed, problem })
}

struct Phase<'a> {
    context: &'a Context,
    project: &'a Project,
    settings: &'a BuildPhase,
    offline: bool,
}

impl Phase<'_> {
    fn scripts(&self) -> PathBuf {
        plain(&self.project.root.join(&self.settings.out))
    }

    fn srcroot(&self) -> PathBuf {
        self.settings
            .project
            .as_ref()
            .map_or_else(|| self.project.root.clone(), |project| plain(&self.project.root.join(project)))
    }

    /// Every file and whether it changed, and the number of outputs.
    fn write(&self, lock: &Lock) -> Result<(BTreeMap<PathBuf, bool>, u64), Error> {
        let (srcroot, scripts) = (self.srcroot(), self.scripts());
        let paths = PhasePaths { project: &srcroot, manifest: &self.project.root, scripts: &scripts };
        let outputs = self.outputs(lock)?;
        let texts = phase_files(paths, outputs.iter().map(PathBuf::as_path));
        for path in texts.keys().map(|name| scripts.join(name)) {
            refuse_link(&path).map_err(AppError::io("write", &path))?;
        }
        let mut files = BTreeMap::new();
        for (name, text) in texts {
            let path = scripts.join(name);
            let changed = write(&path, &text, if name == SCRIPT_NAME { 0o755 } else { 0o644 })
                .map_err(AppError::io("write", &path))?;
            files.insert(path, changed);
        }
        Ok((files, outputs.len() as u64))
    }

    /// Every file and folder that a fetch writes.
    fn outputs(&self, lock: &Lock) -> Result<BTreeSet<PathBuf>, Error> {
        let mut outputs = BTreeSet::new();
        for (name, package) in &self.project.manifest.packages {
            let paths =
                self.package(name, package, &lock.packages[name]).map_err(|error| self.project.at(package, error))?;
            let out = plain(&self.project.root.join(&package.out));
            let folder = out.join(name.as_str());
            outputs.extend(paths.iter().map(|path| folder.join(path)));
            let own = |parent: &&Path| parent.starts_with(&self.project.root) && *parent != self.project.root;
            outputs.extend(folder.ancestors().take_while(own).map(Path::to_owned));
        }
        Ok(outputs)
    }

    /// Paths in the package's folder. Without a floor they have to be the same for every one.
    fn package(
        &self,
        name: &PackageName,
        package: &AppPackage,
        entry: &LockedPackage,
    ) -> Result<BTreeSet<String>, Error> {
        let floor = self.settings.target.or(package.target);
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

    fn paths(
        &self,
        name: &PackageName,
        package: &AppPackage,
        entry: &LockedPackage,
        floor: Target,
    ) -> Result<BTreeSet<String>, Error> {
        let sources = locked_sources(self.context, package, entry, self.offline);
        let found = Finder::new(self.context, name, &sources, &package.wanted).pinned(&entry.version, entry.release)?;
        let mut selection = package.wanted.selection(Some(floor)).map_err(FetchError::from)?;
        if found.is_chosen {
            selection.variants.clear();
        }
        let release = format!("{name}@{}", entry.version);
        let platform = self.settings.target.or(package.target).map(|floor| floor.platform);
        let chosen =
            select(&found.release, &selection).map_err(|source| FetchError::Selection { release, platform, source })?;
        let named: Vec<Named<'_>> =
            chosen.iter().map(|chosen| Named { name: chosen.path.as_str(), variant: chosen.variant }).collect();
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
