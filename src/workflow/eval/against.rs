//! A bundle against a reference bundle, which is opened once and run once per case, however many bundles are compared
//! with it.

use std::{collections::BTreeMap, time::Instant};

use candle_core::Tensor;

use super::{
    BundleResult, CaseResult, Evaluation, EvaluationError, OperationsResult, Outcome, Skipped,
    compare::{Missed, Ran, Subject},
    reference::Inputs,
};
use crate::{
    contract::Interface,
    eval::{
        golden::{Case, FitOptions, FittedCase, GoldenError, Misfit, Padding, fit, fit_inputs},
        lockstep::{LockstepError, lockstep},
    },
    ops,
    workflow::{
        Error,
        bundles::{Bundle, Found},
    },
};

/// A reference bundle with its cases.
pub(super) struct OpenReference<'r> {
    found: &'r Found,
    bundle: Bundle,
    cases: Vec<ReferenceCase>,
}

/// A case, and the outputs of the reference bundle once it ran on it.
struct ReferenceCase {
    case: Case,
    outputs: Option<BTreeMap<String, Tensor>>,
}

impl Evaluation<'_> {
    /// Opens the reference bundle `found` and makes its cases, unless `opened` has it already.
    pub(super) fn open_reference<'o, 'r>(
        &self,
        found: &'r Found,
        inputs: &Inputs,
        opened: &'o mut Option<OpenReference<'r>>,
        warnings: &mut Vec<String>,
    ) -> Result<&'o mut OpenReference<'r>, Error> {
        let reference = match opened.take() {
            Some(reference) if std::ptr::eq(reference.found, found) => reference,
            _ => {
                let bundle = found.clone().open(self.context)?;
                let subject = self.reference_subject(&bundle)?;
                let cases = self.cases(inputs, &bundle, &subject.functions, subject.interface, warnings)?;
                let cases = cases.into_iter().map(|case| ReferenceCase { case, outputs: None }).collect();
                OpenReference { found, bundle, cases }
            }
        };
        Ok(opened.insert(reference))
    }

    /// The function of the reference bundle that is run: the one that was asked for where it exists, else the default
    /// one.
    fn reference_subject<'b>(&self, bundle: &'b Bundle) -> Result<Subject<'b>, EvaluationError> {
        let exists = |name: &&str| bundle.package.model().function(Some(name)).is_some();
        self.subject(bundle, self.options.function.as_deref().filter(exists))
    }

    pub(super) fn against_bundle(
        &self,
        subject: &Subject<'_>,
        OpenReference { bundle: other, cases, .. }: &mut OpenReference<'_>,
        outcome: &mut Outcome,
    ) -> Result<BundleResult, Missed> {
        let other = self.reference_subject(other)?;
        let (bundle, reference) = (subject.bundle.name.clone(), other.bundle.name.clone());
        let mut result = BundleResult { bundle, reference, cases: Vec::new(), misfits: Vec::new() };
        let mut first = None;
        for reference in cases {
            let case = &reference.case;
            let fitted = fit_inputs(case, other.interface, FitOptions::default());
            match fitted.and_then(|theirs| Ok((theirs, fit_inputs(case, subject.interface, FitOptions::default())?))) {
                Ok((theirs, own)) => result.cases.push(self.pair(subject, &other, reference, theirs, own, outcome)?),
                Err(misfit) => {
                    result.misfits.push(Skipped { name: case.name.clone(), why: misfit.to_string() });
                    first = first.or(Some((case.name.clone(), misfit)));
                }
            }
        }
        match first {
            Some(misfit) if result.cases.is_empty() => {
                let error = GoldenError::NoFit { misfits: vec![misfit] };
                let why = error.brief();
                Err(Missed::Skipped(Some(error), why))
            }
            _ => Ok(result),
        }
    }

    /// Runs the bundle on a case, the reference too unless its outputs are known, and measures the difference. A
    /// comparison per operation runs both at once, since it needs every intermediate result of the reference.
    fn pair(
        &self,
        subject: &Subject<'_>,
        other: &Subject<'_>,
        reference: &mut ReferenceCase,
        theirs: FittedCase,
        own: FittedCase,
        outcome: &mut Outcome,
    ) -> Result<CaseResult, Error> {
        let (expected, ran, operations) = if self.options.per_operation {
            self.run_both(subject, other, own.inputs, theirs.inputs)?
        } else {
            let expected = match &reference.outputs {
                Some(outputs) => outputs.clone(),
                None => {
                    let ran = self.run(other, theirs.inputs).map_err(|source| other.cannot_run(source))?;
                    reference.outputs.insert(ran.outputs).clone()
                }
            };
            (expected, self.run(subject, own.inputs).map_err(|source| subject.cannot_run(source))?, None)
        };
        let recorded = recorded(&reference.case, other.interface, expected, &theirs.paddings)?;
        let fitted = fit(&recorded, subject.interface, FitOptions::default());
        let fitted =
            fitted.map_err(|source| EvaluationError::Misfit { bundle: subject.bundle.name.clone(), source })?;
        Ok(self.measured(subject, &fitted, ran, operations, outcome)?)
    }

    #[expect(
        clippy::type_complexity,
        reason = "what two runs give: the reference's results, the other's, and how far operations are apart"
    )]
    fn run_both(
        &self,
        subject: &Subject<'_>,
        other: &Subject<'_>,
        own: BTreeMap<String, Tensor>,
        theirs: BTreeMap<String, Tensor>,
    ) -> Result<(BTreeMap<String, Tensor>, Ran, Option<OperationsResult>), EvaluationError> {
        let start = Instant::now();
        let both =
            lockstep(subject.side(own), other.side(theirs), ops::OPERATORS, self.options.mode).map_err(|error| {
                match error {
                    LockstepError::Actual(source) => subject.cannot_run(source),
                    LockstepError::Expected(source) => other.cannot_run(source),
                }
            })?;
        let differs = both.operations.iter().find(|distance| distance.max_abs != 0.0);
        let operations = OperationsResult {
            first_difference: differs.map(|distance| distance.name.clone()),
            unmatched: both.unmatched,
            distances: both.operations,
        };
        let ran = Ran { outputs: both.actual, not_finite: both.not_finite, seconds: start.elapsed().as_secs_f64() };
        Ok((both.expected, ran, Some(operations)))
    }
}

/// The case with what the reference gave for it, over the part that was not padded.
fn recorded(
    case: &Case,
    interface: &Interface,
    expected: BTreeMap<String, Tensor>,
    paddings: &[Padding],
) -> Result<Case, EvaluationError> {
    let mut inputs = case.inputs.clone();
    for feature in &interface.inputs {
        if let (false, Some(tensor)) = (inputs.contains_key(&feature.name), case.outputs.get(&feature.name)) {
            inputs.insert(feature.name.clone(), tensor.clone());
        }
    }
    let valid = |(name, mut tensor): (String, Tensor)| {
        for padding in paddings {
            if tensor.dims().get(padding.axis) == Some(&padding.to) {
                tensor = tensor.narrow(padding.axis, 0, padding.from)?;
            }
        }
        Ok((name, tensor))
    };
    let outputs: candle_core::Result<BTreeMap<String, Tensor>> = expected.into_iter().map(valid).collect();
    let outputs = outputs
        .map_err(|source| EvaluationError::Misfit { bundle: case.name.clone(), source: Misfit::Tensor(source) })?;
    Ok(Case { name: case.name.clone(), inputs, outputs })
}
