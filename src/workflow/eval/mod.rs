//! `eval`: how far the numbers of bundles are from a reference: recorded tensors, another bundle, or the picture that
//! went in.
//!
//! Every comparison is made of cases (what goes in, what should come out), which are fitted to each bundle's interface,
//! run in the interpreter and measured. A bundle that no case fits says why. Texts are translated and scored apart
//! ([`eval_texts`]), and so are language models on a text ([`eval_language`]).

mod against;
mod compare;
mod error;
mod language;
mod page;
mod pictures;
mod provenance;
mod reference;
mod report;
mod roundtrip;
mod texts;

use std::path::PathBuf;

pub use error::EvaluationError;
pub use language::{
    LanguageDifference, LanguageEvalOptions, LanguageEvalReport, LanguageResult, LanguageThresholds, Position,
    eval_language,
};
pub use provenance::{JudgedRelease, Provenance};
pub use report::{BundleResult, CaseResult, EvalReport, OperationsResult, OutputResult, Skipped};
pub use texts::{Difference, System, TextEvalOptions, TextEvalReport, TextThresholds, Translation, eval_texts};

use self::pictures::Strip;
use super::{Context, Error, bundles::BundleSubject, run::PictureChoice};
use crate::{
    contract::Feature,
    eval::{Mode, metrics::Thresholds},
    tensors::ValueRange,
};

/// What to compare with.
#[derive(Debug, Clone)]
pub enum EvalReference {
    /// Recorded inputs and outputs: a file of cases.
    Golden(PathBuf),
    /// Recorded outputs, for the inputs of [`EvalOptions::inputs`].
    Expected(Vec<PathBuf>),
    /// Another bundle, or the variants of a package that correspond.
    Bundle {
        /// The bundle or package.
        subject: BundleSubject,
        /// Of a package: which variants may be meant.
        variants: Vec<String>,
        /// Where inputs come from: a file of cases. Without it, and without [`EvalOptions::inputs`], they are made.
        golden: Option<PathBuf>,
    },
    /// A picture, which an encoder and a decoder give back.
    Roundtrip(PathBuf),
}

/// What to compare, with what, and how.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Bundles and packages to judge.
    pub subjects: Vec<BundleSubject>,
    /// Of packages: globs over variants; none for all.
    pub variants: Vec<String>,
    /// The function; none for the one that runs by default.
    pub function: Option<String>,
    /// What to compare with.
    pub reference: EvalReference,
    /// Files of input tensors.
    pub inputs: Vec<PathBuf>,
    /// Names in files, and what they mean: `theirs=ours`.
    pub names: Vec<String>,
    /// How many inputs are made.
    pub samples: u32,
    /// What made inputs come from.
    pub seed: u64,
    /// Whether results of operations are compared.
    pub per_operation: bool,
    /// How numbers are kept between operations.
    pub mode: Mode,
    /// How pictures become inputs and expected outputs.
    pub picture: PictureChoice,
    /// What is allowed.
    pub thresholds: Thresholds,
    /// A folder for pictures side by side.
    pub pictures: Option<PathBuf>,
    /// A file for a page that shows everything.
    pub report: Option<PathBuf>,
}

/// Compares.
///
/// # Errors
/// When a bundle or file cannot be read, nothing fits, or a program cannot be run. Numbers that are too far apart are
/// no error: [`EvalReport::passed`] says it.
pub fn eval(context: &Context, options: &EvalOptions) -> Result<EvalReport, Error> {
    let evaluation = Evaluation { context, options };
    let mut outcome = match &options.reference {
        EvalReference::Roundtrip(picture) => evaluation.roundtrip(picture)?,
        _ => evaluation.comparison()?,
    };
    let passed = outcome.report.outputs().all(|(.., output)| output.metrics.failures.is_empty());
    outcome.report.passed = passed;
    evaluation.write(&mut outcome)?;
    Ok(outcome.report)
}

/// What a comparison comes to: numbers, and pictures beside them.
struct Outcome {
    report: EvalReport,
    strips: Vec<Strip>,
}

/// Whether a feature is an image.
fn is_image(feature: &Feature) -> bool {
    feature.dtype == "image"
}

/// One call of `eval`.
struct Evaluation<'a> {
    context: &'a Context,
    options: &'a EvalOptions,
}

impl Evaluation<'_> {
    /// The numbers of black and white in a picture: those of the range that was asked for, or of pixels where it is an
    /// image.
    fn limits(&self, feature: Option<&Feature>) -> (f32, f32) {
        if feature.is_some_and(is_image) {
            ValueRange::Byte.limits()
        } else {
            self.options.picture.range.unwrap_or_default().limits()
        }
    }

    fn write(&self, outcome: &mut Outcome) -> Result<(), EvaluationError> {
        if let Some(path) = &self.options.report {
            let path = self.context.directory().join(path);
            page::write_numbers(&path, &outcome.report, &outcome.strips)?;
            outcome.report.written.push(path);
        }
        Ok(())
    }
}
