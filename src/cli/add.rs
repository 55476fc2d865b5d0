//! `mlreg add`, `mlreg remove`, `mlreg update`.

use clap::Args;

use super::{
    CommandError, Exit, LayoutChoice, Session,
    fetch::DeliveryChoice,
    printer::{Printer, Table, count},
    table::{self, Columns},
};
use crate::{
    app::{Changes, LOCK_NAME, MANIFEST_NAME},
    base::{OsFloor, PackageName, Tag},
    remote::RemoteUrl,
    workflow::{
        PackageRequest,
        app::{AddOptions, PhaseUpdate, UpdateOptions, UpdateReport, add, remove, update},
    },
};

const ADD_EXAMPLES: &str = "\
Examples:
  mlreg add flux-1-tae --from https://models.acme.dev/registry --tag preview
  mlreg add minilm@0.3 --from ../registry --from https://models.acme.dev/registry
  mlreg add flux-1-tae --variant 'decoder-1024-*' --out Models --layout shared";

const REMOVE_EXAMPLES: &str = "\
Examples:
  mlreg remove flux-1-tae";

const UPDATE_EXAMPLES: &str = "\
Examples:
  mlreg update
  mlreg update flux-1-tae
  mlreg update --dry-run";

const COLUMNS: Columns = Columns::new(&["PACKAGE", "FROM", "TO"]);

/// Add a package to mlreg.toml and mlreg.lock.
///
/// The manifest is the `mlreg.toml` of the working directory or the nearest folder above it; without one, it is created
/// in the working directory. A package that it already has gets the given options and keeps the others. Comments stay.
/// Only the release's manifest is downloaded: `mlreg fetch` places bundles.
#[derive(Debug, Args)]
#[command(after_long_help = ADD_EXAMPLES)]
pub(super) struct AddArguments {
    /// The package, e.g. `tae` or `tae@1.2`
    ///
    /// Requirements are cargo's: `tae@1.2` is 1.2.0 or any later version below 2.0.0. Without one, the manifest gets
    /// the highest version.
    #[arg(value_name = "PACKAGE[@REQ]", value_parser = package_and_requirement)]
    package: (PackageName, Option<String>),
    /// Where it comes from; several are mirrors, in order
    ///
    /// A folder, file://, http(s):// or hf://ORG/REPO[@REVISION]. Needed for a package that the manifest does not have
    /// yet, unless its `[defaults]` have a `from`.
    #[arg(long, value_name = "URL", value_parser = source)]
    from: Vec<String>,
    /// Only variants whose id matches, e.g. 'decoder-768-*'
    #[arg(long, value_name = "GLOB")]
    variant: Vec<String>,
    /// Only variants of this component
    #[arg(long, value_name = "C")]
    component: Vec<String>,
    /// Only variants with this tag
    #[arg(long, value_name = "T")]
    tag: Vec<Tag>,
    /// Only variants in this delivery category: initial, prefetch or on-demand
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    delivery: Vec<DeliveryChoice>,
    /// Place the variant that matches under another name
    #[arg(long, value_name = "NAME=GLOB", value_parser = renamed)]
    rename: Vec<(String, String)>,
    /// Lowest OS version that the app supports, e.g. iOS17.2 or macOS14
    #[arg(long, value_name = "OS")]
    target: Option<OsFloor>,
    /// Place the bundles in DIR/<package>, from the manifest's folder
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// How to place: linked, shared or copied
    #[arg(long, hide_possible_values = true)]
    layout: Option<LayoutChoice>,
    /// Use the store alone
    #[arg(long)]
    offline: bool,
}

/// Remove packages from mlreg.toml, mlreg.lock and the app's folder.
///
/// The lists of a build phase that `mlreg xcode` wrote are updated with them.
#[derive(Debug, Args)]
#[command(after_long_help = REMOVE_EXAMPLES)]
pub(super) struct RemoveArguments {
    /// The packages
    #[arg(value_name = "PACKAGE", required = true)]
    packages: Vec<PackageName>,
}

/// Update mlreg.lock to the newest versions that mlreg.toml allows.
///
/// Prints what changed. `mlreg fetch` then places it.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(UPDATE_EXAMPLES, &[&COLUMNS]))]
pub(super) struct UpdateArguments {
    /// Only these packages
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PackageName>,
    /// Use the store alone
    #[arg(long)]
    offline: bool,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
}

/// Keeps the text of the requirement for the manifest.
fn package_and_requirement(text: &str) -> Result<(PackageName, Option<String>), crate::workflow::RequestError> {
    let request: PackageRequest = text.parse()?;
    Ok((request.package, text.split_once('@').map(|(_, requirement)| requirement.to_owned())))
}

/// Checks an address, and keeps its text for the manifest.
fn source(text: &str) -> Result<String, crate::base::UrlError> {
    RemoteUrl::parse(text, std::path::Path::new("")).map(|_| text.to_owned())
}

fn renamed(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, glob)| !name.is_empty() && !glob.is_empty());
    parts.map(|(name, glob)| (name.to_owned(), glob.to_owned())).ok_or_else(|| "expected NAME=GLOB".to_owned())
}

pub(super) fn run(arguments: &AddArguments, session: &Session) -> Result<Exit, CommandError> {
    let (package, requirement) = arguments.package.clone();
    let changes = Changes {
        version: None,
        from: arguments.from.clone(),
        variants: arguments.variant.clone(),
        components: arguments.component.clone(),
        tags: arguments.tag.clone(),
        deliveries: arguments.delivery.iter().map(|&choice| choice.into()).collect(),
        rename: arguments.rename.iter().cloned().collect(),
        target: arguments.target,
        out: arguments.out.clone(),
        layout: arguments.layout.map(Into::into),
    };
    let report = add(&session.context, &AddOptions { package, requirement, changes, offline: arguments.offline })?;
    session.printer.report("add", &report, |printer| {
        let verb = if report.is_new { "added" } else { "changed" };
        printer.summary(format_args!(
            "{verb} {}@{} in `{}`",
            report.package,
            report.version,
            report.manifest.display()
        ));
        say_lists(report.xcode.as_ref(), printer);
        Ok(())
    })?;
    Ok(Exit::Ok)
}

pub(super) fn run_remove(arguments: &RemoveArguments, session: &Session) -> Result<Exit, CommandError> {
    let report = remove(&session.context, &arguments.packages)?;
    session.printer.report("remove", &report, |printer| {
        let names: Vec<String> = report.packages.iter().map(ToString::to_string).collect();
        let folders = if report.removed.is_empty() {
            String::new()
        } else {
            format!(", and {}", count(report.removed.len(), "folder"))
        };
        printer.summary(format_args!("removed {} from `{}`{folders}", names.join(", "), report.manifest.display()));
        say_lists(report.xcode.as_ref(), printer);
        Ok(())
    })?;
    Ok(Exit::Ok)
}

pub(super) fn run_update(arguments: &UpdateArguments, session: &Session) -> Result<Exit, CommandError> {
    let options =
        UpdateOptions { packages: arguments.packages.clone(), offline: arguments.offline, dry_run: arguments.dry_run };
    let report = update(&session.context, &options)?;
    session.printer.report("update", &report, |printer| {
        printer.table(&changes(&report))?;
        printer.summary(summary(&report));
        say_lists(report.xcode.as_ref(), printer);
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// Prints which files of a build phase changed.
fn say_lists(update: Option<&PhaseUpdate>, printer: &Printer) {
    let Some(PhaseUpdate { folder, changed, problem }) = update else { return };
    if let Some(problem) = problem {
        let folder = folder.display();
        printer.warning(format_args!(
            "the lists of the build phase in `{folder}` are as they were: {problem}; run `mlreg xcode` when that is \
             mended"
        ));
    } else if !changed.is_empty() {
        printer.summary(format_args!(
            "updated {} of the build phase in `{}`",
            count(changed.len(), "file"),
            folder.display()
        ));
    }
}

fn changes(report: &UpdateReport) -> Table {
    let mut table = Table::of(&COLUMNS);
    for package in report.packages.iter().filter(|package| package.changed) {
        let from = package.from.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        table.row([package.package.to_string(), from, package.to.to_string()]);
    }
    table
}

fn summary(report: &UpdateReport) -> String {
    let changed = report.packages.iter().filter(|package| package.changed).count();
    match (changed, report.dry_run) {
        (0, _) => format!("`{LOCK_NAME}` has the highest versions that `{MANIFEST_NAME}` allows"),
        (changed, true) => format!("would update {} in `{LOCK_NAME}`", count(changed, "package")),
        (changed, false) => format!("updated {} in `{LOCK_NAME}`", count(changed, "package")),
    }
}
