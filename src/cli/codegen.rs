//! `mlreg codegen`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{CommandError, Exit, Session, printer::count};
use crate::workflow::{
    PackageRequest,
    codegen::{CodegenOptions, swift},
};

const EXAMPLES: &str = "\
Examples:
  mlreg codegen swift flux-1-tae --out Sources
  mlreg codegen swift exaone-4.0-1.2b@1.0 --out App/Sources/Models";

/// Write source code that loads and runs the bundles of a package.
///
/// Every bundle becomes a type with the inputs and outputs of its release. An actor loads bundles on first use and
/// unloads them on a memory warning. Causal language models get an actor that generates tokens: with caches as states
/// or as inputs, chunks, functions, and sampling with a seed. Unchanged files are not written again. The code compiles
/// as Swift 5 and Swift 6 and needs iOS 16, for states and functions iOS 18; it was not run on a device.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CodegenArguments {
    /// The language: swift
    #[arg(value_name = "LANGUAGE", hide_possible_values = true)]
    language: Language,
    /// The package in the store, e.g. `tae` or `tae@1.2`
    #[arg(value_name = "PACKAGE[@REQ]")]
    package: PackageRequest,
    /// Write the files to DIR
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name the Swift enum NAME
    ///
    /// By default it has the package's name: `flux-1-tae` becomes `Flux1Tae`.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Language of the generated code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Swift,
}

pub(super) fn run(arguments: &CodegenArguments, session: &Session) -> Result<Exit, CommandError> {
    let options =
        CodegenOptions { request: arguments.package.clone(), out: arguments.out.clone(), name: arguments.name.clone() };
    let report = match arguments.language {
        Language::Swift => swift(&session.context, &options)?,
    };
    session.printer.report("codegen", &report, |printer| {
        report.warnings.iter().for_each(|warning| printer.warning(warning));
        let changed = report.files.values().filter(|changed| **changed).count();
        let files = count(report.files.len() as u64, "file");
        report
            .removed
            .iter()
            .for_each(|path| printer.summary(format_args!("removed `{}`: not needed any more", path.display())));
        printer.summary(format_args!(
            "wrote {changed} of {files} for `{}` to `{}`",
            report.release,
            arguments.out.display()
        ));
        Ok(())
    })?;
    Ok(Exit::Ok)
}
