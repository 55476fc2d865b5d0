//! `mlreg inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Printer, Table, bytes, count},
    show,
};
use crate::{
    manifest::release::{Feature, Interface},
    workflow::inspect::{BundleReport, InspectOptions, InspectReport, inspect},
};

const EXAMPLES: &str = "\
Examples:
  mlreg inspect Models/flux-1-tae/decoder-1024-float16.mlpackage
  mlreg inspect Decoder.mlmodelc --json
  mlreg inspect decoder.mlpackage --program | less";

/// Look into a bundle: inputs, outputs, operations, weights.
///
/// Reads a .mlpackage, a compiled .mlmodelc or a bare .mlmodel on this machine, whoever made it. Nothing is loaded or changed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct InspectArguments {
    /// The bundle's folder or file
    #[arg(value_name = "BUNDLE")]
    path: PathBuf,
    /// Print the program as MIL text instead
    #[arg(long)]
    program: bool,
}

pub(super) fn run(arguments: &InspectArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = InspectOptions { path: arguments.path.clone(), program: arguments.program };
    let report = inspect(&session.context, &options)?;
    let InspectReport::Bundle(bundle) = &report;
    session.printer.report("inspect", &report, |printer| match &bundle.program {
        Some(program) => printer.data(program),
        None => print(bundle, printer),
    })?;
    Ok(Exit::Ok)
}

fn print(bundle: &BundleReport, printer: &Printer) -> Result<(), CommandError> {
    printer.fields(&fields(bundle))?;
    for table in [features(&bundle.interface), operations(bundle), weights(bundle)] {
        if !table.is_empty() {
            printer.gap()?;
            printer.table(&table)?;
        }
    }
    bundle.problems.iter().for_each(|problem| printer.warning(problem));
    Ok(())
}

fn fields(bundle: &BundleReport) -> Vec<(&'static str, String)> {
    let target = match (bundle.target, bundle.specification_version) {
        (Some(target), Some(version)) => format!("{target} (specification {version})"),
        (None, Some(version)) => format!("unknown (specification {version})"),
        _ => "not stated".to_owned(),
    };
    let texts = &bundle.texts;
    let mut fields = vec![
        ("bundle", bundle.path.display().to_string()),
        ("kind", format!("{}, {}", show::kind(bundle.kind), bundle.model_type)),
        ("target", target),
        ("size", format!("{} in {}", bytes(bundle.bytes), count(bundle.files, "file"))),
    ];
    let written = [("about", &texts.description), ("version", &texts.version), ("author", &texts.author), ("license", &texts.license)];
    fields.extend(written.into_iter().filter(|(_, text)| !text.is_empty()).map(|(label, text)| (label, text.replace('\n', " "))));
    fields.extend(texts.user_defined.iter().map(|(key, value)| ("note", format!("{key} = {value}").replace('\n', " "))));
    fields
}

fn features(interface: &Interface) -> Table {
    let mut table = Table::new(["FUNCTION", "ROLE", "FEATURE"]);
    let mut rows = |function: &str, interface: &Interface| {
        let roles = [("input", &interface.inputs), ("output", &interface.outputs), ("state", &interface.states)];
        for (role, features) in roles {
            let mut row = |feature: &Feature| table.row([function.to_owned(), role.to_owned(), show::feature(feature)]);
            features.iter().for_each(&mut row);
        }
    };
    if interface.functions.is_empty() {
        rows("main", interface);
    }
    interface.functions.iter().for_each(|(name, function)| rows(name, function));
    table
}

fn operations(bundle: &BundleReport) -> Table {
    let mut table = Table::new(["FUNCTION", "OPERATOR", ">COUNT"]);
    for function in &bundle.operations {
        let mut operators: Vec<_> = function.operators.iter().collect();
        operators.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in operators {
            table.row([function.function.clone(), name.clone(), count.to_string()]);
        }
    }
    table
}

fn weights(bundle: &BundleReport) -> Table {
    let mut table = Table::new(["WEIGHT FILE", "DTYPE", ">TENSORS", ">ELEMENTS", ">SIZE"]);
    for file in &bundle.weights {
        let Some(dtypes) = &file.dtypes else {
            table.row([file.path.to_string(), "-".to_owned(), "-".to_owned(), "-".to_owned(), bytes(file.bytes)]);
            continue;
        };
        for (dtype, total) in dtypes {
            let numbers = [total.tensors.to_string(), total.elements.to_string(), bytes(total.bytes)];
            let [tensors, elements, size] = numbers;
            table.row([file.path.to_string(), dtype.clone(), tensors, elements, size]);
        }
    }
    table
}
