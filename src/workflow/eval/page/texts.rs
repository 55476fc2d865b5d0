//! The page of texts: scores, signs of a broken model, and lines, the worst first.

use std::path::Path;

use serde::Serialize;

use super::{
    Fact, Head, Table, Verdict,
    chart::{self, Bars, Datum},
    count, thresholds,
    words::{Span, compared, plain},
};
use crate::{
    scores::{ChrfOptions, Indicator, sentence_chrf},
    workflow::eval::{EvaluationError, System, TextEvalReport, Translation},
};

/// How many lines of each system are shown.
const MOST_LINES: usize = 200;

#[derive(Debug, Serialize)]
struct Body {
    scores: Table,
    signatures: Vec<String>,
    charts: Vec<Bars>,
    signs: Table,
    parts: Vec<Part>,
}

/// Lines of a system.
#[derive(Debug, Serialize)]
struct Part {
    title: String,
    about: String,
    lines: Vec<Line>,
    more: String,
}

#[derive(Debug, Serialize)]
struct Line {
    number: usize,
    chrf: String,
    signs: Vec<&'static str>,
    texts: Vec<NamedText>,
}

#[derive(Debug, Serialize)]
struct NamedText {
    name: String,
    spans: Vec<Span>,
}

pub(in super::super) fn write(path: &Path, report: &TextEvalReport) -> Result<(), EvaluationError> {
    let first = report.systems.first();
    let signatures = first.map(|system| {
        vec![format!("BLEU|{}", system.bleu.signature), format!("{}|{}", system.chrf.name, system.chrf.signature)]
    });
    let body = Body {
        scores: scores(report),
        signatures: signatures.unwrap_or_default(),
        charts: charts(report),
        signs: signs(report),
        parts: parts(report),
    };
    super::write(path, "texts.html", &head(report), body)
}

fn head(report: &TextEvalReport) -> Head {
    let names = |paths: &[std::path::PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut facts = report.provenance.facts();
    facts.push(thresholds([
        ("BLEU at least", report.thresholds.min_bleu),
        ("chrF at least", report.thresholds.min_chrf),
    ]));
    facts.extend(report.source.as_ref().map(|path| Fact::new("Source", path.display().to_string())));
    facts.push(Fact::new("References", names(&report.references)));
    facts.push(Fact::new("Lines", report.lines.to_string()));
    Head {
        title: format!("mlreg eval: {}", names(&report.references)),
        subject: format!("{} scored against {}", count(report.lines, "line"), names(&report.references)),
        verdict: verdict(report),
        facts,
    }
}

fn verdict(report: &TextEvalReport) -> Verdict {
    let failed = report.systems.iter().filter(|system| !system.failures.is_empty()).count();
    let sentence = match report.systems.first() {
        _ if failed > 0 => {
            format!(
                "{failed} of {} {} too low",
                count(report.systems.len(), "system"),
                if failed == 1 { "scores" } else { "score" }
            )
        }
        Some(first) => format!("{}: BLEU {:.2}, chrF {:.2}", first.name, first.bleu.score, first.chrf.score),
        None => "nothing was scored".to_owned(),
    };
    let mut verdict = Verdict::new(report.verdict(report.passed), sentence);
    for system in &report.systems {
        system.failures.iter().for_each(|failure| verdict.failure(format!("{}: {failure}", system.name)));
    }
    for (first, system) in followers(report) {
        verdict.detail(likeness(first, system, report.lines));
    }
    for system in &report.systems {
        let broken =
            system.quality.as_ref().map_or(0, |quality| quality.looping.lines.len() + quality.empty.lines.len());
        if broken > 0 {
            verdict.detail(format!("{}: {} empty or repeating without end", system.name, count(broken, "line")));
        }
    }
    verdict
}

/// Every system that has a more precise one of the same package, with that one.
fn followers(report: &TextEvalReport) -> impl Iterator<Item = (&System, &System)> {
    let mut first = None;
    report.systems.iter().filter_map(move |system| {
        if system.against_first.is_none() {
            first = Some(system);
            return None;
        }
        first.map(|first| (first, system))
    })
}

fn likeness(first: &System, system: &System, lines: usize) -> String {
    match differing(first, system).count() {
        0 => format!("{} gives the same lines as {}: 100 %", system.name, first.name),
        count => {
            let share = 100.0 * (lines - count) as f64 / lines.max(1) as f64;
            let bleu = system.against_first.map_or(0.0, |difference| difference.bleu);
            format!(
                "{} translates {count} of {lines} lines differently from {} ({share:.1} % the same; BLEU {bleu:+.2})",
                system.name, first.name
            )
        }
    }
}

/// Indices of lines that two systems translate differently.
fn differing<'s>(first: &'s System, system: &'s System) -> impl Iterator<Item = usize> + 's {
    let pairs = first.translations.iter().zip(&system.translations).enumerate();
    pairs.filter(|(_, (a, b))| a.output != b.output).map(|(index, _)| index)
}

fn scores(report: &TextEvalReport) -> Table {
    let mut table =
        Table::new(&["<System", "BLEU", "chrF", "chrF++", "Length", "BLEU to the first", "Same lines", "Tokens/s"]);
    for system in &report.systems {
        let dash = || "-".to_owned();
        let [bleu, same] = match system.against_first {
            Some(difference) => [format!("{:+.2}", difference.bleu), format!("{:.1} %", difference.same_lines * 100.0)],
            None => [dash(), dash()],
        };
        let scores =
            [system.bleu.score, system.chrf.score, system.chrf_plus_plus.score].map(|score| format!("{score:.2}"));
        let speed = system.tokens_per_second.map_or_else(dash, |speed| format!("{speed:.1}"));
        let cells = [system.name.clone()].into_iter().chain(scores).chain([
            format!("{:.3}", system.bleu.ratio),
            bleu,
            same,
            speed,
        ]);
        table.row(cells.collect(), String::new(), !system.failures.is_empty());
    }
    table
}

fn charts(report: &TextEvalReport) -> Vec<Bars> {
    if report.systems.len() < 2 {
        return Vec::new();
    }
    let data = |score: fn(&System) -> f64| -> Vec<Datum> {
        let datum = |system: &System| Datum {
            label: system.name.clone(),
            value: score(system),
            failed: !system.failures.is_empty(),
        };
        report.systems.iter().map(datum).collect()
    };
    vec![
        chart::linear("BLEU", &data(|system| system.bleu.score), Some(100.0)),
        chart::linear("chrF", &data(|system| system.chrf.score), Some(100.0)),
    ]
}

fn signs(report: &TextEvalReport) -> Table {
    let mut table =
        Table::new(&["<System", "Empty", "Copied", "Same output", "Loops", "Other script", "Unended", "Cut"]);
    for system in &report.systems {
        let Some(quality) = &system.quality else { continue };
        let foreign = quality.scripts.as_ref().map(|scripts| &scripts.foreign);
        let counts =
            [Some(&quality.empty), Some(&quality.copied), Some(&quality.same_output), Some(&quality.looping), foreign];
        let counts = counts.map(|indicator: Option<&Indicator>| indicator.map_or(0, |indicator| indicator.lines.len()));
        let counts = counts.into_iter().chain([system.unended.len(), system.cut.len()]).map(|count| count.to_string());
        table.row([system.name.clone()].into_iter().chain(counts).collect(), String::new(), false);
    }
    table
}

fn parts(report: &TextEvalReport) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut first: Option<&System> = None;
    for system in &report.systems {
        let of = system.against_first.and(first);
        parts.extend(part(system, of));
        if system.against_first.is_none() {
            first = Some(system);
        }
    }
    parts
}

/// The lines of a system; of one that has a more precise one, those that it translates differently.
fn part(system: &System, first: Option<&System>) -> Option<Part> {
    let shown: Vec<usize> = match first {
        Some(first) => differing(first, system).collect(),
        None => (0..system.translations.len()).collect(),
    };
    if shown.is_empty() {
        return None;
    }
    let scores = line_scores(&system.translations);
    let mut order = shown.clone();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
    let line = |&index: &usize| {
        let translation = &system.translations[index];
        let mut texts: Vec<NamedText> = Vec::new();
        texts.extend(
            translation.source.as_ref().map(|source| NamedText { name: "Source".to_owned(), spans: plain(source) }),
        );
        let nearest = nearest(translation);
        let (reference, output) = compared(nearest, &translation.output);
        texts.push(NamedText { name: "Reference".to_owned(), spans: reference });
        let others = translation.references.iter().filter(|other| other.as_str() != nearest);
        texts.extend(others.map(|other| NamedText { name: "Another reference".to_owned(), spans: plain(other) }));
        if let Some(first) = first {
            texts.push(NamedText { name: first.name.clone(), spans: plain(&first.translations[index].output) });
        }
        let name = if first.is_some() { system.name.clone() } else { "Translation".to_owned() };
        texts.push(NamedText { name, spans: output });
        Line { number: index + 1, chrf: format!("{:.1}", scores[index]), signs: line_signs(system, index + 1), texts }
    };
    let lines: Vec<Line> = order.iter().take(MOST_LINES).map(line).collect();
    let marks = "Worst first, by chrF. Green: words of the reference that the translation lacks. Red: words that the \
         reference does not have.";
    let (title, about) = match first {
        None => (format!("Lines of {}", system.name), marks.to_owned()),
        Some(first) => (
            format!("Lines that {} translates differently", system.name),
            format!("{} of {} differ from {}. {marks}", shown.len(), system.translations.len(), first.name),
        ),
    };
    let more = shown.len().saturating_sub(MOST_LINES);
    let more =
        if more > 0 { format!("{} with better scores are not shown.", count(more, "line")) } else { String::new() };
    Some(Part { title, about, lines, more })
}

/// chrF of every line.
fn line_scores(translations: &[Translation]) -> Vec<f64> {
    let outputs: Vec<String> = translations.iter().map(|translation| translation.output.clone()).collect();
    let references: Vec<Vec<String>> = translations.iter().map(|translation| translation.references.clone()).collect();
    let scores = sentence_chrf(&outputs, &references, &ChrfOptions::default());
    scores.map_or_else(|_| vec![0.0; translations.len()], |scores| scores.iter().map(|chrf| chrf.score).collect())
}

/// The reference that the translation is nearest to.
fn nearest(translation: &Translation) -> &str {
    let score = |reference: &String| {
        let scores = sentence_chrf(
            std::slice::from_ref(&translation.output),
            &[vec![reference.clone()]],
            &ChrfOptions::default(),
        );
        scores.map_or(0.0, |scores| scores[0].score)
    };
    match translation.references.as_slice() {
        [only] => only,
        references => references.iter().max_by(|a, b| score(a).total_cmp(&score(b))).map_or("", String::as_str),
    }
}

fn line_signs(system: &System, number: usize) -> Vec<&'static str> {
    let quality = system.quality.as_ref();
    let of = |pick: fn(&crate::scores::Quality) -> &Indicator| {
        quality.is_some_and(|quality| pick(quality).lines.contains(&number))
    };
    let foreign = quality
        .and_then(|quality| quality.scripts.as_ref())
        .is_some_and(|scripts| scripts.foreign.lines.contains(&number));
    let signs = [
        (of(|quality| &quality.empty), "empty"),
        (of(|quality| &quality.copied), "copied from the source"),
        (of(|quality| &quality.same_output), "same as another line"),
        (of(|quality| &quality.looping), "repeats itself"),
        (foreign, "other script"),
        (system.unended.contains(&number), "reached the limit of tokens"),
        (system.cut.contains(&number), "source was cut"),
    ];
    signs.into_iter().filter(|(is, _)| *is).map(|(_, sign)| sign).collect()
}
