//! `mlreg eval`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{
    CommandError, Exit, Session,
    eval_language::{self, LanguageEvalArguments},
    eval_texts::{self, Common, TextEvalArguments},
    numbers,
    printer::{Printer, Table, Verbosity, count},
    run::{FitChoice, RangeChoice},
    table::{self, Columns, natural},
};
use crate::{
    eval::{Mode, metrics::Thresholds},
    workflow::{
        bundles::BundleArgument,
        eval::{EvalOptions, EvalReference, EvalReport, eval},
        run::PictureChoice,
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg eval flux-1-tae --golden golden.safetensors --min-psnr 45
  mlreg eval decoder-int8.mlpackage --against decoder.mlpackage --samples 8
  mlreg eval decoder-int8.mlpackage --against decoder.mlpackage --per-op
  mlreg eval flux-1-tae --against flux-1-tae --report out.html
  mlreg eval flux-1-tae --roundtrip photo.jpg --pictures out
  mlreg eval encoder.mlpackage --input photo.jpg --fit crop --expect latent.npy --atol 1e-3
  mlreg eval flan-t5-base --source test.en --reference test.de --min-bleu 20
  mlreg eval --hypothesis out.de --reference test.de --tokenize intl
  mlreg eval exaone-4.0-1.2b --text-file wiki.txt --report out.html";

const OUTPUTS: Columns = Columns {
    headings: &[
        "BUNDLE", "CASE", "OUTPUT", ">MAX ABS", ">MAE", ">RMSE", ">PSNR", ">SNR", ">COSINE", ">ARGMAX", ">KL", "RESULT",
    ],
    wrapped: &[],
    left_out: &["RMSE", "MAE", "SNR", "CASE", "COSINE", "KL", "ARGMAX", "OUTPUT"],
};

const OPERATIONS: Columns = Columns {
    headings: &["BUNDLE", "CASE", "RESULT", "OPERATOR", ">RELATIVE", ">CAME IN", ">MAX ABS", ">COSINE"],
    wrapped: &[],
    left_out: &["CASE", "COSINE", "MAX ABS", "BUNDLE"],
};

/// How many operations the table of `--per-op` shows without `-v`.
const LARGEST: usize = 10;

/// Compare numbers with recorded tensors, another bundle or a picture, texts with references.
///
/// Runs ML Programs in an interpreter, as `mlreg run` does, and measures how far their results are from the reference.
/// Numbers that are not as near as --atol, --rtol and --min-psnr ask for, and NaN anywhere, end in exit code 3.
/// Translations are scored as sacrebleu does, with BLEU, chrF and chrF++; language models by the perplexity of a text.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&OUTPUTS, &OPERATIONS, &eval_texts::SCORES, &eval_texts::SIGNS, &eval_language::MODELS]))]
#[command(override_usage = "mlreg eval <BUNDLE|PACKAGE>... <--golden FILE|--against BUNDLE|--expect FILE|--roundtrip \
         PICTURE|--source FILE --reference FILE|--text-file FILE> [OPTIONS]")]
#[command(group = ArgGroup::new("compared").required(true).multiple(true).args(["golden", "against", "expect", "roundtrip", "text_reference", "text_file"]))]
#[command(group = ArgGroup::new("numbers").multiple(true).args(["golden", "against", "expect", "roundtrip"]).conflicts_with("texts"))]
#[command(group = ArgGroup::new("texts").multiple(true).args(["source", "hypothesis"]))]
pub(super) struct EvalArguments {
    /// Packages of the store, placed folders, or .mlpackages
    #[arg(value_name = "BUNDLE|PACKAGE", required_unless_present = "hypothesis")]
    subject: Vec<BundleArgument>,
    /// Of packages: compare the variants whose ids match
    #[arg(long, value_name = "GLOB")]
    variant: Vec<String>,
    /// Run this function
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Compare with the tensors that FILE recorded
    ///
    /// A .safetensors or .npz file of tensors called `CASE.in.NAME` and `CASE.out.NAME`, or without a case. Ids that
    /// are shorter than a bundle's fixed length are padded and masked; the valid part is compared. With --against, only
    /// its inputs are used.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["expect", "roundtrip"])]
    golden: Option<PathBuf>,
    /// Compare with another bundle
    ///
    /// Of a package, every variant is compared with the variant of the same id; in one package with the most precise
    /// variant of its component and shape.
    #[arg(long, value_name = "BUNDLE|PACKAGE", conflicts_with_all = ["expect", "roundtrip"])]
    against: Option<BundleArgument>,
    /// Of --against: variants whose ids match
    #[arg(long, value_name = "GLOB", requires = "against")]
    against_variant: Vec<String>,
    /// Compare with what FILE says should come out
    ///
    /// Of --input. A .safetensors, .npz, .npy, .png or .jpg file. Where an output is an image, a picture is compared
    /// with its pixels, cut off and rounded as on a device.
    #[arg(long, value_name = "FILE", requires = "input", conflicts_with = "roundtrip")]
    expect: Vec<PathBuf>,
    /// Compare a picture with what encoder and decoder give back
    ///
    /// The picture is resampled where bundles have other sizes.
    #[arg(long, value_name = "PICTURE", conflicts_with_all = ["input", "per_op"])]
    roundtrip: Option<PathBuf>,
    /// Take input tensors from FILE instead of making them
    #[arg(long, value_name = "FILE", conflicts_with = "golden")]
    input: Vec<PathBuf>,
    /// Number of generated inputs
    #[arg(long, value_name = "N", default_value = "1", hide_default_value = true, requires = "against")]
    samples: u32,
    /// Seed of the generated inputs
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    seed: u64,
    /// Compare operations: where do they start to differ?
    #[arg(long, requires = "against")]
    per_op: bool,
    /// What a name in files means: latents_nchw=latent
    #[arg(long, value_name = "NAME=NAME")]
    map: Vec<String>,
    /// Largest absolute error that passes
    ///
    /// With --rtol: |found - expected| <= ATOL + RTOL * |expected|.
    #[arg(long, value_name = "NUMBER", value_parser = numbers::not_negative, allow_negative_numbers = true, conflicts_with_all = ["texts", "text_file"])]
    atol: Option<f64>,
    /// Largest relative error that passes
    #[arg(long, value_name = "NUMBER", value_parser = numbers::not_negative, allow_negative_numbers = true, conflicts_with_all = ["texts", "text_file"])]
    rtol: Option<f64>,
    /// Lowest peak signal to noise ratio that passes, in dB
    #[arg(long, value_name = "DB", value_parser = numbers::finite, allow_negative_numbers = true, conflicts_with_all = ["texts", "text_file"])]
    min_psnr: Option<f64>,
    /// Numbers of pictures: unit, signed or byte [default: unit]
    ///
    /// For arrays. Images have pixels from 0 to 255 in the order of their color space.
    #[arg(long, hide_possible_values = true)]
    range: Option<RangeChoice>,
    /// Resize pictures to what the input takes: stretch, crop or pad
    #[arg(long, value_name = "MODE", hide_possible_values = true, requires = "input")]
    fit: Option<FitChoice>,
    /// Compute in float32 throughout
    #[arg(long)]
    float32: bool,
    /// Write pictures into DIR: expected, found, difference
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Write a page of HTML with a verdict, tables, charts and pictures
    ///
    /// One file for a browser without a network. Of translations it shows the worst lines first and marks where they
    /// differ from the references; of language models, the positions where they are farthest from the most precise one.
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    #[command(flatten)]
    texts: TextEvalArguments,
    #[command(flatten)]
    language: LanguageEvalArguments,
}

impl EvalArguments {
    fn reference(&self, session: &Session) -> Result<EvalReference, CommandError> {
        Ok(match (&self.against, &self.roundtrip, &self.golden) {
            (Some(subject), ..) => {
                let subject = session.subject(subject)?;
                EvalReference::Bundle { subject, variants: self.against_variant.clone(), golden: self.golden.clone() }
            }
            (None, Some(picture), _) => EvalReference::Roundtrip(picture.clone()),
            (None, None, Some(golden)) => EvalReference::Golden(golden.clone()),
            (None, None, None) => EvalReference::Expected(self.expect.clone()),
        })
    }
}

pub(super) fn run(arguments: &EvalArguments, session: &Session) -> Result<Exit, CommandError> {
    let mode = if arguments.float32 { Mode::Float32 } else { Mode::Declared };
    let subjects = arguments.subject.iter().map(|subject| session.subject(subject)).collect::<Result<Vec<_>, _>>()?;
    if let Some(text) = arguments.language.text() {
        let variants = arguments.variant.clone();
        let common = Common { subjects, variants, mode, report: arguments.report.clone() };
        return eval_language::run(&arguments.language, text, arguments.texts.tokenizer(), common, session);
    }
    if arguments.texts.is_asked_for() {
        let variants = arguments.variant.clone();
        return eval_texts::run(
            &arguments.texts,
            Common { subjects, variants, mode, report: arguments.report.clone() },
            session,
        );
    }
    let options = EvalOptions {
        subjects,
        variants: arguments.variant.clone(),
        function: arguments.function.clone(),
        reference: arguments.reference(session)?,
        inputs: arguments.input.clone(),
        names: arguments.map.clone(),
        samples: arguments.samples,
        seed: arguments.seed,
        per_operation: arguments.per_op,
        mode,
        picture: PictureChoice { range: arguments.range.map(Into::into), fit: arguments.fit.map(Into::into) },
        thresholds: Thresholds { atol: arguments.atol, rtol: arguments.rtol, min_psnr: arguments.min_psnr },
        pictures: arguments.pictures.clone(),
        report: arguments.report.clone(),
    };
    let report = eval(&session.context, &options)?;
    session.printer.report("eval", &report, |printer| print(&report, printer))?;
    say(&report, &session.printer);
    Ok(if report.passed { Exit::Ok } else { Exit::Verification })
}

fn print(report: &EvalReport, printer: &Printer) -> Result<(), CommandError> {
    printer.table(&outputs(report))?;
    let table = operations(report, printer.verbosity());
    if !table.is_empty() {
        printer.gap()?;
        printer.table(&table)?;
    }
    Ok(())
}

fn outputs(report: &EvalReport) -> Table {
    let mut table = Table::of(&OUTPUTS);
    let small = |value: f64| format!("{value:.2e}");
    let decibels = |value: f64| format!("{value:.2}");
    let mut outputs: Vec<_> = report.outputs().collect();
    outputs.sort_by(|(left, ..), (right, ..)| natural(&left.bundle, &right.bundle));
    for (bundle, case, output) in outputs {
        let metrics = &output.metrics;
        let [agreement, divergence] = match &metrics.logits {
            Some(logits) => [format!("{:.2} %", logits.argmax_agreement * 100.0), small(logits.kl_mean)],
            None => ["-".to_owned(), "-".to_owned()],
        };
        table.row([
            bundle.bundle.clone(),
            dash(&case.case).to_owned(),
            output.name.clone(),
            small(metrics.max_abs),
            small(metrics.mae),
            small(metrics.rmse),
            decibels(metrics.psnr),
            decibels(metrics.snr),
            format!("{:.8}", metrics.cosine),
            agreement,
            divergence,
            report.verdict(metrics.failures.is_empty()).unwrap_or("-").to_owned(),
        ]);
    }
    table
}

/// The operations with the largest own error; all of them with `-v`.
fn operations(report: &EvalReport, verbosity: Verbosity) -> Table {
    let mut table = Table::of(&OPERATIONS);
    for (bundle, case) in report.cases() {
        let Some(operations) = &case.operations else { continue };
        let shown = match verbosity {
            Verbosity::Verbose => operations.distances.iter().collect(),
            _ => operations.largest(LARGEST),
        };
        for distance in shown {
            let [relative, inherited, max_abs] =
                [distance.relative, distance.inherited, distance.max_abs].map(|value| format!("{value:.2e}"));
            let names =
                [bundle.bundle.as_str(), dash(&case.case), &distance.name, &distance.operator].map(str::to_owned);
            let [bundle, case, name, operator] = names;
            table.row([bundle, case, name, operator, relative, inherited, max_abs, format!("{:.8}", distance.cosine)]);
        }
    }
    table
}

/// Name of a case; empty for the only case of a file.
fn dash(case: &str) -> &str {
    if case.is_empty() { "-" } else { case }
}

/// Prints remarks below the table.
fn say(report: &EvalReport, printer: &Printer) {
    for (bundle, case) in report.cases() {
        match case.operations.as_ref().map(|operations| operations.first_difference.as_deref()) {
            Some(Some(first)) => printer
                .summary(format_args!("`{}` starts to differ from `{}` at `{first}`", bundle.bundle, bundle.reference)),
            Some(None) => {
                printer.summary(format_args!("no operation of `{}` differs from `{}`", bundle.bundle, bundle.reference))
            }
            None => {}
        }
        if let Some(first) = &case.not_finite {
            let with = if first.constants.is_empty() {
                String::new()
            } else {
                format!(", with {}", first.constants.join(", "))
            };
            printer.warning(format_args!(
                "`{}`: `{}` ({}{with}) is the first whose result is not finite",
                bundle.bundle, first.operation, first.operator
            ));
        }
    }
    for skipped in &report.skipped {
        printer.warning(format_args!("`{}` was not compared: {}", skipped.name, skipped.why));
    }
    for misfit in report.bundles.iter().flat_map(|bundle| &bundle.misfits) {
        printer.detail(format_args!("case `{}` was left out: {}", misfit.name, misfit.why));
    }
    report.warnings.iter().for_each(|warning| printer.warning(warning));
    report.written.iter().for_each(|path| printer.summary(format_args!("wrote `{}`", path.display())));
    let failed = report.outputs().filter(|(.., output)| !output.metrics.failures.is_empty());
    for (bundle, case, output) in failed {
        for failure in &output.metrics.failures {
            let case = if case.case.is_empty() { String::new() } else { format!(", case `{}`", case.case) };
            printer.failure(format_args!("`{}`{case}, `{}`: {failure}", bundle.bundle, output.name));
        }
    }
    let compared = count(report.bundles.len(), "bundle");
    let verdict = report.verdict(report.passed).map_or(String::new(), |verdict| format!(": {verdict}"));
    printer.summary(format_args!("compared {compared} with `{}`{verdict}", report.reference));
}
