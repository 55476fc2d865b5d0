//! What a build phase of Xcode needs to run `mlreg fetch`: a script, lists of its inputs and outputs, a Makefile dependency file.
//!
//! User script sandboxing allows a phase exactly the paths that it declares, each by itself, so every file and folder of every bundle is
//! listed. Lists and dependencies say nothing about a machine: `$(SRCROOT)` in the lists, paths from there in the dependency file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use super::{LOCK_NAME, MANIFEST_NAME};

/// The script of the phase.
pub const SCRIPT_NAME: &str = "mlreg.sh";
const INPUTS: &str = "mlreg-inputs.xcfilelist";
const OUTPUTS: &str = "mlreg-outputs.xcfilelist";
const DEPENDENCIES: &str = "mlreg.d";

/// Where things are. Paths are absolute, without `..`.
#[derive(Debug, Clone, Copy)]
pub struct PhasePaths<'a> {
    /// `$(SRCROOT)`: the folder of the Xcode project.
    pub project: &'a Path,
    /// The folder of `mlreg.toml`.
    pub manifest: &'a Path,
    /// Where the files of the phase go.
    pub scripts: &'a Path,
}

/// The files of a phase by name, for everything that `outputs` names; those are absolute.
pub fn phase_files<'a>(paths: PhasePaths<'_>, outputs: impl IntoIterator<Item = &'a Path>) -> BTreeMap<&'static str, String> {
    let inputs: Vec<String> = [paths.manifest.join(MANIFEST_NAME), paths.manifest.join(LOCK_NAME), paths.scripts.join(SCRIPT_NAME)]
        .iter()
        .map(|path| relative(paths.project, path))
        .collect();
    let outputs: BTreeSet<String> = outputs.into_iter().map(|path| relative(paths.project, path)).collect();
    BTreeMap::from([
        (SCRIPT_NAME, script(&relative(paths.scripts, paths.manifest))),
        (INPUTS, list("What the phase reads.", inputs.iter())),
        (OUTPUTS, list("Every file and folder that the phase writes.", outputs.iter())),
        (DEPENDENCIES, dependencies(&outputs, &inputs[..2])),
    ])
}

/// What to do in Xcode, for people.
pub fn phase_steps(paths: PhasePaths<'_>) -> String {
    let scripts = relative(paths.project, paths.scripts);
    let at = |name: &str| rooted(&format!("{scripts}/{name}"));
    format!(
        "In Xcode: the target > Build Phases > + > New Run Script Phase, dragged above \"Copy Bundle Resources\".\n\
         Shell script:             \"{}\"\n\
         Input File Lists:         {}\n\
         Output File Lists:        {}\n\
         Use discovered dependency file: {}\n\
         Leave \"Based on dependency analysis\" checked. Run `mlreg xcode` again whenever `{LOCK_NAME}` changes.\n",
        at(SCRIPT_NAME).replace("$(SRCROOT)", "${SRCROOT}"),
        at(INPUTS),
        at(OUTPUTS),
        at(DEPENDENCIES),
    )
}

fn list<'a>(head: &str, paths: impl Iterator<Item = &'a String>) -> String {
    let lines: String = paths.map(|path| rooted(path) + "\n").collect();
    format!("# Written by `mlreg xcode`. {head}\n{lines}")
}

fn rooted(path: &str) -> String {
    if Path::new(path).is_absolute() { path.to_owned() } else { format!("$(SRCROOT)/{path}") }
}

fn dependencies(outputs: &BTreeSet<String>, inputs: &[String]) -> String {
    let escaped = |path: &String| path.replace('\\', "\\\\").replace(' ', "\\ ").replace('#', "\\#").replace('$', "$$");
    let outputs: Vec<String> = outputs.iter().map(escaped).collect();
    let inputs: Vec<String> = inputs.iter().map(escaped).collect();
    if outputs.is_empty() { String::new() } else { format!("{}: {}\n", outputs.join(" \\\n  "), inputs.join(" ")) }
}

/// Xcode's environment has a short `PATH`, and its log takes a line with `error: ` for an error.
fn script(to_manifest: &str) -> String {
    format!(
        r#"#!/bin/sh
# Written by `mlreg xcode`: places what mlreg.lock says. Nothing is asked of the network where everything is in place.
set -eu
PATH="$PATH:${{HOME:-}}/.cargo/bin:/opt/homebrew/bin:/usr/local/bin"
export PATH
if ! command -v mlreg >/dev/null 2>&1; then
    echo "error: mlreg is not installed, or not in $PATH" >&2
    exit 1
fi
cd "$(dirname "$0")"/'{}'
exec mlreg fetch --locked "$@"
"#,
        to_manifest.replace('\'', "'\\''")
    )
}

/// `path` from `base` on, with `/`; absolute where they share nothing.
fn relative(base: &Path, path: &Path) -> String {
    let (mut from, mut to) = (base.components().peekable(), path.components().peekable());
    let mut shared = 0;
    while from.peek().is_some() && from.peek() == to.peek() {
        shared += usize::from(matches!(from.next(), Some(Component::Normal(_))));
        to.next();
    }
    if shared == 0 && path.is_absolute() && from.peek().is_some() {
        return path.display().to_string();
    }
    let up = from.map(|_| "..".to_owned());
    let parts: Vec<String> = up.chain(to.map(|part| part.as_os_str().to_string_lossy().into_owned())).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_project() {
        let from = |path: &str| relative(Path::new("/code/App"), Path::new(path));
        assert_eq!(
            [from("/code/App/Models/x"), from("/code/Models"), from("/code/App"), from("/other/x")],
            ["Models/x", "../Models", ".", "/other/x"]
        );
    }

    #[test]
    fn files_of_a_phase() {
        let paths = PhasePaths { project: Path::new("/w/App"), manifest: Path::new("/w/App"), scripts: Path::new("/w/App/Scripts") };
        let files = phase_files(paths, [Path::new("/w/App/My Models/tae"), Path::new("/w/App/My Models")]);
        let expected = "# Written by `mlreg xcode`. What the phase reads.\n$(SRCROOT)/mlreg.toml\n$(SRCROOT)/mlreg.lock\n$(SRCROOT)/Scripts/mlreg.sh\n";
        assert_eq!(files[INPUTS], expected);
        assert!(files[OUTPUTS].ends_with("\n$(SRCROOT)/My Models\n$(SRCROOT)/My Models/tae\n"), "{}", files[OUTPUTS]);
        assert_eq!(files[DEPENDENCIES], "My\\ Models \\\n  My\\ Models/tae: mlreg.toml mlreg.lock\n");
        assert!(files[SCRIPT_NAME].contains("cd \"$(dirname \"$0\")\"/'..'\n"), "{}", files[SCRIPT_NAME]);
        assert!(phase_steps(paths).contains("\"${SRCROOT}/Scripts/mlreg.sh\""));
    }
}
