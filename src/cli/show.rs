//! `mlreg show`.

use std::collections::BTreeSet;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Printer, Table, bytes, count},
    remote_url,
    table::{self, Columns, natural},
};
use crate::{
    contract::{Feature, Interface},
    manifest::release::{BundleKind, Delivery},
    remote::{RemoteUrl, readable_forms},
    workflow::{
        PackageRequest,
        show::{ShowOptions, ShowReport, ShownVariant, show},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg show flux-1-tae
  mlreg show flux-1-tae@1.2 --from https://models.acme.dev/registry
  mlreg show flux-1-tae --json | jq -r '.variants[].id'";

const VARIANTS: Columns = Columns {
    headings: &[
        "VARIANT",
        "COMPONENT",
        "SHAPE",
        "PRECISION",
        "TARGET",
        "KIND",
        "DELIVERY",
        "TAGS",
        ">SIZE",
        ">SHARED",
        ">OWN",
    ],
    wrapped: &["TAGS"],
    left_out: &["COMPONENT", "KIND", "PRECISION", "TARGET", "SHAPE", "DELIVERY", "SHARED", "TAGS"],
};

const INTERFACES: Columns = Columns {
    headings: &["VARIANT", "FUNCTION", "INPUTS", "OUTPUTS", "STATES"],
    wrapped: &["INPUTS", "OUTPUTS", "STATES"],
    left_out: &[],
};

/// Show a release: its variants with sizes, inputs and outputs.
///
/// SIZE is a variant's bytes by itself. SHARED is the part that other variants of the release have, too, OWN the rest:
/// what the variant adds to a fetch that has the others already. Sizes are decimal.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&VARIANTS, &INTERFACES]))]
pub(super) struct ShowArguments {
    /// The package, e.g. `tae` or `tae@1.2`
    ///
    /// Requirements are cargo's: `tae@1.2` is 1.2.0 or any later version below 2.0.0. The highest that matches is
    /// taken; pre-releases only where the requirement names one.
    #[arg(value_name = "PACKAGE[@REQ]")]
    package: PackageRequest,
    #[arg(long, value_name = "URL", value_parser = remote_url, help = format!("The remote: {}", readable_forms()))]
    from: Option<RemoteUrl>,
}

pub(super) fn run(arguments: &ShowArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = ShowOptions { request: arguments.package.clone(), from: arguments.from.clone() };
    let report = show(&session.context, &options)?;
    session.printer.report("show", &report, |printer| print(&report, printer))?;
    Ok(Exit::Ok)
}

fn print(report: &ShowReport, printer: &Printer) -> Result<(), CommandError> {
    let mut fields = vec![
        ("package", format!("{}@{}", report.package, report.version)),
        ("release", format!("sha256:{}", report.release)),
        ("source", report.source.clone()),
    ];
    fields.extend(report.description.clone().map(|text| ("about", text)));
    fields.extend(report.license.clone().map(|text| ("license", text)));
    let size = format!(
        "{} in {}; {} when each variant is counted alone",
        bytes(report.stored_bytes),
        count(report.blobs, "blob"),
        bytes(report.bytes)
    );
    fields.push(("size", size));
    fields.extend(compiled(report).map(|text| ("compiled", text)));
    printer.fields(&fields)?;
    printer.gap()?;
    printer.table(&variants(report))?;
    let interfaces = interfaces(report);
    if !interfaces.is_empty() {
        printer.gap()?;
        printer.table(&interfaces)?;
    }
    Ok(())
}

/// The variants, sorted by id in natural order.
fn sorted(report: &ShowReport) -> Vec<&ShownVariant> {
    let mut variants: Vec<&ShownVariant> = report.variants.iter().collect();
    variants.sort_by(|left, right| natural(&left.id, &right.id));
    variants
}

fn variants(report: &ShowReport) -> Table {
    let mut table = Table::of(&VARIANTS);
    for variant in sorted(report) {
        table.row([
            variant.id.clone(),
            variant.component.clone(),
            shape(variant),
            precision(variant),
            variant.target.map_or_else(dash, |target| target.to_string()),
            kind(variant.kind).to_owned(),
            delivery(variant.delivery).to_owned(),
            or_dash(variant.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>().join(" ")),
            bytes(variant.bytes),
            bytes(variant.shared_bytes),
            bytes(variant.unique_bytes),
        ]);
    }
    table
}

/// Notes the compiler of compiled bundles, and that they were not run on a device.
fn compiled(report: &ShowReport) -> Option<String> {
    let compiled: Vec<_> = report.variants.iter().filter_map(|variant| variant.compiled.as_ref()).collect();
    let compilers: BTreeSet<&str> = compiled.iter().map(|compiled| compiled.compiler.as_str()).collect();
    let note = if compiled.iter().all(|compiled| compiled.run_on_device) { "" } else { "; not run on a device" };
    let by = compilers.into_iter().collect::<Vec<_>>().join(" and ");
    (!compiled.is_empty()).then(|| format!("{} by {by}{note}", count(compiled.len() as u64, "variant")))
}

fn interfaces(report: &ShowReport) -> Table {
    let mut table = Table::of(&INTERFACES);
    let mut row = |id: &str, function: &str, interface: &Interface| {
        let Interface { inputs, outputs, states, .. } = interface;
        table.row([id.to_owned(), function.to_owned(), features(inputs), features(outputs), features(states)]);
    };
    for variant in sorted(report) {
        let Some(interface) = &variant.interface else { continue };
        if interface.functions.is_empty() {
            row(&variant.id, "-", interface);
        }
        interface.functions.iter().for_each(|(name, function)| row(&variant.id, name, function));
    }
    table
}

/// The shape of a variant, spelled as in ids.
fn shape(variant: &ShownVariant) -> String {
    let axis = |key: &str, prefix: &str| variant.axes.get(key).map(|value| format!("{prefix}{value}"));
    let parts = [axis("size", ""), axis("sequence", "s"), axis("encoder-sequence", "e"), axis("context", "c")];
    or_dash(parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

fn precision(variant: &ShownVariant) -> String {
    let compression = variant.axes.get("compression").filter(|value| value.as_str() != "none");
    let parts = [variant.axes.get("precision"), compression];
    or_dash(parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" "))
}

pub(super) fn kind(kind: BundleKind) -> &'static str {
    match kind {
        BundleKind::MlPackage => "mlpackage",
        BundleKind::MlModelC => "mlmodelc",
        BundleKind::AiModel => "aimodel",
        BundleKind::Onnx => "onnx",
        BundleKind::Files => "files",
    }
}

pub(super) fn delivery(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Initial => "initial",
        Delivery::Prefetch => "prefetch",
        Delivery::OnDemand => "on-demand",
    }
}

/// `latent float16[1,16,96,96], ...`
pub(super) fn features(features: &[Feature]) -> String {
    or_dash(features.iter().map(Feature::to_string).collect::<Vec<_>>().join(", "))
}

fn dash() -> String {
    "-".to_owned()
}

fn or_dash(text: String) -> String {
    if text.is_empty() { dash() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_show_how_far_they_bend() {
        let fixed =
            Feature { name: "x".to_owned(), dtype: "float16".to_owned(), shape: vec![1, 3], ..Feature::default() };
        let ranges =
            Feature { ranges: Some(vec![(1, Some(1)), (1, Some(8)), (2, None)]), optional: true, ..fixed.clone() };
        let enumerated = Feature { enumerated: Some(vec![vec![1], vec![2]]), ..fixed.clone() };
        assert_eq!(features(&[fixed, ranges, enumerated]), "x float16[1,3], x? float16[1,1..8,2..], x float16[1]|[2]");
        assert_eq!(features(&[]), "-");
    }
}
