//! What an evaluation found, as `--json` and the page show it.

use std::path::PathBuf;

use serde::Serialize;

use super::Provenance;
use crate::eval::{
    NotFinite,
    lockstep::OperationDistance,
    metrics::{Metrics, Thresholds},
};

/// What was compared, and how far it is apart.
#[derive(Debug, Clone, Serialize)]
pub struct EvalReport {
    /// What was compared with, as a person would name it.
    pub reference: String,
    /// What was judged, and with which mlreg.
    pub provenance: Provenance,
    /// Where inputs came from.
    pub inputs: String,
    /// `declared`: every result rounded to its declared type; `float32`: everything in float32.
    pub mode: &'static str,
    /// What is allowed.
    pub thresholds: Thresholds,
    /// Every bundle that was run.
    pub bundles: Vec<BundleResult>,
    /// Variants that nothing fits, or that have no counterpart.
    pub skipped: Vec<Skipped>,
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// What is to be known about the pictures that were given.
    pub warnings: Vec<String>,
    /// Whether all numbers are as near as is asked for.
    pub passed: bool,
}

/// A bundle that was run.
#[derive(Debug, Clone, Serialize)]
pub struct BundleResult {
    /// The bundle: its folder, or the variant's id. Two of them with ` + ` in between for a round trip.
    pub bundle: String,
    /// What it was compared with.
    pub reference: String,
    /// Its cases.
    pub cases: Vec<CaseResult>,
    /// Cases that do not fit it.
    pub misfits: Vec<Skipped>,
}

/// Something that was not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// What.
    pub name: String,
    /// Why.
    pub why: String,
}

/// A run of a bundle.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// The case; empty where there is only one.
    pub case: String,
    /// How long the bundle ran.
    pub seconds: f64,
    /// Its outputs.
    pub outputs: Vec<OutputResult>,
    /// Outputs that the case says nothing of.
    pub unchecked: Vec<String>,
    /// The first operation whose result is not finite, if there is one.
    pub not_finite: Option<NotFinite>,
    /// How far operations are apart, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<OperationsResult>,
}

/// How far an output is from the reference.
#[derive(Debug, Clone, Serialize)]
pub struct OutputResult {
    /// Its name.
    pub name: String,
    /// The dimensions that were compared.
    pub shape: Vec<usize>,
    /// How far.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// How far operations are apart.
#[derive(Debug, Clone, Serialize)]
pub struct OperationsResult {
    /// The first result that differs at all.
    pub first_difference: Option<String>,
    /// How many results have no counterpart.
    pub unmatched: usize,
    /// Every result with a counterpart, in the order in which they ran.
    pub distances: Vec<OperationDistance>,
}

impl EvalReport {
    /// Whether something was asked for that numbers can pass or fail; NaN fails anyway.
    pub fn has_thresholds(&self) -> bool {
        self.thresholds != Thresholds::default()
    }

    /// `passed`, `failed`, or nothing where nothing was asked for.
    pub fn verdict(&self, passed: bool) -> Option<&'static str> {
        match (passed, self.has_thresholds()) {
            (false, _) => Some("failed"),
            (true, true) => Some("passed"),
            (true, false) => None,
        }
    }

    /// Every output with its bundle and case.
    pub fn outputs(&self) -> impl Iterator<Item = (&BundleResult, &CaseResult, &OutputResult)> {
        self.cases().flat_map(|(bundle, case)| case.outputs.iter().map(move |output| (bundle, case, output)))
    }

    /// Every case with its bundle.
    pub fn cases(&self) -> impl Iterator<Item = (&BundleResult, &CaseResult)> {
        self.bundles.iter().flat_map(|bundle| bundle.cases.iter().map(move |case| (bundle, case)))
    }
}

impl OperationsResult {
    /// The results that add the most error of their own, the largest first.
    pub fn largest(&self, count: usize) -> Vec<&OperationDistance> {
        let own = |distance: &&OperationDistance| distance.relative - distance.inherited;
        let mut distances: Vec<&OperationDistance> =
            self.distances.iter().filter(|distance| own(distance) > 0.0).collect();
        distances.sort_by(|a, b| own(b).total_cmp(&own(a)));
        distances.truncate(count);
        distances
    }
}
