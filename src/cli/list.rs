//! `mlreg list`.

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Table, count},
    remote_url,
};
use crate::{
    base::RemoteUrl,
    workflow::list::{ListOptions, list},
};

const EXAMPLES: &str = "\
Examples:
  mlreg list
  mlreg list --from https://models.acme.dev/registry
  mlreg list --json | jq -r '.packages[].package'";

/// List packages and their versions.
///
/// Without `--from` these are the releases of the local store, built and fetched. Every line is a version, the highest first, with the
/// start of its release digest.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ListArguments {
    /// List a remote: a folder, file://, http(s):// or hf://ORG/REPO[@REVISION]
    #[arg(long, value_name = "URL", value_parser = remote_url)]
    from: Option<RemoteUrl>,
}

pub(super) fn run(arguments: &ListArguments, session: &Session) -> Result<Exit, CommandError> {
    let report = list(&session.context, &ListOptions { from: arguments.from.clone() })?;
    session.printer.report("list", &report, |printer| {
        let mut table = Table::new(["PACKAGE", "VERSION", "RELEASE"]);
        for package in &report.packages {
            for version in &package.versions {
                table.row([package.package.to_string(), version.version.to_string(), version.release.short()]);
            }
        }
        if !table.is_empty() {
            printer.table(&table)?;
        }
        printer.summary(format_args!("{} in `{}`", count(report.packages.len() as u64, "package"), report.source));
        Ok(())
    })?;
    Ok(Exit::Ok)
}
