//! `mlreg fetch`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{
    CommandError, Exit, LayoutChoice, Session,
    printer::{Printer, Table, bytes, count},
    remote_url, show,
    table::{self, Columns},
};
use crate::{
    app::{LOCK_NAME, MANIFEST_NAME},
    base::{OsFloor, Tag},
    fetch::{Staging, Wanted},
    manifest::{Requirement, release::Delivery},
    remote::{RemoteUrl, readable_forms},
    workflow::{
        PackageRequest,
        app::{AppFetchOptions, AppFetchReport, LockChange, fetch_app, lists},
        fetch::{FetchOptions, FetchStatus, FetchedPackage, FetchedVariant, fetch},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg fetch
  mlreg fetch --locked --offline
  mlreg fetch flux-1-tae --from https://models.acme.dev/registry --target iOS17 --out Models
  mlreg fetch flux-1-tae@1 --from /srv/registry --variant 'decoder-1024-*' --layout copied
  mlreg fetch flux-1-tae --from /srv/registry --delivery initial --tag preview --dry-run
  mlreg fetch flux-1-tae --from hf://acme/flux-1-tae --variant 'decoder-1024-*' --out Models
  mlreg fetch flux-1-tae --offline";

const PLAN: Columns = Columns {
    headings: &["PACKAGE", "VERSION", "VARIANT", "PLACED AS", ">SIZE", ">DOWNLOAD"],
    wrapped: &[],
    left_out: &["PACKAGE", "VERSION", "VARIANT", "SIZE"],
};

const COSTS: Columns = Columns {
    headings: &["PACKAGE", "KIND", "NAME", ">VARIANTS", ">SIZE", ">DOWNLOAD"],
    wrapped: &[],
    left_out: &["VARIANTS", "SIZE", "KIND"],
};

/// Fetch the part of packages that an app needs, or all of mlreg.toml.
///
/// Downloads what is missing, verifies it, and places it in a folder. Several values of one flag are alternatives,
/// different flags narrow: (variant A or B) and (tag P or Q). With a target there is one bundle for each variant, the
/// one for the highest target that is not above it; the bundle's name then has no target in it. Without any target all
/// of them are placed. In a build phase of Xcode the target is the deployment target.
///
/// Without a package and a remote, `mlreg.toml` is looked for in the working directory and above it; folders become
/// what it says, and `mlreg.lock` is followed, or written where it does not fit. A build phase of Xcode never writes
/// it. Narrowing flags add variants to the folder and never remove any.
///
/// A folder that already satisfies the request is left alone, without a request to the remote; `--upgrade` looks for a
/// newer version.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&PLAN, &COSTS]))]
pub(super) struct FetchArguments {
    /// Packages, e.g. `tae` or `tae@1.2`
    ///
    /// Requirements are cargo's: `tae@1.2` is 1.2.0 or any later version below 2.0.0. The highest that matches is
    /// taken; pre-releases only where the requirement names one. Build metadata that is named, as in `tae@1.2.0+b7`,
    /// means that build and no other.
    #[arg(value_name = "PACKAGE[@REQ]")]
    packages: Vec<PackageRequest>,
    #[arg(long, value_name = "URL", value_parser = remote_url, help = format!("The remote: {}", readable_forms()))]
    from: Option<RemoteUrl>,
    /// Lowest OS version that the app supports, e.g. iOS17.2 or macOS14
    #[arg(long, value_name = "OS")]
    target: Option<OsFloor>,
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
    /// Place the bundles in DIR/<package>
    ///
    /// Default: what `mlreg.toml` says with `out`, else the working directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to place: linked, shared or copied
    ///
    /// `linked`: complete bundles, whose equal files are links to one file. `shared`: equal weight files are lifted out
    /// into the package's folder. `copied`: complete bundles without links.
    #[arg(long, hide_possible_values = true)]
    layout: Option<LayoutChoice>,
    /// Fail where mlreg.lock would have to change
    #[arg(long)]
    locked: bool,
    /// Use the store alone
    #[arg(long, conflicts_with = "upgrade")]
    offline: bool,
    /// Look for a newer version than the one in place
    #[arg(long)]
    upgrade: bool,
    /// Hash every file that is in place
    #[arg(long)]
    verify: bool,
    /// Only say what would be downloaded and placed
    #[arg(long)]
    dry_run: bool,
}

/// A delivery category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DeliveryChoice {
    /// With the app.
    Initial,
    /// After the app was installed.
    Prefetch,
    /// When it is asked for.
    OnDemand,
}

impl From<DeliveryChoice> for Delivery {
    fn from(choice: DeliveryChoice) -> Self {
        match choice {
            DeliveryChoice::Initial => Self::Initial,
            DeliveryChoice::Prefetch => Self::Prefetch,
            DeliveryChoice::OnDemand => Self::OnDemand,
        }
    }
}

pub(super) fn run(arguments: &FetchArguments, session: &Session) -> Result<Exit, CommandError> {
    if arguments.is_of_the_app(session) { app(arguments, session) } else { packages(arguments, session) }
}

impl FetchArguments {
    /// Without a remote, packages are the app's, if it names them.
    fn is_of_the_app(&self, session: &Session) -> bool {
        let named = || self.packages.iter().all(|request| request.requirement == Requirement::ANY);
        let listed = || lists(session.context.directory(), self.packages.iter().map(|request| &request.package));
        self.packages.is_empty() || (self.from.is_none() && !self.upgrade && named() && listed())
    }

    fn deliveries(&self) -> impl Iterator<Item = Delivery> {
        self.delivery.iter().map(|&choice| choice.into())
    }
}

/// Fetches packages from a remote, or from the store.
fn packages(arguments: &FetchArguments, session: &Session) -> Result<Exit, CommandError> {
    if arguments.from.is_none() && !arguments.offline {
        let (message, hint) =
            ("no remote is given, and no `mlreg.toml` names these packages", "say where they come from: `--from URL`");
        return Err(CommandError::Usage { message, hint });
    }
    if arguments.locked {
        let hint = "leave `--from` out to fetch what `mlreg.toml` names, or `--locked`";
        return Err(CommandError::Usage { message: "`--locked` is about packages of an `mlreg.toml`", hint });
    }
    let options = FetchOptions {
        requests: arguments.packages.clone(),
        from: arguments.from.clone(),
        floor: floor(arguments, session)?,
        variants: arguments.variant.clone(),
        components: arguments.component.clone(),
        tags: arguments.tag.clone(),
        deliveries: arguments.deliveries().collect(),
        out: arguments.out.clone().unwrap_or_default(),
        layout: arguments.layout.map(Into::into).unwrap_or_default(),
        offline: arguments.offline,
        upgrade: arguments.upgrade,
        verify: arguments.verify,
        staging: if session.settings.xcode { Staging::Home } else { Staging::Beside },
        dry_run: arguments.dry_run,
    };
    let report = fetch(&session.context, &options)?;
    session.printer.report("fetch", &report, |printer| {
        print(printer, &report.packages, arguments.dry_run)?;
        report.packages.iter().for_each(|package| printer.summary(summary(package)));
        say_defaults(arguments, session, &report.packages, session.context.directory());
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// Notes the defaults that were used for `--out` and `--target`, once something was placed.
fn say_defaults(arguments: &FetchArguments, session: &Session, packages: &[FetchedPackage], root: &Path) {
    let fetched = || packages.iter().filter(|package| package.status == FetchStatus::Fetched);
    if session.settings.xcode {
        return;
    }
    let mut folders = fetched()
        .filter(|package| package.folder.parent() == Some(root))
        .map(|package| format!("`{}/`", package.package));
    if let (None, Some(first)) = (&arguments.out, folders.next()) {
        let folders = std::iter::once(first).chain(folders).collect::<Vec<_>>().join(", ");
        session.printer.note(format_args!(
            "placed in {folders} since no folder was said: use `--out DIR`, or `out = \"Models\"` under `[defaults]` \
             of `{MANIFEST_NAME}`; \
             such folders belong into .gitignore"
        ));
    }
    let targets: BTreeSet<&str> = fetched().flat_map(|package| several_targets(&package.variants)).collect();
    if !targets.is_empty() {
        let targets = targets.into_iter().map(|target| target.replacen("ios", "iOS", 1)).collect::<Vec<_>>().join(", ");
        session.printer.note(format_args!(
            "placed bundles for every deployment target ({targets}) since none was said: use `--target iOS17`, or \
             `target = \"iOS17\"` under \
             `[defaults]` of `{MANIFEST_NAME}`"
        ));
    }
}

/// Targets at the ends of ids, of variants that differ in nothing else.
fn several_targets(variants: &[FetchedVariant]) -> Vec<&str> {
    let mut targets: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for variant in variants {
        if let Some((start, end)) = variant.id.rsplit_once('-').filter(|(_, end)| end.starts_with("ios")) {
            targets.entry(start).or_default().push(end);
        }
    }
    targets.into_values().filter(|ends| ends.len() > 1).flatten().collect()
}

fn floor(arguments: &FetchArguments, session: &Session) -> Result<Option<OsFloor>, CommandError> {
    Ok(match arguments.target {
        Some(floor) => Some(floor),
        None => session.settings.floor()?,
    })
}

/// Fetches what the app manifest names.
fn app(arguments: &FetchArguments, session: &Session) -> Result<Exit, CommandError> {
    if arguments.from.is_some() {
        let hint = "name packages, or write the remote into `mlreg.toml`: `mlreg add PACKAGE --from URL`";
        return Err(CommandError::Usage { message: "`--from` needs a package", hint });
    }
    if arguments.upgrade {
        return Err(CommandError::Usage {
            message: "`--upgrade` needs a package",
            hint: "`mlreg update` moves the lock of an app",
        });
    }
    let narrowed = Wanted {
        variants: arguments.variant.iter().cloned().collect(),
        components: arguments.component.iter().cloned().collect(),
        tags: arguments.tag.iter().cloned().collect(),
        deliveries: arguments.deliveries().collect(),
        rename: BTreeMap::new(),
    };
    let options = AppFetchOptions {
        packages: arguments.packages.iter().map(|request| request.package.clone()).collect(),
        floor: arguments.target,
        built_for: session.settings.floor()?,
        narrowed,
        out: arguments.out.clone(),
        layout: arguments.layout.map(Into::into),
        locked: arguments.locked,
        xcode: session.settings.xcode,
        offline: arguments.offline,
        verify: arguments.verify,
        dry_run: arguments.dry_run,
    };
    let report = fetch_app(&session.context, &options)?;
    session.printer.report("fetch", &report, |printer| {
        report.warnings.iter().for_each(|warning| printer.warning(warning));
        print(printer, &report.packages, arguments.dry_run)?;
        report
            .packages
            .iter()
            .filter(|_| report.packages.len() > 1)
            .for_each(|package| printer.detail(summary(package)));
        printer.summary(app_summary(&report));
        say_defaults(arguments, session, &report.packages, report.manifest.parent().unwrap_or(Path::new("")));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn print(printer: &Printer, packages: &[FetchedPackage], dry_run: bool) -> Result<(), CommandError> {
    if dry_run {
        printer.table(&plan(packages))?;
        let costs = costs(packages);
        if !costs.is_empty() {
            printer.gap()?;
            printer.table(&costs)?;
        }
    }
    for variant in packages.iter().flat_map(|package| &package.variants) {
        printer.detail(format_args!("  {}  {}", variant.name, bytes(variant.bytes)));
    }
    Ok(())
}

/// Prints the summary.
fn app_summary(report: &AppFetchReport) -> String {
    let mut text = match &report.packages[..] {
        [] => format!("`{}` names no packages", report.manifest.display()),
        [package] => summary(package),
        packages => {
            let sum = |amount: fn(&FetchedPackage) -> u64| packages.iter().map(amount).fold(0, u64::saturating_add);
            let costs = format!(
                "{} downloaded, {} reused",
                bytes(sum(|it| it.downloaded_bytes)),
                bytes(sum(|it| it.reused_bytes))
            );
            let changed = packages.iter().filter(|package| package.status != FetchStatus::UpToDate).count();
            match packages.iter().any(|package| package.status == FetchStatus::DryRun) {
                true => format!(
                    "would fetch {}: {} to download",
                    count(changed, "package"),
                    bytes(sum(|it| it.downloaded_bytes))
                ),
                false if changed == 0 => format!("{} are up to date", count(packages.len(), "package")),
                false => format!("fetched {changed} of {}: {costs}", count(packages.len(), "package")),
            }
        }
    };
    if report.lock == LockChange::Written
        && !report.packages.iter().any(|package| package.status == FetchStatus::DryRun)
    {
        text += &format!("; wrote `{LOCK_NAME}`");
    }
    if !report.removed.is_empty() {
        text += &format!("; removed {}", count(report.removed.len(), "folder"));
    }
    text
}

/// Prints the cost of every delivery category and tag.
fn costs(packages: &[FetchedPackage]) -> Table {
    let mut table = Table::of(&COSTS);
    for package in packages {
        for cost in &package.costs {
            let (kind, name) = match (&cost.tag, cost.delivery) {
                (Some(tag), _) => ("tag", tag.to_string()),
                (None, delivery) => ("delivery", delivery.map(show::delivery).unwrap_or_default().to_owned()),
            };
            let (size, download) = (bytes(cost.bytes), bytes(cost.download_bytes));
            table.row([package.package.to_string(), kind.to_owned(), name, cost.variants.to_string(), size, download]);
        }
    }
    table
}

fn plan(packages: &[FetchedPackage]) -> Table {
    let mut table = Table::of(&PLAN);
    for package in packages {
        for variant in &package.variants {
            let version = package.version.to_string();
            let (size, download) = (bytes(variant.bytes), bytes(variant.download_bytes));
            table.row([package.package.to_string(), version, variant.id.clone(), variant.name.clone(), size, download]);
        }
    }
    table
}

fn summary(package: &FetchedPackage) -> String {
    let name = format!("{}@{}", package.package, package.version);
    let variants = count(package.variants.len() as u64, "variant");
    let costs = format!("{} downloaded, {} reused", bytes(package.downloaded_bytes), bytes(package.reused_bytes));
    let folder = package.folder.display();
    let plan = &package.plan;
    match package.status {
        FetchStatus::UpToDate => format!("{name} is up to date: {variants} in `{folder}`"),
        FetchStatus::Fetched => format!("fetched {name}: {variants} in `{folder}`, {costs}"),
        FetchStatus::DryRun => {
            let wanted = bytes(plan.present + plan.reused + plan.inline + plan.wanted);
            let (download, requests) = (bytes(plan.download), count(plan.requests, "request"));
            let here = format!("{} reused, {} here", bytes(plan.reused + plan.inline), bytes(plan.present));
            format!(
                "would fetch {name}: {variants} in `{folder}`, {wanted} wanted: {download} to download in {requests}, \
                 {here}"
            )
        }
    }
}
