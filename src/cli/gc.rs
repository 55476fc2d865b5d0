//! `mlreg gc`.

use std::time::SystemTime;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{bytes, count},
};
use crate::workflow::gc::{GcOptions, GcReport, gc};

const EXAMPLES: &str = "\
Examples:
  mlreg gc --dry-run
  mlreg gc";

/// Remove from the store what nothing needs.
///
/// Releases that were built on this machine stay, and fetched ones that a placed folder still names. Other releases, blobs that no
/// release needs, and what interrupted commands left behind are removed. Prints the removed releases.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct GcArguments {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(arguments: &GcArguments, session: &Session) -> Result<Exit, CommandError> {
    let report = gc(&session.context, &GcOptions { dry_run: arguments.dry_run, now: SystemTime::now() })?;
    session.printer.report("gc", &report, |printer| {
        let lines: String = report.releases.iter().map(|release| format!("{}@{}\n", release.package, release.version)).collect();
        printer.data(&lines)?;
        printer.summary(summary(&report));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn summary(report: &GcReport) -> String {
    let verb = if report.dry_run { "would remove" } else { "removed" };
    let mut text = format!(
        "{verb} {}, {} and {}: {} freed, {} kept",
        count(report.releases.len() as u64, "release"),
        count(report.blobs, "blob"),
        count(report.files, "temporary file"),
        bytes(report.freed_bytes),
        bytes(report.kept_bytes),
    );
    if report.linked_bytes > 0 {
        text += &format!("; {} stay on the disk in placed folders", bytes(report.linked_bytes));
    }
    text
}
