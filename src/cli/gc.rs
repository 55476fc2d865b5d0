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
  mlreg gc
  mlreg gc --budget 20GB";

/// Remove from the store what nothing needs.
///
/// Releases that were built on this machine stay, and fetched ones that a placed folder still names or a pin holds. Other releases, blobs that no
/// release needs, and what interrupted commands left behind are removed. Prints the removed releases.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct GcArguments {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Keep fetched bytes as far as they fit, e.g. 20GB
    ///
    /// Then what no placed folder holds stays as a cache. Over the budget, the variants of the lowest priority go first, among equals those that were used
    /// least recently: placed, pinned or unpinned. What is built here, placed or pinned stays whatever the budget. MB and GB are decimal,
    /// MiB and GiB binary.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    budget: Option<u64>,
}

/// `20GB`, `1.5 GiB`, `1000`.
fn size(text: &str) -> Result<u64, &'static str> {
    const UNITS: [(&str, u64); 10] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
    let bytes = number.parse::<f64>().ok().zip(unit).map(|(number, (_, unit))| number * *unit as f64);
    bytes.filter(|bytes| *bytes < u64::MAX as f64).map(|bytes| bytes as u64).ok_or("expected a size such as 20GB, 500 MB or 1.5GiB")
}

pub(super) fn run(arguments: &GcArguments, session: &Session) -> Result<Exit, CommandError> {
    let report = gc(&session.context, &GcOptions { dry_run: arguments.dry_run, budget: arguments.budget, now: SystemTime::now() })?;
    session.printer.report("gc", &report, |printer| {
        let lines: String = report.releases.iter().map(|release| format!("{}@{}\n", release.package, release.version)).collect();
        printer.data(&lines)?;
        for evicted in &report.evicted {
            printer.detail(format_args!("  {}@{} {}", evicted.package, evicted.version, evicted.variant));
        }
        printer.summary(summary(&report));
        if report.over_budget_bytes > 0 {
            let over = bytes(report.over_budget_bytes);
            printer.warning(format_args!("the store is {over} over the budget: everything in it is built here, placed or pinned"));
        }
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
    if !report.evicted.is_empty() {
        text += &format!("; {} did not fit the budget", count(report.evicted.len(), "variant"));
    }
    if report.linked_bytes > 0 {
        text += &format!("; {} stay on the disk in placed folders", bytes(report.linked_bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, expected) in [("20GB", 20_000_000_000), ("1.5 GiB", 1_610_612_736), ("1000", 1000), ("0", 0), ("7 mb", 7_000_000)] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "GB", "-1", "1 XB", "1..2GB", "99999999TB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
