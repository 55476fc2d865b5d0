//! `mlreg fetch`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    CommandError, Exit, LayoutChoice, Session,
    printer::{Table, bytes, count},
    remote_url,
};
use crate::{
    base::{OsFloor, RemoteUrl, Tag},
    manifest::release::Delivery,
    workflow::{
        PackageRequest,
        fetch::{FetchOptions, FetchStatus, FetchedPackage, fetch},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg fetch flux-1-tae --from https://models.acme.dev/registry --target iOS17 --out Models
  mlreg fetch flux-1-tae@1 --from /srv/registry --variant 'decoder-1024-*' --layout copied
  mlreg fetch flux-1-tae --from /srv/registry --delivery initial --tag preview --dry-run
  mlreg fetch flux-1-tae --offline";

/// Fetch the part of a package that an app needs.
///
/// Downloads what is missing, verifies it, and places it in a folder. Several values of one flag are alternatives, different flags narrow: (variant A or B) and (tag P or Q). With a target there is one
/// bundle for each variant, the one for the highest target that is not above it; the bundle's name then has no target in it. Without any
/// target all of them are placed. In a build phase of Xcode the target is the deployment target.
///
/// A folder that satisfies the request already is left alone, and nothing is asked of the remote; `--upgrade` looks for something newer.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct FetchArguments {
    /// Packages, e.g. `tae` or `tae@1.2`
    ///
    /// Requirements are cargo's: `tae@1.2` is 1.2.0 or any later version below 2.0.0. The highest that matches is taken; pre-releases
    /// only where the requirement names one.
    #[arg(value_name = "PACKAGE[@REQ]", required = true)]
    packages: Vec<PackageRequest>,
    /// The remote: a folder, file:// or http(s)://
    #[arg(long, value_name = "URL", value_parser = remote_url, required_unless_present = "offline")]
    from: Option<RemoteUrl>,
    /// Lowest OS version that the app supports, e.g. iOS17.2
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
    /// Only what is wanted then: initial, prefetch or on-demand
    #[arg(long, value_name = "WHEN", hide_possible_values = true)]
    delivery: Vec<DeliveryChoice>,
    /// Place the bundles in DIR/<package>
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How to place: linked, shared or copied
    ///
    /// `linked`: complete bundles, whose equal files are links to one file. `shared`: equal weight files are lifted out into the package's
    /// folder. `copied`: complete bundles without links.
    #[arg(long, default_value = "linked", hide_possible_values = true)]
    layout: LayoutChoice,
    /// Use the store alone
    #[arg(long, conflicts_with = "upgrade")]
    offline: bool,
    /// Look for a newer version than the one in place
    #[arg(long)]
    upgrade: bool,
    /// Only say what would be downloaded and placed
    #[arg(long)]
    dry_run: bool,
}

/// When a tag's bytes are wanted.
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
    let floor = match arguments.target {
        Some(floor) => Some(floor),
        None => session.settings.floor()?,
    };
    let options = FetchOptions {
        requests: arguments.packages.clone(),
        from: arguments.from.clone(),
        floor,
        variants: arguments.variant.clone(),
        components: arguments.component.clone(),
        tags: arguments.tag.clone(),
        deliveries: arguments.delivery.iter().map(|&choice| choice.into()).collect(),
        out: arguments.out.clone(),
        layout: arguments.layout.into(),
        offline: arguments.offline,
        upgrade: arguments.upgrade,
        verify: false,
        staging: Default::default(),
        dry_run: arguments.dry_run,
    };
    let report = fetch(&session.context, &options)?;
    session.printer.report("fetch", &report, |printer| {
        if arguments.dry_run {
            printer.table(&plan(&report.packages))?;
        }
        for package in &report.packages {
            for variant in &package.variants {
                printer.detail(format_args!("  {}  {}", variant.name, bytes(variant.bytes)));
            }
            printer.summary(summary(package));
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn plan(packages: &[FetchedPackage]) -> Table {
    let mut table = Table::new(["PACKAGE", "VERSION", "VARIANT", "PLACED AS", ">SIZE", ">DOWNLOAD"]);
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
            format!("would fetch {name}: {variants} in `{folder}`, {wanted} wanted: {download} to download in {requests}, {here}")
        }
    }
}
