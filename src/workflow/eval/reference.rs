//! What bundles are compared with: cases that are there from the start, or another bundle that makes them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use super::{EvalReference, Evaluation, EvaluationError, error::IS_REFERENCE};
use crate::{
    eval::{
        golden::{Case, NameMap, cases},
        samples::{SampleOptions, sample},
    },
    manifest::release::{Feature, Interface, Variant},
    mil::Function,
    tensors::{self, ReadOptions},
    workflow::{
        Error,
        bundles::{self, Bundle, Found},
        run::inputs,
    },
};

/// Axes that say how numbers are kept, not which network it is.
const KEEPING_AXES: [&str; 6] = ["precision", "compression", "compress", "layout", "io-precision", "linear"];

/// What bundles are compared with.
pub(super) enum Reference {
    /// Inputs and outputs that were recorded.
    Cases { name: String, cases: Vec<Case>, inputs: Inputs },
    /// Bundles that may be the counterpart of one to judge.
    Bundles { name: String, candidates: Vec<Found>, inputs: Inputs },
}

/// Where inputs come from.
pub(super) enum Inputs {
    /// Cases of a file, which have all names.
    Named(Vec<Case>),
    /// Tensors of files; a single one is the only input, whatever its name.
    Given(Case),
    /// They are made.
    Made { count: u32, seed: u64, picture: (f32, f32) },
}

impl Evaluation<'_> {
    pub(super) fn reference(&self) -> Result<Reference, Error> {
        let names = NameMap::parse(&self.options.names).map_err(EvaluationError::Names)?;
        let given = || -> Result<Case, EvaluationError> {
            let inputs = self.tensors(&self.options.inputs, &names)?;
            Ok(Case { name: String::new(), inputs, outputs: BTreeMap::new() })
        };
        Ok(match &self.options.reference {
            EvalReference::Golden(path) => {
                let cases = self.golden(path, &names)?;
                Reference::Cases { name: path.display().to_string(), inputs: Inputs::Named(Vec::new()), cases }
            }
            EvalReference::Expected(paths) => {
                let case = Case { outputs: self.tensors(paths, &names)?, ..given()? };
                let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
                Reference::Cases { name, cases: Vec::new(), inputs: Inputs::Given(case) }
            }
            EvalReference::Bundle { subject, variants, golden } => {
                let candidates = bundles::find(self.context, subject, variants)?;
                let inputs = match golden {
                    Some(path) => Inputs::Named(self.golden(path, &names)?),
                    None if !self.options.inputs.is_empty() => Inputs::Given(given()?),
                    None => {
                        Inputs::Made { count: self.options.samples.max(1), seed: self.options.seed, picture: self.options.range.limits() }
                    }
                };
                Reference::Bundles { name: subject.to_string(), candidates, inputs }
            }
            EvalReference::Roundtrip(_) => unreachable!("a round trip has no reference but what goes in"),
        })
    }

    fn golden(&self, path: &Path, names: &NameMap) -> Result<Vec<Case>, EvaluationError> {
        let tensors = tensors::read(&self.context.directory().join(path), &ReadOptions::default())?;
        cases(tensors, names).map_err(|source| EvaluationError::Golden { path: path.to_owned(), source })
    }

    fn tensors(&self, paths: &[PathBuf], names: &NameMap) -> Result<BTreeMap<String, Tensor>, EvaluationError> {
        Ok(inputs::given(self.context.directory(), paths, names.pairs(), self.options.range)?)
    }
}

impl Reference {
    pub(super) fn name(&self) -> String {
        let (Self::Cases { name, .. } | Self::Bundles { name, .. }) = self;
        name.clone()
    }
}

impl Inputs {
    /// The cases for a bundle.
    pub(super) fn cases(&self, bundle: &Bundle, function: &Function, interface: &Interface) -> Result<Vec<Case>, EvaluationError> {
        match self {
            Self::Named(cases) => Ok(cases.clone()),
            Self::Given(case) => Ok(vec![named(case, interface)]),
            Self::Made { count, seed, picture } => (0..*count)
                .map(|index| {
                    let options = SampleOptions { seed: seed.wrapping_add(u64::from(index)), picture: *picture };
                    let name = if *count == 1 { String::new() } else { format!("sample{index}") };
                    let made = sample(function, interface, options);
                    made.map(|case| Case { name, ..case }).map_err(|source| EvaluationError::Sample { bundle: bundle.name.clone(), source })
                })
                .collect(),
        }
    }
}

/// The case with a single input and a single output under the names of the bundle's.
pub(super) fn named(case: &Case, interface: &Interface) -> Case {
    let rename = |tensors: &BTreeMap<String, Tensor>, features: &[Feature]| match (tensors.len(), features) {
        (1, [feature]) => tensors.values().map(|tensor| (feature.name.clone(), tensor.clone())).collect(),
        _ => tensors.clone(),
    };
    Case { name: case.name.clone(), inputs: rename(&case.inputs, &interface.inputs), outputs: rename(&case.outputs, &interface.outputs) }
}

/// The counterpart of a bundle: the only candidate, the one of the same id in another release, or of those that differ in nothing but how
/// numbers are kept the most precise one. `Err` says why there is none.
pub(super) fn counterpart<'c>(bundle: &Bundle, candidates: &'c [Found]) -> Result<&'c Found, String> {
    if let [only] = candidates {
        return Ok(only);
    }
    let Some(own) = &bundle.variant else {
        return Err(format!("{} variants could be meant, name one: --against-variant GLOB", candidates.len()));
    };
    let variant = |found: &'c Found| match found {
        Found::Variant(variant) | Found::Placed { variant, .. } => Some((variant.as_ref(), found)),
        Found::Folder(_) => None,
    };
    let alike = candidates.iter().filter_map(variant);
    let alike: Vec<(&Variant, &Found)> =
        alike.filter(|(other, _)| other.component == own.component && shape(other) == shape(own)).collect();
    let same_release = alike.iter().any(|(other, _)| *other == own);
    let best =
        alike.iter().min_by_key(|(other, _)| (!same_release && other.id != own.id, precision_rank(other), other.target != own.target));
    match best {
        Some((other, _)) if *other == own => Err(IS_REFERENCE.to_owned()),
        Some((_, found)) => Ok(found),
        None => Err("no variant of the reference has its component and shape".to_owned()),
    }
}

/// The axes that say which network it is.
fn shape(variant: &Variant) -> BTreeMap<&str, &str> {
    let axes = variant.axes.iter().map(|(axis, value)| (axis.as_str(), value.as_str()));
    axes.filter(|(axis, _)| !KEEPING_AXES.contains(axis)).collect()
}

fn precision_rank(variant: &Variant) -> (bool, bool) {
    let is = |axis: &str, value: &str| variant.axes.get(axis).is_none_or(|found| found == value);
    (!is("compression", "none"), !is("precision", "float32"))
}
