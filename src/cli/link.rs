//! `mlreg link`.

use std::path::PathBuf;

use clap::Args;

use super::{CommandError, Exit, Session, printer::count};
use crate::workflow::link::link;

const EXAMPLES: &str = "\
Examples:
  mlreg link Models
  mlreg link Models/flux-1-tae";

/// Make bundles of the layout `shared` complete, by links.
///
/// Every bundle without its weight files gets hard links to the weight files beside it, after they were hashed.
/// Frameworks load only complete bundles. Later fetches and `mlreg verify` accept the links. Symbolic links in the
/// folder and missing bundles are errors, which are found before anything changes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct LinkArguments {
    /// A folder with a layout.json, or one with such folders
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &LinkArguments, session: &Session) -> Result<Exit, CommandError> {
    let report = link(&session.context, &arguments.folder)?;
    session.printer.report("link", &report, |printer| {
        let copied = if report.copied > 0 { format!(", {} copied", report.copied) } else { String::new() };
        let files = format!("{} linked{copied}, {} there already", count(report.linked, "file"), report.present);
        printer.summary(format_args!("{} complete: {files}", count(report.bundles, "bundle")));
        Ok(())
    })?;
    Ok(Exit::Ok)
}
