//! `mlreg gc`.

use std::time::SystemTime;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{bytes, count},
    table::{self, Columns},
};
use crate::workflow::gc::{GcOptions, GcReport, gc};

const EXAMPLES: &str = "\
Examples:
  mlreg gc --dry-run
  mlreg gc
  mlreg gc --budget 20GB";

const COLUMNS: Columns = Columns::new(&["RELEASE"]);

/// Delete unused data from the store.
///
/// Deletes fetched releases that no placed folder holds and nobody has pinned, files that no release needs, and what
/// interrupted commands left: their temporary files, and without `--budget` their unfinished downloads. Releases that
/// were built on this machine stay; `mlreg rm` deletes those. Prints the deleted releases.
///
/// On a terminal this asks first. Elsewhere it does not, since all of it can be fetched or built again; a release
/// without a known remote needs `--yes`.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&COLUMNS]))]
pub(super) struct GcArguments {
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Keep fetched bytes as far as they fit, e.g. 20GB
    ///
    /// Then what no placed folder holds stays as a cache. Over the budget, the variants of the lowest priority go
    /// first, among equals those that were used least recently: placed, pinned or unpinned. What is built here, placed
    /// or pinned stays whatever the budget. The unit is part of the size: B, kB, MB, GB and TB are decimal, KiB, MiB,
    /// GiB and TiB binary.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    budget: Option<u64>,
}

/// Parses `20GB`, `1.5 GiB`, `1000 B`. A number without a unit could be meant as gigabytes, so only 0 is accepted.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
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
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value = number.parse::<f64>().ok();
    if let (Some(value), true) = (value, unit.trim().is_empty()) {
        return if value == 0.0 {
            Ok(0)
        } else {
            Err(format!("expected a size with its unit, such as {number}GB, {number}MB or {number}B"))
        };
    }
    let unit = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
    let bytes = value.zip(unit).map(|(value, (_, unit))| value * *unit as f64).filter(|bytes| *bytes < u64::MAX as f64);
    bytes.map(|bytes| bytes as u64).ok_or_else(|| "expected a size such as 20GB, 500 MB or 1.5GiB".to_owned())
}

pub(super) fn run(arguments: &GcArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = GcOptions { dry_run: arguments.dry_run, budget: arguments.budget, now: SystemTime::now() };
    if !options.dry_run && !arguments.yes && !confirmed(&options, session)? {
        session.printer.summary("nothing was deleted");
        return Ok(Exit::Input);
    }
    let report = gc(&session.context, &options)?;
    session.printer.report("gc", &report, |printer| {
        let lines: String =
            report.releases.iter().map(|release| format!("{}@{}\n", release.package, release.version)).collect();
        printer.data(&lines)?;
        for evicted in &report.evicted {
            printer.detail(format_args!("  {}@{} {}", evicted.package, evicted.version, evicted.variant));
        }
        printer.summary(summary(&report));
        if report.over_budget_bytes > 0 {
            let over = bytes(report.over_budget_bytes);
            printer.warning(format_args!(
                "the store is {over} over the budget: everything in it is built here, placed or pinned"
            ));
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// Asks on a terminal. Elsewhere, deletes without a question only what can be fetched or built again.
fn confirmed(options: &GcOptions, session: &Session) -> Result<bool, CommandError> {
    let plan = gc(&session.context, &GcOptions { dry_run: true, ..*options })?;
    if plan.is_empty() {
        return Ok(true);
    }
    let without_remote = plan.releases.iter().filter(|release| release.from.is_empty());
    let lost: Vec<String> = without_remote.map(|release| format!("{}@{}", release.package, release.version)).collect();
    match session.printer.ask(format_args!("{}; go on?", summary(&plan)))? {
        Some(answer) => Ok(answer),
        None if lost.is_empty() => Ok(true),
        None => Err(CommandError::Unconfirmed {
            action: format!("deleting {}, of which no remote is known,", lost.join(", ")),
        }),
    }
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
        for (text, expected) in
            [("20GB", 20_000_000_000), ("1.5 GiB", 1_610_612_736), ("1000B", 1000), ("0", 0), ("7 mb", 7_000_000)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        assert_eq!(size("5").unwrap_err(), "expected a size with its unit, such as 5GB, 5MB or 5B");
        for text in ["1000", "1.5", "5 ", "", "GB", "-1", "1 XB", "1..2GB", "99999999TB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
