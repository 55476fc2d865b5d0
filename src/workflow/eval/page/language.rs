//! The page of language models on a text: perplexity, distance from the most precise model, and the positions where it
//! is largest.

use std::path::Path;

use serde::Serialize;

use super::{
    Fact, Head, Table, Verdict,
    chart::{self, Bars, Curve, Datum},
    count, number, thresholds,
};
use crate::workflow::eval::{EvaluationError, LanguageEvalReport, LanguageResult, Position};

#[derive(Debug, Serialize)]
struct Body {
    models: Table,
    charts: Vec<Bars>,
    curve_of_windows: Option<Curve>,
    parts: Vec<Part>,
}

/// Positions of a text, the worst first.
#[derive(Debug, Serialize)]
struct Part {
    title: String,
    about: String,
    positions: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    number: usize,
    before: String,
    token: String,
    told: String,
}

pub(in super::super) fn write(path: &Path, report: &LanguageEvalReport) -> Result<(), EvaluationError> {
    let body = Body {
        models: models(report),
        charts: charts(report),
        curve_of_windows: windows(report),
        parts: parts(report),
    };
    super::write(path, "language.html", &head(report), body)
}

fn head(report: &LanguageEvalReport) -> Head {
    let text = report.text.display().to_string();
    let mut facts = report.provenance.facts();
    facts.push(thresholds([
        ("perplexity at most", report.thresholds.max_perplexity),
        ("KL at most", report.thresholds.max_kl),
    ]));
    facts.push(Fact::new("Text", text.clone()));
    if let Some(first) = report.models.first() {
        facts.push(Fact::new("Scored", format!("{} in windows of {}", count(first.tokens, "token"), first.window)));
    }
    let arithmetic =
        if report.mode == "float32" { "float32 throughout" } else { "every result rounded to its declared type" };
    facts.push(Fact::new("Arithmetic", arithmetic));
    Head {
        title: format!("mlreg eval: {text}"),
        subject: format!("{} on {text}", count(report.models.len(), "language model")),
        verdict: verdict(report),
        facts,
    }
}

fn verdict(report: &LanguageEvalReport) -> Verdict {
    let failed = report.models.iter().filter(|model| !model.failures.is_empty()).count();
    let sentence = match report.models.first() {
        _ if failed > 0 => {
            format!(
                "{failed} of {} {} a threshold",
                count(report.models.len(), "model"),
                if failed == 1 { "exceeds" } else { "exceed" }
            )
        }
        Some(first) => format!("{} has perplexity {:.4}", first.name, first.perplexity),
        None => "nothing was judged".to_owned(),
    };
    let mut verdict = Verdict::new(report.verdict(report.passed), sentence);
    let mut first: Option<&LanguageResult> = None;
    for model in &report.models {
        model.failures.iter().for_each(|failure| verdict.failure(format!("{}: {failure}", model.name)));
        match (&model.against_first, first) {
            (Some(difference), Some(first)) => verdict.detail(format!(
                "{} names the same next token as {} in {:.2} % of positions; KL {} nats, perplexity {:+.4}",
                model.name,
                first.name,
                difference.agreement * 100.0,
                number(difference.kl),
                model.perplexity - first.perplexity,
            )),
            _ => first = Some(model),
        }
    }
    verdict
}

fn models(report: &LanguageEvalReport) -> Table {
    let mut table = Table::new(&["<Model", "Perplexity", "KL nats", "Same next token", "Tokens", "Window", "Tokens/s"]);
    for model in &report.models {
        let [kl, agreement] = match &model.against_first {
            Some(difference) => [number(difference.kl), format!("{:.2} %", difference.agreement * 100.0)],
            None => ["-", "-"].map(str::to_owned),
        };
        let (tokens, window) = (model.tokens.to_string(), model.window.to_string());
        let speed = format!("{:.1}", model.tokens_per_second);
        let cells = vec![model.name.clone(), format!("{:.4}", model.perplexity), kl, agreement, tokens, window, speed];
        table.row(cells, model.bundles.join(", "), !model.failures.is_empty());
    }
    table
}

fn charts(report: &LanguageEvalReport) -> Vec<Bars> {
    let data = |models: &mut dyn Iterator<Item = (&LanguageResult, f64)>| -> Vec<Datum> {
        models
            .map(|(model, value)| Datum { label: model.name.clone(), value, failed: !model.failures.is_empty() })
            .collect()
    };
    let perplexities = data(&mut report.models.iter().map(|model| (model, model.perplexity)));
    let divergences = data(&mut report.models.iter().filter_map(|model| Some((model, model.against_first?.kl))));
    let mut charts = Vec::new();
    if perplexities.len() > 1 {
        charts.push(chart::linear("Perplexity", &perplexities, None));
    }
    if !divergences.is_empty() {
        charts.push(chart::logarithmic("KL divergence from the most precise model, nats", &divergences));
    }
    charts
}

/// Perplexity along the text.
fn windows(report: &LanguageEvalReport) -> Option<Curve> {
    let lines: Vec<(String, Vec<f64>)> =
        report.models.iter().take(4).map(|model| (model.name.clone(), model.windows.clone())).collect();
    let longest = lines.iter().map(|(_, windows)| windows.len()).max().unwrap_or(0);
    if longest < 2 {
        return None;
    }
    chart::curve(
        "Perplexity along the text".to_owned(),
        ["first window".to_owned(), format!("window {longest}")],
        &lines,
    )
}

fn parts(report: &LanguageEvalReport) -> Vec<Part> {
    let part = |model: &LanguageResult| {
        let of_first = model.against_first.is_some();
        let told = |position: &Position| {
            let mut told = format!("probability {}", number((-position.surprise).exp()));
            if let Some(kl) = position.kl {
                told += &format!(" · KL {}", number(kl));
            }
            match (&position.first_best, &position.best) {
                (Some(first), best) if first != best => told += &format!(" · next token {best:?} instead of {first:?}"),
                (_, best) => told += &format!(" · most likely {best:?}"),
            }
            told
        };
        let shown = |position: &Position| Shown {
            number: position.number,
            before: position.before.clone(),
            token: position.token.clone(),
            told: told(position),
        };
        let (title, about) = if of_first {
            (
                format!("Where {} is farthest from the most precise model", model.name),
                "By KL divergence; the marked token is the text's.",
            )
        } else {
            (
                format!("Where {} is most surprised", model.name),
                "The marked token is the text's; the model expected another one.",
            )
        };
        let positions: Vec<Shown> = model.worst.iter().map(shown).collect();
        (!positions.is_empty()).then(|| Part { title, about: about.to_owned(), positions })
    };
    report.models.iter().filter_map(part).collect()
}
