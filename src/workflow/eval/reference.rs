//! What bundles are compared with: cases that are there from the start, files, or another bundle that makes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{EvalReference, Evaluation, EvaluationError, error::IS_REFERENCE};
use crate::{
    contract::Interface,
    eval::{
        golden::{Case, NameMap, cases},
        samples::{SampleOptions, sample},
    },
    manifest::release::Variant,
    mil::Function,
    tensors::{self, ReadOptions},
    workflow::{
        Error,
        bundles::{self, Bundle, Found},
        run::inputs::{Given, PictureNotes},
    },
};

/// Axes that say how numbers are kept, not which network it is.
const KEEPING_AXES: [&str; 6] = ["precision", "compression", "compress", "layout", "io-precision", "linear"];

/// What bundles are compared with.
pub(super) enum Reference {
    /// Inputs and outputs that were recorded.
    Cases { name: String, cases: Vec<Case> },
    /// Files of inputs and outputs.
    Files { name: String, inputs: Given, outputs: Given },
    /// Bundles that may be the counterpart of one to judge.
    Bundles { name: String, candidates: Vec<Found>, inputs: Inputs },
}

/// Where inputs come from.
pub(super) enum Inputs {
    /// Cases of a file, which have all names.
    Named(Vec<Case>),
    /// Files; a single tensor or picture is the only input, whatever its name.
    Given(Given),
    /// They are made.
    Made { count: u32, seed: u64, picture: (f32, f32) },
}

impl Evaluation<'_> {
    pub(super) fn reference(&self) -> Result<Reference, Error> {
        let names = NameMap::parse(&self.options.names).map_err(EvaluationError::Names)?;
        Ok(match &self.options.reference {
            EvalReference::Golden(path) => {
                Reference::Cases { name: path.display().to_string(), cases: self.golden(path, &names)? }
            }
            EvalReference::Expected(paths) => {
                let name = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
                let (inputs, outputs) = (self.files(&self.options.inputs, &names)?, self.files(paths, &names)?);
                Reference::Files { name, inputs, outputs }
            }
            EvalReference::Bundle { subject, variants, golden } => {
                let candidates = bundles::find(self.context, subject, variants)?;
                let inputs = match golden {
                    Some(path) => Inputs::Named(self.golden(path, &names)?),
                    None if !self.options.inputs.is_empty() => Inputs::Given(self.files(&self.options.inputs, &names)?),
                    None => Inputs::Made {
                        count: self.options.samples.max(1),
                        seed: self.options.seed,
                        picture: self.limits(None),
                    },
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

    fn files(&self, paths: &[PathBuf], names: &NameMap) -> Result<Given, EvaluationError> {
        Ok(Given::read(self.context.directory(), paths, names.pairs())?)
    }

    /// The cases for a bundle; what is said about pictures is added to `warnings`.
    pub(super) fn cases(
        &self,
        inputs: &Inputs,
        bundle: &Bundle,
        functions: &[&Function],
        interface: &Interface,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Case>, EvaluationError> {
        match inputs {
            Inputs::Named(cases) => Ok(cases.clone()),
            Inputs::Given(given) => {
                let mut notes = PictureNotes::default();
                let inputs = given.inputs(&interface.inputs, self.options.picture, &mut notes)?;
                self.warn(notes, warnings)?;
                Ok(vec![Case { name: String::new(), inputs, outputs: BTreeMap::new() }])
            }
            Inputs::Made { count, seed, picture } => (0..*count)
                .map(|index| {
                    let options = SampleOptions { seed: seed.wrapping_add(u64::from(index)), picture: *picture };
                    let name = if *count == 1 { String::new() } else { format!("sample{index}") };
                    let made = sample(functions, interface, options);
                    made.map(|case| Case { name, ..case })
                        .map_err(|source| EvaluationError::Sample { bundle: bundle.name.clone(), source })
                })
                .collect(),
        }
    }

    /// The case of files for a bundle, and the names of outputs that are expected to be the pixels of pictures.
    pub(super) fn case_of_files(
        &self,
        given: &Given,
        expected: &Given,
        bundle: &Bundle,
        interface: &Interface,
        warnings: &mut Vec<String>,
    ) -> Result<(Case, BTreeSet<String>), EvaluationError> {
        let mut notes = PictureNotes::default();
        let inputs = given.inputs(&interface.inputs, self.options.picture, &mut notes)?;
        let (outputs, pixels) = expected.outputs(&interface.outputs, self.options.picture, &mut notes)?;
        self.warn(notes, warnings)?;
        let names: Vec<String> = interface.outputs.iter().map(|feature| feature.name.clone()).collect();
        if !outputs.keys().any(|name| names.contains(name)) {
            return Err(EvaluationError::NoOutput {
                bundle: bundle.name.clone(),
                given: outputs.into_keys().collect(),
                outputs: names,
            });
        }
        Ok((Case { name: String::new(), inputs, outputs }, pixels))
    }

    fn warn(&self, notes: PictureNotes, warnings: &mut Vec<String>) -> Result<(), EvaluationError> {
        let shows = self.options.pictures.is_some() || self.options.report.is_some();
        for warning in notes.warnings(self.options.picture, shows)? {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        Ok(())
    }
}

impl Reference {
    pub(super) fn name(&self) -> String {
        let (Self::Cases { name, .. } | Self::Files { name, .. } | Self::Bundles { name, .. }) = self;
        name.clone()
    }
}

/// The counterpart of a bundle: the only candidate, the one of the same id in another release, or of those that differ
/// in nothing but how numbers are kept the most precise one. `Err` says why there is none.
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
    let best = alike.iter().min_by_key(|(other, _)| {
        (!same_release && other.id != own.id, precision_rank(other), other.target != own.target)
    });
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
