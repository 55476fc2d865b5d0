//! `mlreg inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Printer, Table, Verbosity, bytes, count},
    show,
    table::{self, Columns},
};
use crate::{
    contract::{Feature, Interface},
    fetch::is_placed,
    workflow::{
        self,
        bundles::{BundleArgument, BundleSubject},
        inspect::{
            BundleReport, CheckpointReport, Extent, FunctionMemory, InspectOptions, InspectReport, Needs,
            OperationCount, PackageListing, PartReport, inspect,
        },
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg inspect Models/flux-1-tae/decoder-1024-float16.mlpackage
  mlreg inspect flux-1-tae --variant decoder-1024-float16-ios18
  mlreg inspect Decoder.mlmodelc --json
  mlreg inspect decoder.mlpackage --program | less
  mlreg inspect checkpoints/flan-t5-small -v";

const BUNDLES: Columns = Columns { headings: &["BUNDLE", "TARGET", ">SIZE"], wrapped: &[], left_out: &["TARGET"] };
const FEATURES: Columns = Columns { headings: &["FUNCTION", "ROLE", "FEATURE"], wrapped: &["FEATURE"], left_out: &[] };
const OPERATORS: Columns = Columns::new(&["FUNCTION", "OPERATOR", ">COUNT"]);
const WEIGHTS: Columns = Columns {
    headings: &["WEIGHT FILE", "DTYPE", ">TENSORS", ">ELEMENTS", ">SIZE"],
    wrapped: &[],
    left_out: &["ELEMENTS", "TENSORS"],
};
const NEEDS: Columns =
    Columns { headings: &["FUNCTION", "OPERATION", "NEEDS", "FOR"], wrapped: &["FOR"], left_out: &["FUNCTION"] };
const DTYPES: Columns = Columns::new(&["DTYPE", ">TENSORS", ">PARAMETERS", ">SIZE"]);
const TENSORS: Columns = Columns { headings: &["TENSOR", "DTYPE", "SHAPE"], wrapped: &["SHAPE"], left_out: &[] };

/// Look into a bundle or checkpoint: interface, weights, memory, needs.
///
/// Reads a .mlpackage, a compiled .mlmodelc or a bare .mlmodel on this machine, whoever made it; or a checkpoint: a
/// folder as the Hub has it, or a weight file, of which `-v` lists every tensor. Of a pipeline, every part is shown.
/// Nothing is loaded or changed.
///
/// `memory` is an estimate of what a function needs that is run operation by operation, without fusing: weights as they
/// lie in the file (and expanded, where they are compressed), states, inputs, outputs, and the most that intermediate
/// results, outputs among them, take at once. Open lengths are those of the default shapes. `needs` is the lowest
/// deployment target that takes every operation, and what keeps the program from lower ones; `-v` lists the operations
/// that do. Warnings tell what devices and tools make of it; `--json` has their rules by name.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&BUNDLES, &FEATURES, &OPERATORS, &WEIGHTS, &NEEDS, &DTYPES, &TENSORS]))]
pub(super) struct InspectArguments {
    /// A bundle, a checkpoint, a package, or a placed folder
    ///
    /// A name that is a package's means the package; `./NAME` is the file or folder.
    #[arg(value_name = "PATH|PACKAGE")]
    subject: String,
    /// Of a package: inspect the variant whose id matches
    #[arg(long, value_name = "GLOB")]
    variant: Option<String>,
    /// Print the program as MIL text instead
    #[arg(long)]
    program: bool,
}

impl Session {
    /// What is to be inspected: as for other commands, but a checkpoint may be a folder or file of any name that is no
    /// package's.
    fn inspected(&self, text: &str) -> Result<BundleSubject, CommandError> {
        let Ok(argument) = text.parse::<BundleArgument>();
        let there = self.context.directory().join(text);
        let is_package = match &argument {
            BundleArgument::Name(request) => {
                !self.context.store().releases(&request.package).map_err(workflow::Error::from)?.is_empty()
            }
            BundleArgument::Path(_) | BundleArgument::Other(..) => false,
        };
        let is_plain = !is_placed(&there) && (there.exists() || matches!(argument, BundleArgument::Path(_)));
        if is_plain && !is_package { Ok(BundleSubject::Folder(PathBuf::from(text))) } else { self.subject(&argument) }
    }
}

pub(super) fn run(arguments: &InspectArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = InspectOptions {
        subject: session.inspected(&arguments.subject)?,
        variant: arguments.variant.clone(),
        program: arguments.program,
    };
    let report = inspect(&session.context, &options)?;
    session.printer.report("inspect", &report, |printer| match &report {
        InspectReport::Bundle(bundle) => print_bundle(bundle, printer),
        InspectReport::Checkpoint(checkpoint) => print_checkpoint(checkpoint, printer),
        InspectReport::Package(listing) => print_listing(listing, printer),
    })?;
    Ok(Exit::Ok)
}

fn print_bundle(bundle: &BundleReport, printer: &Printer) -> Result<(), CommandError> {
    if let Some(program) = &bundle.program {
        return printer.data(program);
    }
    printer.fields(&[fields(bundle), memory(&bundle.memory), needs(bundle.needs.as_ref())].concat())?;
    let is_verbose = printer.verbosity() >= Verbosity::Verbose;
    let needing = bundle.needs.as_ref().filter(|_| is_verbose).map(needing);
    for table in
        [features(&bundle.interface), operations(&bundle.operations), weights(bundle)].into_iter().chain(needing)
    {
        if !table.is_empty() {
            printer.gap()?;
            printer.table(&table)?;
        }
    }
    for part in &bundle.parts {
        print_part(part, "part ", printer)?;
    }
    bundle.problems.iter().for_each(|problem| printer.warning(problem));
    let several = bundle.memory.len() > 1;
    for warning in &bundle.warnings {
        match warning.function.as_ref().filter(|_| several) {
            Some(function) => printer.warning(format_args!("{function}: {}", warning.text)),
            None => printer.warning(&warning.text),
        }
    }
    Ok(())
}

fn print_listing(listing: &PackageListing, printer: &Printer) -> Result<(), CommandError> {
    let mut table = Table::of(&BUNDLES);
    for bundle in &listing.bundles {
        let target = bundle.target.map_or_else(|| "-".to_owned(), |target| target.to_string());
        table.row([bundle.bundle.clone(), target, bytes(bundle.bytes)]);
    }
    printer.table(&table)?;
    let first = listing.bundles.first().map_or("", |bundle| bundle.bundle.rsplit('/').next().unwrap_or_default());
    let bundles = count(listing.bundles.len() as u64, "bundle");
    printer.summary(format_args!("`{}` has {bundles}: inspect one with --variant '{first}'", listing.package));
    Ok(())
}

/// A part of a pipeline, as a bundle by itself; `place` says which pipeline it belongs to.
fn print_part(part: &PartReport, place: &str, printer: &Printer) -> Result<(), CommandError> {
    let place = format!("{place}{}", part.number);
    let label = if part.name.is_empty() { place.clone() } else { format!("{place}, \"{}\"", part.name) };
    let target = part.target.map_or_else(|| "unknown".to_owned(), |target| target.to_string());
    let version = part.specification_version.map_or_else(String::new, |version| format!(" (specification {version})"));
    let mut fields = vec![
        ("part", label.trim_start_matches("part ").to_owned()),
        ("kind", part.model_type.clone()),
        ("target", target + &version),
    ];
    fields.extend(part.weights.iter().map(|path| ("weights", path.to_string())));
    printer.gap()?;
    printer.fields(&[fields, memory(&part.memory), needs(part.needs.as_ref())].concat())?;
    let is_verbose = printer.verbosity() >= Verbosity::Verbose;
    let needing = part.needs.as_ref().filter(|_| is_verbose).map(needing);
    for table in [features(&part.interface), operations(&part.operations)].into_iter().chain(needing) {
        if !table.is_empty() {
            printer.gap()?;
            printer.table(&table)?;
        }
    }
    part.problems.iter().for_each(|problem| printer.warning(problem));
    part.warnings.iter().for_each(|warning| printer.warning(format_args!("{label}: {}", warning.text)));
    part.parts.iter().try_for_each(|inner| print_part(inner, &format!("{place}."), printer))
}

fn print_checkpoint(checkpoint: &CheckpointReport, printer: &Printer) -> Result<(), CommandError> {
    let mut fields = vec![("checkpoint", checkpoint.path.display().to_string())];
    fields.extend(checkpoint.model.clone().map(|model| ("model", model)));
    fields.extend(checkpoint.quantization.clone().map(|how| ("quantized", how)));
    fields.push(("parameters", checkpoint.parameters.to_string()));
    fields
        .push(("size", format!("{} in {}", bytes(checkpoint.bytes), count(checkpoint.tensors.len() as u64, "tensor"))));
    fields.extend(checkpoint.files.iter().map(|file| ("file", format!("{}, {}", file.name, bytes(file.bytes)))));
    printer.fields(&fields)?;
    let mut dtypes = Table::of(&DTYPES);
    for (dtype, total) in &checkpoint.dtypes {
        dtypes.row([dtype.clone(), total.tensors.to_string(), total.elements.to_string(), bytes(total.bytes)]);
    }
    printer.gap()?;
    printer.table(&dtypes)?;
    if printer.verbosity() < Verbosity::Verbose {
        return Ok(());
    }
    let mut tensors = Table::of(&TENSORS);
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
    let written = [
        ("about", &texts.description),
        ("version", &texts.version),
        ("author", &texts.author),
        ("license", &texts.license),
    ];
    fields.extend(
        written.into_iter().filter(|(_, text)| !text.is_empty()).map(|(label, text)| (label, text.replace('\n', " "))),
    );
    fields
        .extend(texts.user_defined.iter().map(|(key, value)| ("note", format!("{key} = {value}").replace('\n', " "))));
    fields
}

/// One line for each function.
fn memory(functions: &[FunctionMemory]) -> Vec<(&'static str, String)> {
    let line = |memory: &FunctionMemory| {
        let mut parts = vec![format!("weights {}", bytes(memory.weights.bytes))];
        parts.extend((memory.weights.expanded > 0).then(|| format!("expanded {}", bytes(memory.weights.expanded))));
        parts.extend((memory.states != Extent::default()).then(|| format!("states {}", extent(memory.states))));
        parts.extend(
            [("inputs", memory.inputs), ("outputs", memory.outputs)]
                .map(|(label, size)| format!("{label} {}", extent(size))),
        );
        let peak = memory.activations.peak.as_ref().map(|place| format!(" at {} ({})", place.name, place.operator));
        parts.push(format!("activations {}{}", extent(memory.activations.extent), peak.unwrap_or_default()));
        let function = if functions.len() > 1 { format!("{}: ", memory.function) } else { String::new() };
        ("memory", format!("{function}{}; estimated without fusing", parts.join(", ")))
    };
    functions.iter().map(line).collect()
}

fn extent(extent: Extent) -> String {
    match extent {
        Extent { bytes: size, unknown: 0 } => bytes(size),
        Extent { bytes: 0, unknown } => format!("not known ({} of open shapes)", count(unknown, "value")),
        Extent { bytes: size, unknown } => format!("{} and {} of open shapes", bytes(size), count(unknown, "value")),
    }
}

fn needs(needs: Option<&Needs>) -> Vec<(&'static str, String)> {
    let Some(needs) = needs else { return Vec::new() };
    let floor = match needs.floor {
        Some(floor) if floor == needs.declared => floor.to_string(),
        Some(floor) => format!("{floor} (declared for {})", needs.declared),
        None => format!("no target takes it (declared for {})", needs.declared),
    };
    let reasons: Vec<&str> = needs.of_floor().map(|need| need.what.as_str()).collect();
    let mut lines =
        vec![("needs", if reasons.is_empty() { floor } else { format!("{floor}: {}", reasons.join(", ")) })];
    if !needs.unknown_operators.is_empty() {
        let names: Vec<&str> = needs.unknown_operators.iter().map(String::as_str).collect();
        lines.push(("needs", format!("not known of {}", names.join(", "))));
    }
    lines
}

/// The operations that keep a program from lower targets than its floor.
fn needing(needs: &Needs) -> Table {
    let mut table = Table::of(&NEEDS);
    for need in needs.of_floor() {
        let target = need.target.map_or_else(|| "-".to_owned(), |target| target.to_string());
        for place in &need.operations {
            table.row([place.function.clone(), place.name.clone(), target.clone(), need.what.clone()]);
        }
    }
    table
}

fn features(interface: &Interface) -> Table {
    let mut table = Table::of(&FEATURES);
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

fn operations(functions: &[OperationCount]) -> Table {
    let mut table = Table::of(&OPERATORS);
    for function in functions {
        let mut operators: Vec<_> = function.operators.iter().collect();
        operators.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in operators {
            table.row([function.function.clone(), name.clone(), count.to_string()]);
        }
    }
    table
}

fn weights(bundle: &BundleReport) -> Table {
    let mut table = Table::of(&WEIGHTS);
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
