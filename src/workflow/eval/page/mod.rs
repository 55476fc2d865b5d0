//! The page: one HTML file with everything in it, for a browser without a network, on a phone or a desk.
//!
//! Plots are SVG, pictures are embedded; there is no script. All text from files is escaped.

mod plot;
pub(super) mod texts;

use std::{
    fmt::{self, Write},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    CaseResult, EvalReport, EvaluationError, OperationsResult,
    pictures::Strip,
    report::{BundleResult, OutputResult},
};
use crate::base::AtomicFile;

const STYLE: &str = include_str!("style.css");
/// How many operations a table shows.
const LARGEST: usize = 12;

pub(super) fn write(path: &Path, report: &EvalReport, strips: &[Strip]) -> Result<(), EvaluationError> {
    save(path, &render(report, strips))
}

fn save(path: &Path, page: &str) -> Result<(), EvaluationError> {
    let error = |source| EvaluationError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(error)?;
    }
    AtomicFile::write(path, page.as_bytes()).map_err(error)
}

/// Text that means nothing to HTML.
struct Text<'t>(&'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// A number of any size in few digits; decibels and the like have two after the point.
pub(super) fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        _ if value.is_infinite() => if value > 0.0 { "∞" } else { "-∞" }.to_owned(),
        0.0 => "0".to_owned(),
        _ if (1e-3..1e5).contains(&value.abs()) => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

fn render(report: &EvalReport, strips: &[Strip]) -> String {
    let mut page = Page(String::new());
    page.head(report);
    page.problems(report);
    page.outputs(report);
    page.plots(report);
    page.pictures(strips);
    for (bundle, case) in report.cases() {
        if let Some(operations) = &case.operations {
            page.operations(bundle, case, operations);
        }
    }
    page.left_out(report);
    page.0 + "</main></body></html>\n"
}

struct Page(String);

impl Page {
    fn push(&mut self, text: fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = self.0.write_fmt(text);
    }

    fn head(&mut self, report: &EvalReport) {
        let verdict = report.verdict(report.passed).map_or(String::new(), |verdict| format!("<span class=\"{verdict}\">{verdict}</span> "));
        let allowed = [("atol", report.thresholds.atol), ("rtol", report.thresholds.rtol), ("min PSNR", report.thresholds.min_psnr)];
        let allowed: Vec<String> = allowed.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))).collect();
        let allowed = if allowed.is_empty() { "no thresholds".to_owned() } else { allowed.join(", ") };
        let arithmetic = if report.mode == "float32" { "float32 throughout" } else { "every result rounded to its declared type" };
        self.begin(&report.reference, format_args!("{verdict}{arithmetic}; {allowed}"));
    }

    fn begin(&mut self, reference: &str, summary: fmt::Arguments<'_>) {
        self.push(format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>mlreg eval: {reference}</title><style>{STYLE}</style></head><body><main>\
             <h1>Compared with {reference}</h1><p>{summary}</p>",
            reference = Text(reference),
        ));
    }

    /// The beginning of a table; its rows follow.
    fn table(&mut self, title: &str, headings: &[&str]) {
        let headings: String = headings.iter().map(|heading| format!("<th>{heading}</th>")).collect();
        let title = Text(title);
        self.push(format_args!("<h2>{title}</h2><div class=\"wide\"><table><thead><tr>{headings}</tr></thead><tbody>"));
    }

    /// What a reader has to know first: failures, and where numbers stopped being finite.
    fn problems(&mut self, report: &EvalReport) {
        let mut items = String::new();
        for (bundle, case, output) in report.outputs() {
            for failure in &output.metrics.failures {
                let text = format!("{}: {failure}", place(bundle, case, Some(output)));
                let _ = write!(items, "<li>{}</li>", Text(&text));
            }
        }
        for (bundle, case) in report.cases() {
            if let Some(first) = &case.not_finite {
                let with = if first.constants.is_empty() { String::new() } else { format!(" with {}", first.constants.join(", ")) };
                let operation = format!(
                    "{}: {} ({}{with}) is the first result that is not finite",
                    place(bundle, case, None),
                    first.operation,
                    first.operator
                );
                let _ = write!(items, "<li>{}</li>", Text(&operation));
            }
        }
        if !items.is_empty() {
            self.push(format_args!("<ul class=\"problems\">{items}</ul>"));
        }
    }

    fn outputs(&mut self, report: &EvalReport) {
        let logits = report.outputs().any(|(.., output)| output.metrics.logits.is_some());
        let mut headings = vec!["Bundle", "Output", "Max abs", "MAE", "RMSE", "PSNR dB", "SNR dB", "Cosine"];
        headings.extend(logits.then_some(["Argmax", "KL nats"]).into_iter().flatten());
        self.table("Outputs", &headings);
        for (bundle, case, output) in report.outputs() {
            let metrics = &output.metrics;
            let class = if metrics.failures.is_empty() { "" } else { " class=\"failed\"" };
            let mut numbers = vec![metrics.max_abs, metrics.mae, metrics.rmse, metrics.psnr, metrics.snr, metrics.cosine];
            numbers.extend(metrics.logits.iter().flat_map(|logits| [logits.argmax_agreement, logits.kl_mean]));
            let cells: String = numbers.into_iter().map(|value| format!("<td>{}</td>", number(value))).collect();
            let (bundle, output) = (place(bundle, case, None), &output.name);
            self.push(format_args!("<tr{class}><th>{}</th><th>{}</th>{cells}</tr>", Text(&bundle), Text(output)));
        }
        self.push(format_args!("</tbody></table></div>"));
    }

    /// Errors of every output, as bars.
    fn plots(&mut self, report: &EvalReport) {
        let bars = |value: fn(&OutputResult) -> f64| -> Vec<plot::Bar> {
            let bar = |(bundle, case, output): (&BundleResult, &CaseResult, &OutputResult)| plot::Bar {
                label: place(bundle, case, Some(output)),
                value: value(output),
                failed: !output.metrics.failures.is_empty(),
            };
            report.outputs().map(bar).collect()
        };
        let errors = plot::bars(&bars(|output| output.metrics.max_abs), plot::Scale::Logarithmic);
        self.push(format_args!("<h2>Largest absolute error</h2>{errors}"));
        let ratios = plot::bars(&bars(|output| output.metrics.psnr), plot::Scale::Linear);
        self.push(format_args!("<h2>Peak signal to noise ratio, dB</h2>{ratios}"));
    }

    fn pictures(&mut self, strips: &[Strip]) {
        if strips.is_empty() {
            return;
        }
        self.push(format_args!(
            "<h2>Pictures</h2><p>Expected, found, and where they differ: black is equal, white the largest difference.</p>"
        ));
        for strip in strips.iter().filter(|strip| !strip.thumbnail.is_empty()) {
            let [bundle, case, output] = &strip.names;
            let case = if case.is_empty() { String::new() } else { format!(", {case}") };
            let caption = format!("{bundle}{case}, {output}; white is a difference of {}", number(f64::from(strip.largest)));
            let data = BASE64_STANDARD.encode(&strip.thumbnail);
            let caption = Text(&caption);
            self.push(format_args!(
                "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>"
            ));
        }
    }

    /// The error along the program, and what adds most.
    fn operations(&mut self, bundle: &BundleResult, case: &CaseResult, operations: &OperationsResult) {
        let first =
            operations.first_difference.as_ref().map_or("nothing differs".to_owned(), |name| format!("the first that differs is {name}"));
        let name = place(bundle, case, None);
        let count = operations.distances.len();
        self.push(format_args!(
            "<h2>Operations of {}</h2><p>Relative error of {count} results in the order in which they ran; {}.</p>{}",
            Text(&name),
            Text(&first),
            plot::line(&operations.distances.iter().map(|distance| distance.relative).collect::<Vec<_>>()),
        ));
        let largest = operations.largest(LARGEST);
        if largest.is_empty() {
            return;
        }
        self.push(format_args!(
            "<p>What adds most error of its own:</p><div class=\"wide\"><table><thead><tr><th>Result</th><th>Operator</th>\
             <th>Relative error</th><th>Came in</th><th>Max abs</th></tr></thead><tbody>"
        ));
        for distance in largest {
            let [relative, inherited, max_abs] = [distance.relative, distance.inherited, distance.max_abs].map(number);
            let (name, operator) = (Text(&distance.name), Text(&distance.operator));
            self.push(format_args!("<tr><th>{name}</th><td>{operator}</td><td>{relative}</td><td>{inherited}</td><td>{max_abs}</td></tr>"));
        }
        self.push(format_args!("</tbody></table></div>"));
    }

    fn left_out(&mut self, report: &EvalReport) {
        if report.skipped.is_empty() {
            return;
        }
        self.push(format_args!("<h2>Not compared</h2><ul>"));
        for skipped in &report.skipped {
            self.push(format_args!("<li>{}: {}</li>", Text(&skipped.name), Text(&skipped.why)));
        }
        self.push(format_args!("</ul>"));
    }
}

/// Which bundle, case and output.
fn place(bundle: &BundleResult, case: &CaseResult, output: Option<&OutputResult>) -> String {
    let names = [bundle.bundle.as_str(), &case.case, output.map_or("", |output| &output.name)];
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(Text("<img src=\"x\" onerror='y'>&").to_string(), "&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;");
    }

    #[test]
    fn numbers_are_short() {
        let expected = [(0.0, "0"), (1.5, "1.5000"), (1e-7, "1.00e-7"), (123_456.0, "1.23e5"), (f64::INFINITY, "∞"), (f64::NAN, "NaN")];
        for (value, text) in expected {
            assert_eq!(number(value), text);
        }
    }
}
