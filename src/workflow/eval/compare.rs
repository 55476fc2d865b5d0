//! Compares bundles with recorded cases, and measures how far their outputs are from the expected ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Instant,
};

use candle_core::Tensor;

use super::{
    BundleResult, CaseResult, EvalReference, EvalReport, Evaluation, EvaluationError, OperationsResult, Outcome,
    OutputResult, Provenance, Skipped,
    against::OpenReference,
    error::IS_REFERENCE,
    is_image,
    pictures::{self, Strip},
    reference::{Reference, counterpart},
};
use crate::{
    contract::{Feature, Interface, features},
    emit::coreml::ColorSpace,
    eval::{
        EvalError, NotFinite,
        golden::{Case, FitOptions, FittedCase, GoldenError, Misfit, fit_all},
        lockstep::Side,
        metrics::{MeasureOptions, MetricsError, Peak, measure},
        pixels::{self, Pixels},
    },
    mil::{Function, Operation},
    ops,
    workflow::{
        Amount, Error,
        bundles::{self, Bundle, BundleSubject, Found},
    },
};

/// What is known of a bundle that is judged.
pub(super) struct Subject<'b> {
    pub(super) bundle: &'b Bundle,
    pub(super) name: String,
    /// One, or those of a pipeline's parts.
    pub(super) functions: Vec<&'b Function>,
    pub(super) interface: &'b Interface,
}

/// What a run gave.
pub(super) struct Ran {
    pub(super) outputs: BTreeMap<String, Tensor>,
    pub(super) not_finite: Option<NotFinite>,
    pub(super) seconds: f64,
}

/// Why a bundle was not compared: a reason that the report shows, or an error that ends the evaluation.
pub(super) enum Missed {
    Skipped(Option<GoldenError>, String),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Missed {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Evaluation<'_> {
    pub(super) fn comparison(&self) -> Result<Outcome, Error> {
        let reference = self.reference()?;
        let mut outcome = Outcome { report: self.empty_report(reference.name()), strips: Vec::new() };
        let (mut opened, mut hint) = (None, None);
        for (found, explicit) in self.subjects()? {
            let bundle = found.open(self.context)?;
            let task = self.context.progress().begin(&format!("comparing {}", bundle.name), Amount::Unknown);
            match self.judge(&bundle, &reference, &mut opened, &mut outcome) {
                Ok(result) => outcome.report.bundles.push(result),
                Err(Missed::Failed(error)) => return Err(error),
                Err(Missed::Skipped(Some(source), _)) if explicit => {
                    return Err(EvaluationError::NoFit { bundle: bundle.name, source }.into());
                }
                Err(Missed::Skipped(source, why)) => {
                    hint = hint.or(source.and_then(|source| source.hint()));
                    outcome.report.skipped.push(Skipped { name: bundle.name, why });
                }
            }
            task.finish("compared");
        }
        if outcome.report.bundles.is_empty() {
            if let Some(error) = self.one_precision(&outcome.report.skipped) {
                return Err(error.into());
            }
            let skipped = outcome.report.skipped.into_iter().map(|skipped| (skipped.name, skipped.why)).collect();
            return Err(EvaluationError::Nothing { skipped, hint }.into());
        }
        Ok(outcome)
    }

    /// A package whose variants were compared with each other, though all of them are references.
    fn one_precision(&self, skipped: &[Skipped]) -> Option<EvaluationError> {
        let EvalReference::Bundle { subject, .. } = &self.options.reference else { return None };
        if skipped.iter().any(|skipped| skipped.why != IS_REFERENCE) {
            return None;
        }
        let found = bundles::find(self.context, subject, &self.options.variants).ok()?;
        let precision = |found: &Found| found.variant()?.axes.get("precision").cloned();
        let precisions: BTreeSet<String> = found.iter().map(precision).collect::<Option<_>>()?;
        let [precision] = <[String; 1]>::try_from(precisions.into_iter().collect::<Vec<_>>()).ok()?;
        let chosen = !self.options.variants.is_empty();
        Some(EvaluationError::OnePrecision { package: subject.to_string(), precision, chosen })
    }

    pub(super) fn empty_report(&self, reference: String) -> EvalReport {
        let against = match &self.options.reference {
            EvalReference::Bundle { subject, .. } => Some(subject),
            _ => None,
        };
        EvalReport {
            reference,
            provenance: Provenance::of(self.context, self.options.subjects.iter().chain(against)),
            inputs: self.inputs(),
            mode: self.options.mode.name(),
            thresholds: self.options.thresholds,
            bundles: Vec::new(),
            skipped: Vec::new(),
            written: Vec::new(),
            warnings: Vec::new(),
            passed: true,
        }
    }

    /// Where inputs come from, for people.
    fn inputs(&self) -> String {
        let files =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        match &self.options.reference {
            EvalReference::Golden(path)
            | EvalReference::Roundtrip(path)
            | EvalReference::Bundle { golden: Some(path), .. } => path.display().to_string(),
            _ if !self.options.inputs.is_empty() => files(&self.options.inputs),
            _ => {
                let samples = self.options.samples.max(1);
                format!("made: {samples} per bundle, seed {}", self.options.seed)
            }
        }
    }

    /// What is to be judged, and whether it was asked for by itself.
    pub(super) fn subjects(&self) -> Result<Vec<(Found, bool)>, Error> {
        let mut found = Vec::new();
        for subject in &self.options.subjects {
            let explicit = matches!(subject, BundleSubject::Folder(_)) || !self.options.variants.is_empty();
            found.extend(
                bundles::find(self.context, subject, &self.options.variants)?
                    .into_iter()
                    .map(|found| (found, explicit)),
            );
        }
        Ok(found)
    }

    /// Compares a bundle with the reference. A reference bundle stays in `opened` for the bundles that follow.
    fn judge<'r>(
        &self,
        bundle: &Bundle,
        reference: &'r Reference,
        opened: &mut Option<OpenReference<'r>>,
        outcome: &mut Outcome,
    ) -> Result<BundleResult, Missed> {
        let subject = self.subject(bundle, self.options.function.as_deref())?;
        match reference {
            Reference::Cases { name, cases } => self.against_cases(&subject, name, cases, &BTreeSet::new(), outcome),
            Reference::Files { name, inputs, outputs } => {
                let (case, pixels) =
                    self.case_of_files(inputs, outputs, bundle, subject.interface, &mut outcome.report.warnings)?;
                self.against_cases(&subject, name, &[case], &pixels, outcome)
            }
            Reference::Bundles { candidates, inputs, .. } => {
                let found = counterpart(bundle, candidates).map_err(|why| Missed::Skipped(None, why))?;
                let reference = self.open_reference(found, inputs, opened, &mut outcome.report.warnings)?;
                self.against_bundle(&subject, reference, outcome)
            }
        }
    }

    /// The function of a bundle that is run.
    pub(super) fn subject<'b>(&self, bundle: &'b Bundle, wanted: Option<&str>) -> Result<Subject<'b>, EvaluationError> {
        let model = bundle.package.model();
        let missing = || EvaluationError::Function {
            bundle: bundle.name.clone(),
            function: wanted.unwrap_or("main").to_owned(),
            known: model.functions(),
        };
        let (name, functions) = model.function(wanted).ok_or_else(missing)?;
        let interface = bundle.package.interface(Some(&name)).ok_or_else(missing)?;
        Ok(Subject { bundle, name, functions, interface })
    }

    /// Compares with cases; outputs in `pixels` are expected to be the pixels of pictures.
    fn against_cases(
        &self,
        subject: &Subject<'_>,
        name: &str,
        cases: &[Case],
        pixels: &BTreeSet<String>,
        outcome: &mut Outcome,
    ) -> Result<BundleResult, Missed> {
        let fitting = fit_all(cases, subject.interface, FitOptions::default()).map_err(|error| {
            let why = error.brief();
            Missed::Skipped(Some(error), why)
        })?;
        let mut result = BundleResult {
            bundle: subject.bundle.name.clone(),
            reference: name.to_owned(),
            cases: Vec::new(),
            misfits: Vec::new(),
        };
        for fitted in fitting.fitted {
            let mut ran = self.run(subject, fitted.inputs.clone()).map_err(|source| subject.cannot_run(source))?;
            for (name, tensor) in ran.outputs.iter_mut().filter(|(name, _)| pixels.contains(*name)) {
                let wrong =
                    |source: candle_core::Error| EvaluationError::Picture { name: name.clone(), source: source.into() };
                *tensor = subject.pixels(name, tensor).map_err(wrong)?;
            }
            result.cases.push(self.measured(subject, &fitted, ran, None, outcome)?);
        }
        let misfit = |(name, misfit): (String, Misfit)| Skipped { name, why: misfit.to_string() };
        result.misfits = fitting.misfits.into_iter().map(misfit).collect();
        Ok(result)
    }

    pub(super) fn run(&self, subject: &Subject<'_>, inputs: BTreeMap<String, Tensor>) -> Result<Ran, EvalError> {
        let start = Instant::now();
        let mut not_finite = None;
        let mut watch = |function: &Function, operation: &Operation, _: &str, tensor: &Tensor| {
            if not_finite.is_none() {
                not_finite = NotFinite::of(function, operation, tensor);
            }
        };
        let interpreter = subject.bundle.package.interpreter(ops::OPERATORS);
        let outputs = interpreter.run_watched(Some(&subject.name), inputs, self.options.mode, &mut watch)?;
        Ok(Ran { outputs, not_finite, seconds: start.elapsed().as_secs_f64() })
    }

    /// Compares the results of a run with what a case says.
    pub(super) fn measured(
        &self,
        subject: &Subject<'_>,
        case: &FittedCase,
        ran: Ran,
        operations: Option<OperationsResult>,
        outcome: &mut Outcome,
    ) -> Result<CaseResult, EvaluationError> {
        let mut outputs = Vec::new();
        for (name, expected) in &case.outputs {
            let Some(actual) = ran.outputs.get(name) else { continue };
            let misfit = |source| EvaluationError::Misfit { bundle: subject.bundle.name.clone(), source };
            let actual = case.valid_part(name, actual).map_err(misfit)?;
            let feature = subject.interface.outputs.iter().find(|feature| feature.name == *name);
            outputs.push(self.measured_output(
                [&subject.bundle.name, &case.name, name],
                feature,
                (&actual, expected),
                outcome,
            )?);
        }
        let Ran { not_finite, seconds, .. } = ran;
        Ok(CaseResult {
            case: case.name.clone(),
            seconds,
            outputs,
            unchecked: case.unchecked.clone(),
            not_finite,
            operations,
        })
    }

    /// Compares an output, and keeps a picture of it where it is one. `feature` says which numbers images have, and in
    /// which order.
    pub(super) fn measured_output(
        &self,
        [bundle, case, name]: [&str; 3],
        feature: Option<&Feature>,
        (actual, expected): (&Tensor, &Tensor),
        outcome: &mut Outcome,
    ) -> Result<OutputResult, EvaluationError> {
        let (black, white) = self.limits(feature);
        let is_picture = feature.is_some_and(is_image) || pictures::is_picture(name, actual.dims());
        let options = MeasureOptions {
            peak: if is_picture { Peak::Value(f64::from(white - black)) } else { Peak::ReferenceRange },
            logits: name.contains(features::LOGITS),
            thresholds: self.options.thresholds,
        };
        let wrong = |source: MetricsError| EvaluationError::Compare {
            bundle: bundle.to_owned(),
            output: name.to_owned(),
            source,
        };
        let metrics = measure(actual, expected, &options).map_err(wrong)?;
        if is_picture && (self.options.pictures.is_some() || self.options.report.is_some()) {
            let shown = |tensor: &Tensor| {
                let is_reversed =
                    feature.is_some_and(|feature| feature.color.as_deref() == Some(ColorSpace::Bgr.name()));
                if is_reversed { pixels::reversed(tensor) } else { Ok(tensor.clone()) }
            };
            let wrong =
                |source: candle_core::Error| EvaluationError::Picture { name: name.to_owned(), source: source.into() };
            let (actual, expected) = (shown(actual).map_err(wrong)?, shown(expected).map_err(wrong)?);
            let strip = Strip::new([bundle, case, name], (&actual, &expected), (black, white));
            outcome.keep(strip, self)?;
        }
        Ok(OutputResult { name: name.to_owned(), shape: actual.dims().to_vec(), metrics })
    }
}

impl<'b> Subject<'b> {
    /// An image as a device gives it.
    fn pixels(&self, output: &str, tensor: &Tensor) -> candle_core::Result<Tensor> {
        let feature = self.interface.outputs.iter().find(|feature| feature.name == output);
        let color = feature.and_then(|feature| ColorSpace::from_name(feature.color.as_deref()?));
        color.map_or_else(|| Ok(tensor.clone()), |color| pixels::rounded(tensor, Pixels::of(color)))
    }

    pub(super) fn side(&self, inputs: BTreeMap<String, Tensor>) -> Side<'_> {
        Side { package: &self.bundle.package, function: Some(&self.name), inputs }
    }

    pub(super) fn cannot_run(&self, source: EvalError) -> EvaluationError {
        EvaluationError::Run { bundle: self.bundle.name.clone(), source }
    }
}
