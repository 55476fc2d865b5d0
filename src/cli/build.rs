//! `mlreg build`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CommandError, Exit, LayoutChoice, Session,
    printer::{Table, bytes, count},
    table::{self, Columns, natural},
};
use crate::workflow::build::{BuildOptions, BuildStatus, BuildWarning, PackageReport, build};

/// The rule whose sentence names its component.
const STAND_IN: &str = "stand-in";

const EXAMPLES: &str = "\
Examples:
  mlreg build manifests/flux_1_tae.toml
  mlreg build manifests/flux_1_tae.toml --variant 'decoder-1024-*' --out Models
  mlreg build manifests/*.toml --json";

const MANIFEST: &str = "\
A package manifest:
  [package]
  name = \"flux-1-tae\"
  version = \"1.0.0\"

  [[component]]
  name = \"decoder\"
  checkpoint = \"../checkpoints/taef1\"    # a folder, a file, or hf://ORG/REPO
  size = [768, 1024]                     # of pictures; text models have `sequence`
  target = \"iOS17\"                       # lowest OS that may load it
";

const COLUMNS: Columns = Columns { headings: &["VARIANT", ">SIZE", ">OWN"], wrapped: &[], left_out: &["OWN"] };

/// Convert checkpoints into bundles and store them as a release.
///
/// Weights are converted once and stored once, however many shapes and targets use them. Does nothing if the inputs
/// have not changed. The release is in the local store then: `mlreg publish` makes it visible to others. SIZE is a
/// variant's bytes by itself, OWN what no other variant has.
///
/// A version that was published and whose content would change is refused: raise the version in the manifest.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{MANIFEST}\n{}", table::help(EXAMPLES, &[&COLUMNS])))]
pub(super) struct BuildArguments {
    /// Package manifests (TOML)
    #[arg(value_name = "MANIFEST", required = true)]
    manifests: Vec<PathBuf>,
    /// Build only variants whose id matches, e.g. 'decoder-768-*'
    ///
    /// Repeat it for alternatives. A part of a package is no release: place it with `--out`, to try it.
    #[arg(long, value_name = "GLOB")]
    variant: Vec<String>,
    /// Place the bundles in DIR/<package>, under their full ids
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to place: linked, shared or copied [default: linked]
    ///
    /// `linked`: complete bundles, whose equal files are links to one file. `shared`: equal weight files are lifted out
    /// into the package's folder. `copied`: complete bundles without links.
    #[arg(long, requires = "out", default_value = "linked", hide_possible_values = true, hide_default_value = true)]
    layout: LayoutChoice,
    /// Convert again, even where nothing changed
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &BuildArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = BuildOptions {
        manifests: arguments.manifests.clone(),
        variants: arguments.variant.clone(),
        out: arguments.out.clone(),
        layout: arguments.layout.into(),
        force: arguments.force,
    };
    let report = build(&session.context, &options)?;
    session.printer.report("build", &report, |printer| {
        let mut table = Table::of(&COLUMNS);
        for package in report.packages.iter().filter(|package| package.status != BuildStatus::Unchanged) {
            let mut variants: Vec<_> = package.variants.iter().collect();
            variants.sort_by(|left, right| natural(&left.id, &right.id));
            for variant in variants {
                table.row([variant.id.clone(), bytes(variant.bytes), bytes(variant.unique_bytes)]);
            }
        }
        if !table.is_empty() {
            printer.table(&table)?;
        }
        for package in &report.packages {
            package.warnings.iter().for_each(|warning| printer.warning(told(warning)));
            printer.summary(summary(package));
        }
        let unproven = report.packages.iter().filter(|package| package.status != BuildStatus::Unchanged);
        let unproven = unproven.flat_map(|package| &package.variants).filter_map(|variant| variant.compiled.as_ref());
        let unproven = unproven.filter(|compiled| !compiled.run_on_device).count() as u64;
        if unproven > 0 {
            printer.summary(format_args!("{} not run on a device", count(unproven, "compiled bundle")));
        }
        if let Some(folder) = &report.placed {
            printer.summary(format_args!("placed in `{}`", folder.display()));
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// Formats a warning: component, sentence, number of other variants with the same warning, remedy.
fn told(warning: &BuildWarning) -> String {
    let others = warning.variants.len().saturating_sub(1) as u64;
    let others = if others > 0 { format!("; the same in {}", count(others, "other variant")) } else { String::new() };
    let advice = warning.advice.map_or(String::new(), |advice| format!(" ({advice})"));
    match warning.rule {
        STAND_IN => format!("{}{advice}", warning.text),
        _ => format!("component `{}`: {}{others}{advice}", warning.component, warning.text),
    }
}

fn summary(package: &PackageReport) -> String {
    let name = format!("{}@{}", package.package, package.version);
    match package.status {
        BuildStatus::Unchanged => format!("{name} is up to date: {}", count(package.variants.len() as u64, "variant")),
        BuildStatus::Built | BuildStatus::Partial => {
            let total = package.variants.iter().map(|variant| variant.bytes).fold(0, u64::saturating_add);
            let what = if package.status == BuildStatus::Partial { "a part of " } else { "" };
            format!(
                "built {what}{name}: {} of {} together, stored as {} ({} new) in {:.1} s",
                count(package.variants.len() as u64, "variant"),
                bytes(total),
                bytes(package.stored_bytes),
                bytes(package.new_bytes),
                package.elapsed.as_secs_f64(),
            )
        }
    }
}
