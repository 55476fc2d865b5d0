//! What a build phase of Xcode needs to run `mlreg fetch`: a script, lists of its inputs and outputs, a Makefile
//! dependency file.
//!
//! User script sandboxing allows a phase exactly the paths that it declares, each by itself, so every file and folder
//! of every bundle is listed. Lists and dependencies say nothing about a machine: `$(SRCROOT)` in the lists, paths from
//! there in the dependency file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use super::{LOCK_NAME, MANIFEST_NAME};

/// The script of the phase.
pub const SCRIPT_NAME: &str = "mlreg.sh";
const INPUTS: &str = "mlreg-inputs.xcfilelist";
/// The list of everything that the phase writes.
pub const OUTPUTS_NAME: &str = "mlreg-outputs.xcfilelist";
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
pub fn phase_files<'a>(
    paths: PhasePaths<'_>,
    outputs: impl IntoIterator<Item = &'a Path>,
) -> BTreeMap<&'static str, String> {
    let inputs: Vec<String> =
        [paths.manifest.join(MANIFEST_NAME), paths.manifest.join(LOCK_NAME), paths.scripts.join(SCRIPT_NAME)]
            .iter()
            .map(|path| relative(paths.project, path))
            .collect();
    let outputs: BTreeSet<String> = outputs.into_iter().map(|path| relative(paths.project, path)).collect();
    BTreeMap::from([
        (SCRIPT_NAME, script(&relative(paths.scripts, paths.manifest))),
        (INPUTS, list("What the phase reads.", inputs.iter())),
        (OUTPUTS_NAME, list("Every file and folder that the phase writes.", outputs.iter())),
        (DEPENDENCIES, dependencies(&outputs, &inputs[..2])),
    ])
}

/// What to do in Xcode, for people. `folders` are where bundles are placed; absolute.
pub fn phase_steps<'a>(paths: PhasePaths<'_>, folders: impl IntoIterator<Item = &'a Path>) -> String {
    let scripts = relative(paths.project, paths.scripts);
    let at = |name: &str| rooted(&format!("{scripts}/{name}"));
    let folders: BTreeSet<String> = folders.into_iter().map(|folder| relative(paths.project, folder)).collect();
    let folder = folders.iter().map(|folder| format!("`{folder}`")).collect::<Vec<_>>().join(", ");
    format!(
        "1. Fetch in every build. In Xcode: the target > Build Phases > + > New Run Script Phase, dragged above \"Copy \
         Bundle Resources\".\n\
         \n   \
            Shell script:                   \"{}\"\n   \
            Input File Lists:               {}\n   \
            Output File Lists:              {}\n   \
            Use discovered dependency file: {}\n\
         \n   \
            Leave \"Based on dependency analysis\" checked. `mlreg add`, `remove` and `update` keep the lists up to \
                 date; run `mlreg xcode`\n   \
            again when `{LOCK_NAME}` changed in another way.\n\
         \n\
         2. Add the models to the target, once. Run `mlreg fetch`, then drag {folder} into the project navigator, in one of two ways:\n\
         \n   \
            Folder reference (\"Create folder references\", a blue folder; appears in \"Copy Bundle Resources\"): \
                 copied into the app as it is.\n   \
            `.mlmodelc` bundles load at once; a `.mlpackage` is not compiled by Xcode, so the app does it at first use with\n   \
            `MLModel.compileModel(at:)`, as the code of `mlreg codegen swift` does. Choose this if bundles may come and go.\n\
         \n   \
            Group, or synchronized folder of Xcode 16: every bundle is a member of the target. Xcode compiles a `.mlpackage` with its Core ML\n   \
            rule into `<name>.mlmodelc` among the app's resources; a `.mlmodelc` is copied. Bundles must be there before the build starts, and no\n   \
            two may have one name (\"Multiple commands produce\"). With `mlreg codegen swift`, set \
                 COREML_CODEGEN_LANGUAGE to None.\n",
        at(SCRIPT_NAME).replace("$(SRCROOT)", "${SRCROOT}"),
        at(INPUTS),
        at(OUTPUTS_NAME),
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
pub fn relative(base: &Path, path: &Path) -> String {
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
        let paths = PhasePaths {
            project: Path::new("/w/App"),
            manifest: Path::new("/w/App"),
            scripts: Path::new("/w/App/Scripts"),
        };
        let files = phase_files(paths, [Path::new("/w/App/My Models/tae"), Path::new("/w/App/My Models")]);
        let expected = "# Written by `mlreg xcode`. What the phase \
             reads.\n$(SRCROOT)/mlreg.toml\n$(SRCROOT)/mlreg.lock\n$(SRCROOT)/Scripts/mlreg.sh\n";
        assert_eq!(files[INPUTS], expected);
        assert!(
            files[OUTPUTS_NAME].ends_with("\n$(SRCROOT)/My Models\n$(SRCROOT)/My Models/tae\n"),
            "{}",
            files[OUTPUTS_NAME]
        );
        assert_eq!(files[DEPENDENCIES], "My\\ Models \\\n  My\\ Models/tae: mlreg.toml mlreg.lock\n");
        assert!(files[SCRIPT_NAME].contains("cd \"$(dirname \"$0\")\"/'..'\n"), "{}", files[SCRIPT_NAME]);
        let steps = phase_steps(paths, [Path::new("/w/App/Models"), Path::new("/w/App/Models")]);
        assert!(steps.contains("\"${SRCROOT}/Scripts/mlreg.sh\"") && steps.contains("drag `Models` into"), "{steps}");
        assert!(
            ["Folder reference", "synchronized folder", "COREML_CODEGEN_LANGUAGE"]
                .iter()
                .all(|word| steps.contains(word)),
            "{steps}"
        );
    }
}
