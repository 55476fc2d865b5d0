//! `mlreg xcode`.

use std::path::PathBuf;

use clap::Args;

use super::{CommandError, Exit, Session, printer::count};
use crate::{
    base::OsFloor,
    workflow::app::{XcodeOptions, xcode},
};

const EXAMPLES: &str = "\
Examples:
  mlreg xcode --out Scripts
  mlreg xcode --out App/Scripts --srcroot App --target iOS17";

/// Write the files of an Xcode build phase that fetches.
///
/// A script, lists of its inputs and outputs (`.xcfilelist`) and a dependency file (`.d`). The list of outputs has
/// every file and folder of every bundle, as user script sandboxing wants it: commit the files. `[xcode]` in
/// `mlreg.toml` remembers where they are, and `mlreg add`, `remove` and `update` keep them up to date. The names in the
/// lists depend on the deployment target only where bundles for different ones have different files; then `target` has
/// to be said, in `mlreg.toml` or here.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct XcodeArguments {
    /// Write the files to DIR; default: as before, else Scripts
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of the Xcode project; default: as before, else that of mlreg.toml
    #[arg(long, value_name = "DIR")]
    srcroot: Option<PathBuf>,
    /// Lowest OS version that the app supports, e.g. iOS17.2 or macOS14
    #[arg(long, value_name = "OS")]
    target: Option<OsFloor>,
    /// Use the store alone
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(arguments: &XcodeArguments, session: &Session) -> Result<Exit, CommandError> {
    let XcodeArguments { out, srcroot, target, offline } = arguments;
    let options = XcodeOptions { out: out.clone(), project: srcroot.clone(), floor: *target, offline: *offline };
    let report = xcode(&session.context, &options)?;
    session.printer.report("xcode", &report, |printer| {
        printer.data(&report.steps)?;
        let changed = report.files.values().filter(|changed| **changed).count();
        let outputs = count(report.outputs, "output");
        let folder = report
            .files
            .keys()
            .next()
            .and_then(|path| path.parent())
            .unwrap_or_else(|| std::path::Path::new(""))
            .display();
        printer.summary(format_args!(
            "wrote {} of {} to `{folder}`: {outputs}",
            changed,
            count(report.files.len(), "file")
        ));
        Ok(())
    })?;
    Ok(Exit::Ok)
}
