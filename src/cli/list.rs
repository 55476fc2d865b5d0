//! `mlreg list`.

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Table, bytes, count},
    remote_url,
    table::{self, Columns},
};
use crate::{
    base::{PackageName, Timestamp},
    remote::{RemoteUrl, readable_forms},
    store::Origin,
    workflow::list::{ListOptions, ListedVersion, list},
};

const EXAMPLES: &str = "\
Examples:
  mlreg list
  mlreg list --from https://models.acme.dev/registry
  mlreg list minilm --from hf://acme/minilm
  mlreg list --json | jq -r '.packages[].package'";

const COLUMNS: Columns = Columns {
    headings: &["PACKAGE", "VERSION", "RELEASE", ">SIZE", "DATE", "SOURCE"],
    wrapped: &["SOURCE"],
    left_out: &["RELEASE", "SOURCE", "DATE"],
};

/// List packages and their versions.
///
/// Without `--from` these are the releases of the local store, built and fetched: with the size of their files, each
/// counted once, the day on which the store got them, and where from. Every line is a version, the highest first.
/// Releases of a remote have no day, and a size where the package is named, since only their manifests know it.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&COLUMNS]))]
pub(super) struct ListArguments {
    /// Only these packages
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PackageName>,
    #[arg(long, value_name = "URL", value_parser = remote_url, help = format!("List a remote: {}", readable_forms()))]
    from: Option<RemoteUrl>,
}

pub(super) fn run(arguments: &ListArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = ListOptions { packages: arguments.packages.clone(), from: arguments.from.clone() };
    let report = list(&session.context, &options)?;
    session.printer.report("list", &report, |printer| {
        let mut table = Table::of(&COLUMNS);
        for package in &report.packages {
            for version in &package.versions {
                table.row(row(package.package.as_str(), version, &report.source));
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

fn row(package: &str, version: &ListedVersion, remote: &str) -> [String; 6] {
    let dash = || "-".to_owned();
    let size = version.bytes.map_or_else(dash, bytes);
    let date = version.added.map_or_else(dash, Timestamp::day);
    let source = version.origin.as_ref().map_or_else(|| remote.to_owned(), source);
    [package.to_owned(), version.version.to_string(), version.release.short(), size, date, source]
}

/// `built here`, `built here, published to URL`, or where it was fetched from.
fn source(origin: &Origin) -> String {
    let remotes = origin.remotes().iter().cloned().collect::<Vec<_>>().join(", ");
    match (origin.is_built(), remotes.is_empty()) {
        (true, true) => "built here".to_owned(),
        (true, false) => format!("built here, published to {remotes}"),
        (false, true) => "-".to_owned(),
        (false, false) => remotes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_in_words() {
        let built =
            |remotes: &[&str]| Origin::Built { published_to: remotes.iter().map(|&url| url.to_owned()).collect() };
        assert_eq!(source(&built(&[])), "built here");
        assert_eq!(source(&built(&["b", "a"])), "built here, published to a, b");
        assert_eq!(source(&Origin::Fetched { from: ["https://host/".to_owned()].into() }), "https://host/");
    }
}
