//! `mlreg rm`.

use clap::Args;
use semver::Version;

use super::{
    CommandError, Exit, Session,
    printer::{bytes, count},
    table::{self, Columns},
};
use crate::{
    base::PackageName,
    workflow::rm::{RemovedRelease, RmOptions, RmReport, RmSubject, rm},
};

const EXAMPLES: &str = "\
Examples:
  mlreg rm flux-1-tae@1.0.0
  mlreg rm flux-1-tae@1.0.0 minilm@0.3.0 --yes
  mlreg rm flux-1-tae --all --dry-run";

const COLUMNS: Columns = Columns::new(&["RELEASE"]);

/// Delete releases from the store.
///
/// Prints the deleted releases. Their files go with the next `mlreg gc`, unless another release has them. A release of
/// which a placed folder holds bundles, or that is pinned, is refused, and nothing is deleted then. Published releases
/// stay where they were published.
///
/// On a terminal this asks first. Elsewhere a release that some remote has is deleted without a question, since it can
/// be fetched again; one that was built here and never published needs `--yes`.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&COLUMNS]))]
pub(super) struct RmArguments {
    /// Packages, and the versions of them to delete, e.g. `tae@1.2.0`
    ///
    /// The version may be left out where there is only one, or with `--all`.
    #[arg(value_name = "PACKAGE[@VERSION]", required = true, value_parser = subject)]
    releases: Vec<RmSubject>,
    /// Delete all versions of packages that are named without one
    #[arg(long)]
    all: bool,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn subject(text: &str) -> Result<RmSubject, String> {
    let (package, version) = text.split_once('@').map_or((text, None), |(package, version)| (package, Some(version)));
    let package: PackageName = package.parse().map_err(|error: crate::base::NameError| error.to_string())?;
    let version =
        version.map(|text| text.parse::<Version>().map_err(|_| format!("`{text}` is no whole version such as 1.2.0")));
    Ok(RmSubject { package, version: version.transpose()? })
}

pub(super) fn run(arguments: &RmArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = RmOptions { subjects: arguments.releases.clone(), all: arguments.all, dry_run: arguments.dry_run };
    if !options.dry_run && !arguments.yes && !confirmed(&options, session)? {
        session.printer.summary("nothing was deleted");
        return Ok(Exit::Input);
    }
    let report = rm(&session.context, &options)?;
    session.printer.report("rm", &report, |printer| {
        printer.data(&report.releases.iter().map(|release| name(release) + "\n").collect::<String>())?;
        printer.summary(summary(&report));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// Asks on a terminal. Elsewhere, deletes without a question only what can be fetched again.
fn confirmed(options: &RmOptions, session: &Session) -> Result<bool, CommandError> {
    let plan = rm(&session.context, &RmOptions { dry_run: true, ..options.clone() })?;
    let lost: Vec<String> = plan.releases.iter().filter(|release| release.remotes.is_empty()).map(name).collect();
    let names = plan.releases.iter().map(name).collect::<Vec<_>>().join(", ");
    let warning = match lost.len() {
        0 => String::new(),
        all if all == plan.releases.len() => ", which no remote has".to_owned(),
        _ => format!("; no remote has {}", lost.join(", ")),
    };
    match session.printer.ask(format_args!("delete {names} ({}){warning}?", bytes(plan.unneeded_bytes)))? {
        Some(answer) => Ok(answer),
        None if lost.is_empty() => Ok(true),
        None => {
            Err(CommandError::Unconfirmed { action: format!("deleting {}, which no remote has,", lost.join(", ")) })
        }
    }
}

fn name(release: &RemovedRelease) -> String {
    format!("{}@{}", release.package, release.version)
}

fn summary(report: &RmReport) -> String {
    let (verb, frees) = if report.dry_run { ("would delete", "would free") } else { ("deleted", "frees") };
    let releases = count(report.releases.len() as u64, "release");
    format!("{verb} {releases}; `mlreg gc` then {frees} {}", bytes(report.unneeded_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_whole() {
        let parsed = subject("tae@1.2.0+a.b").unwrap();
        assert_eq!((parsed.package.as_str(), parsed.version.unwrap().to_string().as_str()), ("tae", "1.2.0+a.b"));
        assert_eq!(subject("tae").unwrap().version, None);
        assert_eq!(subject("tae@1").unwrap_err(), "`1` is no whole version such as 1.2.0");
        assert!(subject("Tae@1.0.0").is_err() && subject("@1.0.0").is_err());
    }
}
