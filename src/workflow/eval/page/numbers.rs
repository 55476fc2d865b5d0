//! The page of numbers: bundles against a reference, with charts and pictures.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;

use super::{
    Fact, Head, Table, Verdict,
    chart::{self, Bars, Curve, Datum},
    count, number, thresholds,
};
use crate::workflow::eval::{
    BundleResult, CaseResult, EvalReport, EvaluationError, OperationsResult, OutputResult, Skipped,
    pictures::{Panels, Strip},
};

/// How many operations a table shows.
const LARGEST: usize = 12;

#[derive(Debug, Serialize)]
struct Body {
    outputs: Table,
    charts: Vec<Bars>,
    pictures: Option<Pictures>,
    operations: Vec<Operations>,
    skipped: Vec<Skipped>,
}

/// Pictures, by what was expected.
#[derive(Debug, Serialize)]
struct Pictures {
    /// What white means in every difference.
    scale: String,
    groups: Vec<Group>,
}

/// What was expected, and what came out instead. Pictures are PNG files in base64.
#[derive(Debug, Serialize)]
struct Group {
    title: String,
    expected: String,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Pair {
    bundle: String,
    found: String,
    psnr: String,
    difference: String,
    largest: String,
}

#[derive(Debug, Serialize)]
struct Operations {
    place: String,
    first: String,
    curve: Option<Curve>,
    largest: Table,
}

pub(in super::super) fn write(path: &Path, report: &EvalReport, strips: &[Strip]) -> Result<(), EvaluationError> {
    let body = Body {
        outputs: outputs(report),
        charts: charts(report),
        pictures: pictures(report, strips)?,
        operations: report
            .cases()
            .filter_map(|(bundle, case)| Some(operations(bundle, case, case.operations.as_ref()?)))
            .collect(),
        skipped: report.skipped.clone(),
    };
    super::write(path, "numbers.html", &head(report), body)
}

fn head(report: &EvalReport) -> Head {
    let limits = report.thresholds;
    let mut facts = report.provenance.facts();
    facts.push(thresholds([("atol", limits.atol), ("rtol", limits.rtol), ("PSNR at least", limits.min_psnr)]));
    let arithmetic =
        if report.mode == "float32" { "float32 throughout" } else { "every result rounded to its declared type" };
    facts.push(Fact::new("Arithmetic", arithmetic));
    facts.push(Fact::new("Inputs", report.inputs.clone()));
    Head {
        title: format!("mlreg eval: {}", report.reference),
        subject: format!("{} compared with {}", count(report.bundles.len(), "bundle"), report.reference),
        verdict: verdict(report),
        facts,
    }
}

fn verdict(report: &EvalReport) -> Verdict {
    let total = report.outputs().count();
    let failed = report.outputs().filter(|(.., output)| !output.metrics.failures.is_empty()).count();
    let largest = report.outputs().map(|(.., output)| output.metrics.max_abs).fold(0.0, f64::max);
    let lowest = report.outputs().map(|(.., output)| output.metrics.psnr).fold(f64::INFINITY, f64::min);
    let sentence = match report.verdict(report.passed) {
        Some("failed") => {
            format!(
                "{failed} of {} {} too far from the reference",
                count(total, "output"),
                if failed == 1 { "is" } else { "are" }
            )
        }
        _ if largest == 0.0 => format!("all of {} equal the reference, bit for bit", count(total, "output")),
        _ if report.outputs().all(|(.., output)| super::super::pictures::is_picture(&output.name, &output.shape)) => {
            format!("{} at {lowest:.2} dB PSNR or better", count(total, "picture"))
        }
        _ => format!(
            "{} within {} of the reference; PSNR {lowest:.2} dB or better",
            count(total, "output"),
            number(largest)
        ),
    };
    let mut verdict = Verdict::new(report.verdict(report.passed), sentence);
    for (bundle, case, output) in report.outputs() {
        for failure in &output.metrics.failures {
            verdict.failure(format!("{}: {failure}", place(bundle, case, Some(output))));
        }
    }
    for (bundle, case) in report.cases() {
        if let Some(first) = &case.not_finite {
            let with = if first.constants.is_empty() {
                String::new()
            } else {
                format!(" with {}", first.constants.join(", "))
            };
            let operation =
                format!("{} ({}{with}) is the first result that is not finite", first.operation, first.operator);
            verdict.failure(format!("{}: {operation}", place(bundle, case, None)));
        }
    }
    if let Some(equal) = precisions(report) {
        verdict.detail(equal);
    }
    if !report.skipped.is_empty() {
        verdict.detail(format!("{} not compared, see below", count(report.skipped.len(), "variant")));
    }
    verdict
}

/// How far float16 is from float32, where both were compared with the same.
fn precisions(report: &EvalReport) -> Option<String> {
    let psnr: BTreeMap<(&str, &str, &str), f64> = report
        .outputs()
        .map(|(bundle, case, output)| {
            ((bundle.bundle.as_str(), case.case.as_str(), output.name.as_str()), output.metrics.psnr)
        })
        .collect();
    let distance = |(&(bundle, case, output), half): (&(&str, &str, &str), &f64)| {
        let twin = bundle.replace("float16", "float32");
        let full = psnr.get(&(twin.as_str(), case, output)).filter(|_| bundle.contains("float16"))?;
        Some(if half == full { 0.0 } else { (half - full).abs() })
    };
    let distances: Vec<f64> = psnr.iter().filter_map(distance).collect();
    let worst = distances.iter().copied().reduce(f64::max).filter(|worst| worst.is_finite())?;
    let worst = if worst < 0.01 { "0.01".to_owned() } else { format!("{worst:.2}") };
    Some(format!("float16 is within {worst} dB of float32 in {}", count(distances.len(), "comparison")))
}

fn outputs(report: &EvalReport) -> Table {
    let logits = report.outputs().any(|(.., output)| output.metrics.logits.is_some());
    let mut columns = vec!["<Bundle", "<Output", "Max abs", "MAE", "RMSE", "PSNR dB", "SNR dB", "Cosine"];
    columns.extend(logits.then_some(["Argmax", "KL nats"]).into_iter().flatten());
    let mut table = Table::new(&columns);
    for (bundle, case, output) in report.outputs() {
        let metrics = &output.metrics;
        let decibels = |value: f64| if value.is_finite() { format!("{value:.2}") } else { number(value) };
        let mut cells = vec![bundle.bundle.clone(), output.name.clone()];
        cells.extend([metrics.max_abs, metrics.mae, metrics.rmse].map(number));
        cells.extend([decibels(metrics.psnr), decibels(metrics.snr), format!("{:.6}", metrics.cosine)]);
        if logits {
            let found = metrics
                .logits
                .map(|logits| [format!("{:.2} %", logits.argmax_agreement * 100.0), number(logits.kl_mean)]);
            cells.extend(found.unwrap_or(["-", "-"].map(str::to_owned)));
        }
        let against =
            if report.bundles.iter().any(|other| other.reference != report.reference) { &bundle.reference } else { "" };
        let detail: Vec<String> =
            [case.case.clone(), if against.is_empty() { String::new() } else { format!("against {against}") }]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect();
        table.row(cells, detail.join(", "), !metrics.failures.is_empty());
    }
    table
}

/// Nothing where there is one output alone: the table says it.
fn charts(report: &EvalReport) -> Vec<Bars> {
    let data = |value: fn(&OutputResult) -> f64| -> Vec<Datum> {
        let datum = |(bundle, case, output): (&BundleResult, &CaseResult, &OutputResult)| Datum {
            label: place(bundle, case, Some(output)),
            value: value(output),
            failed: !output.metrics.failures.is_empty(),
        };
        report.outputs().map(datum).collect()
    };
    if report.outputs().count() < 2 {
        return Vec::new();
    }
    vec![
        chart::decibels("Peak signal to noise ratio", &data(|output| output.metrics.psnr), report.thresholds.min_psnr),
        chart::logarithmic("Largest absolute error", &data(|output| output.metrics.max_abs)),
    ]
}

/// The pictures of strips; strips that expect the same bytes are one group.
fn pictures(report: &EvalReport, strips: &[Strip]) -> Result<Option<Pictures>, EvaluationError> {
    let largest = strips.iter().map(|strip| strip.largest).fold(0.0, f32::max);
    let mut groups: Vec<(Vec<u8>, Group)> = Vec::new();
    for strip in strips {
        let Some(Panels { expected, found, difference }) = strip.panels(largest)? else { continue };
        let [bundle, case, output] = &strip.names;
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let known =
            groups.iter().position(|(known, group)| *known == expected && group.title.starts_with(output.as_str()));
        let index = known.unwrap_or_else(|| {
            let parts = [output.as_str(), case.as_str(), &strip.size].into_iter().filter(|part| !part.is_empty());
            let title = parts.collect::<Vec<_>>().join(", ");
            let group = Group { title, expected: encode(&expected), pairs: Vec::new() };
            groups.push((expected, group));
            groups.len() - 1
        });
        let psnr = report
            .outputs()
            .find(|(judged, of, found)| judged.bundle == *bundle && of.case == *case && found.name == *output)
            .map_or(String::new(), |(.., output)| format!("PSNR {}", chart::equal_or(output.metrics.psnr)));
        let largest = format!("at most {}", number(f64::from(strip.largest)));
        let pair =
            Pair { bundle: bundle.clone(), found: encode(&found), psnr, difference: encode(&difference), largest };
        groups[index].1.pairs.push(pair);
    }
    let groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
    Ok((!groups.is_empty()).then(|| Pictures { scale: number(f64::from(largest)), groups }))
}

/// The error along the program, and what adds most.
fn operations(bundle: &BundleResult, case: &CaseResult, operations: &OperationsResult) -> Operations {
    let first = match &operations.first_difference {
        Some(name) => format!("The first result that differs is {name}."),
        None => "Nothing differs.".to_owned(),
    };
    let mut largest = Table::new(&["<Result", "<Operator", "Relative error", "Came in", "Max abs"]);
    for distance in operations.largest(LARGEST) {
        let numbers = [distance.relative, distance.inherited, distance.max_abs].map(number);
        largest.row(
            [distance.name.clone(), distance.operator.clone()].into_iter().chain(numbers).collect(),
            String::new(),
            false,
        );
    }
    let relative = operations.distances.iter().map(|distance| distance.relative).collect();
    let ends = ["first operation", "last operation"].map(str::to_owned);
    let title = format!("Relative error of {}", count(operations.distances.len(), "result"));
    Operations {
        place: place(bundle, case, None),
        first,
        curve: chart::curve(title, ends, &[(String::new(), relative)]),
        largest,
    }
}

/// Which bundle, case and output.
fn place(bundle: &BundleResult, case: &CaseResult, output: Option<&OutputResult>) -> String {
    let names = [bundle.bundle.as_str(), &case.case, output.map_or("", |output| &output.name)];
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(", ")
}
