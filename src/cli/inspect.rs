//! `mlreg inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Printer, Table, Verbosity, bytes, count},
    show,
};
use crate::{
    manifest::release::{Feature, Interface},
    workflow::inspect::{BundleReport, CheckpointReport, InspectOptions, InspectReport, inspect},
};

const EXAMPLES: &str = "\
Examples:
  mlreg inspect Models/flux-1-tae/decoder-1024-float16.mlpackage
  mlreg inspect Decoder.mlmodelc --json
  mlreg inspect decoder.mlpackage --program | less
  mlreg inspect checkpoints/flan-t5-small -v";

/// Look into a bundle or checkpoint: interface, operations, weights.
///
/// Reads a .mlpackage, a compiled .mlmodelc or a bare .mlmodel on this machine, whoever made it; or a checkpoint: a folder as the Hub has
/// it, or a weight file, of which `-v` lists every tensor. Nothing is loaded or changed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct InspectArguments {
    /// A folder or file
    #[arg(value_name = "BUNDLE|CHECKPOINT")]
    path: PathBuf,
    /// Print the program as MIL text instead
    #[arg(long)]
    program: bool,
}

pub(super) fn run(arguments: &InspectArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = InspectOptions { path: arguments.path.clone(), program: arguments.program };
    let report = inspect(&session.context, &options)?;
    session.printer.report("inspect", &report, |printer| match &report {
        InspectReport::Bundle(bundle) => print_bundle(bundle, printer),
        InspectReport::Checkpoint(checkpoint) => print_checkpoint(checkpoint, printer),
    })?;
    Ok(Exit::Ok)
}

fn print_bundle(bundle: &BundleReport, printer: &Printer) -> Result<(), CommandError> {
    if let Some(program) = &bundle.program {
        return printer.data(program);
    }
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

fn print_checkpoint(checkpoint: &CheckpointReport, printer: &Printer) -> Result<(), CommandError> {
    let mut fields = vec![("checkpoint", checkpoint.path.display().to_string())];
    fields.extend(checkpoint.model.clone().map(|model| ("model", model)));
    fields.push(("parameters", checkpoint.parameters.to_string()));
    fields.push(("size", format!("{} in {}", bytes(checkpoint.bytes), count(checkpoint.tensors.len() as u64, "tensor"))));
    fields.extend(checkpoint.files.iter().map(|file| ("file", format!("{}, {}", file.name, bytes(file.bytes)))));
    printer.fields(&fields)?;
    let mut dtypes = Table::new(["DTYPE", ">TENSORS", ">PARAMETERS", ">SIZE"]);
    for (dtype, total) in &checkpoint.dtypes {
        dtypes.row([dtype.clone(), total.tensors.to_string(), total.elements.to_string(), bytes(total.bytes)]);
    }
    printer.gap()?;
    printer.table(&dtypes)?;
    if printer.verbosity() < Verbosity::Verbose {
        return Ok(());
    }
    let mut tensors = Table::new(["TENSOR", "DTYPE", "SHAPE"]);
    for tensor in &checkpoint.tensors {
        tensors.row([tensor.name.clone(), tensor.dtype.clone(), format!("{:?}", tensor.shape)]);
    }
    printer.gap()?;
    printer.table(&tensors)
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
            let mut row = |feature: &Feature| table.row([function.to_owned(), role.to_owned(), feature.to_string()]);
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
