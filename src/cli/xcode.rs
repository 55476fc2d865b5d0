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

/// Write the files of a build phase that fetches, and say how to add it.
///
/// A script, lists of its inputs and outputs (`.xcfilelist`) and a dependency file (`.d`). The list of outputs has every file and folder of
/// every bundle, as user script sandboxing wants it: commit the files, and write them anew whenever `mlreg.lock` changes. The names
/// in the lists depend on the deployment target only where bundles for different ones have different files; then `target` has to be said,
/// in `mlreg.toml` or here.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct XcodeArguments {
    /// Write the files to DIR
    #[arg(long, value_name = "DIR", default_value = "Scripts")]
    out: PathBuf,
    /// Folder of the Xcode project; default: that of mlreg.toml
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
        printer.summary(format_args!("wrote {} of {} to `{}`: {outputs}", changed, count(report.files.len(), "file"), out.display()));
        Ok(())
    })?;
    Ok(Exit::Ok)
}
