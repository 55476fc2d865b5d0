//! The page of texts: scores, signs of a broken model, and every line.

use std::path::Path;

use super::{Page, Text, save};
use crate::{
    eval::scores::Indicator,
    workflow::eval::{EvaluationError, System, TextEvalReport},
};

/// How many lines of each system are shown.
const MOST_LINES: usize = 200;

pub(in super::super) fn write(path: &Path, report: &TextEvalReport) -> Result<(), EvaluationError> {
    save(path, &render(report))
}

fn render(report: &TextEvalReport) -> String {
    let mut page = Page(String::new());
    let files = report.references.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let verdict = report.verdict(report.passed).map_or(String::new(), |verdict| format!("<span class=\"{verdict}\">{verdict}</span> "));
    page.begin(&files, format_args!("{verdict}{} lines", report.lines));
    scores(&mut page, report);
    indicators(&mut page, report);
    report.systems.iter().for_each(|system| lines(&mut page, system));
    page.0 + "</main></body></html>\n"
}

fn scores(page: &mut Page, report: &TextEvalReport) {
    page.table("Scores", &["System", "BLEU", "chrF", "chrF++", "Length", "BLEU to the first", "Same lines"]);
    for system in &report.systems {
        let class = if system.failures.is_empty() { "" } else { " class=\"failed\"" };
        let [bleu, same] = match system.against_first {
            Some(difference) => [format!("{:+.2}", difference.bleu), format!("{:.1} %", difference.same_lines * 100.0)],
            None => ["-".to_owned(), "-".to_owned()],
        };
        let scores =
            [system.bleu.score, system.chrf.score, system.chrf_plus_plus.score].map(|score| format!("<td>{score:.2}</td>")).concat();
        let ratio = system.bleu.ratio;
        page.push(format_args!("<tr{class}><th>{}</th>{scores}<td>{ratio:.3}</td><td>{bleu}</td><td>{same}</td></tr>", Text(&system.name)));
    }
    page.push(format_args!("</tbody></table></div>"));
    for system in &report.systems {
        for failure in &system.failures {
            page.push(format_args!("<p>{}: {}</p>", Text(&system.name), Text(failure)));
        }
    }
    if let Some(system) = report.systems.first() {
        page.push(format_args!("<p>BLEU {}; chrF {}</p>", Text(&system.bleu.signature), Text(&system.chrf.signature)));
    }
}

fn indicators(page: &mut Page, report: &TextEvalReport) {
    if report.systems.iter().all(|system| system.quality.is_none()) {
        return;
    }
    page.table("Signs of a broken model", &["System", "Empty", "Copied", "Same output", "Loops", "Other script", "Unended", "Cut"]);
    for system in &report.systems {
        let Some(quality) = &system.quality else { continue };
        let foreign = quality.scripts.as_ref().map(|scripts| &scripts.foreign);
        let counts = [Some(&quality.empty), Some(&quality.copied), Some(&quality.same_output), Some(&quality.looping), foreign];
        let counts = counts.map(|indicator: Option<&Indicator>| indicator.map_or(0, |indicator| indicator.lines.len()));
        let counts: String =
            counts.iter().chain(&[system.unended.len(), system.cut.len()]).map(|count| format!("<td>{count}</td>")).collect();
        page.push(format_args!("<tr><th>{}</th>{counts}</tr>", Text(&system.name)));
    }
    page.push(format_args!("</tbody></table></div>"));
}

fn lines(page: &mut Page, system: &System) {
    page.table(&format!("Lines of {}", system.name), &["Line", "Source", "Translation", "References"]);
    for (number, line) in (1..).zip(&system.translations).take(MOST_LINES) {
        let (source, references) = (line.source.as_deref().unwrap_or("-"), line.references.join(" / "));
        let cells = [source, &line.output, &references].map(|text| format!("<th>{}</th>", Text(text))).concat();
        page.push(format_args!("<tr><td>{number}</td>{cells}</tr>"));
    }
    page.push(format_args!("</tbody></table></div>"));
    if system.translations.len() > MOST_LINES {
        page.push(format_args!("<p>and {} more</p>", system.translations.len() - MOST_LINES));
    }
}
