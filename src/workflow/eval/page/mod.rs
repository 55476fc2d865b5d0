//! The page: one HTML file with everything in it, for a browser without a network, on a phone or a desk. It begins with
//! a verdict.
//!
//! Templates get values and escape every text; charts are boxes whose lengths are percentages, pictures are embedded,
//! and there is no script.

mod chart;
mod language;
mod numbers;
mod texts;
mod words;

use std::path::Path;

use minijinja::{Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

pub(super) use self::{
    language::write as write_language, numbers::write as write_numbers, texts::write as write_texts,
};
use super::{EvaluationError, Provenance};
use crate::base::AtomicFile;

const STYLE: &str = include_str!("templates/style.css");
const TEMPLATES: [(&str, &str); 5] = [
    ("layout.html", include_str!("templates/layout.html.jinja")),
    ("parts.html", include_str!("templates/parts.html.jinja")),
    ("numbers.html", include_str!("templates/numbers.html.jinja")),
    ("texts.html", include_str!("templates/texts.html.jinja")),
    ("language.html", include_str!("templates/language.html.jinja")),
];

/// What stands at the top of every page.
#[derive(Debug, Serialize)]
struct Head {
    title: String,
    /// What was judged, in a few words.
    subject: String,
    verdict: Verdict,
    facts: Vec<Fact>,
}

/// What the page comes to.
#[derive(Debug, Serialize)]
struct Verdict {
    /// `passed`, `failed` or `measured`.
    kind: &'static str,
    word: &'static str,
    sentence: String,
    details: Vec<Detail>,
}

#[derive(Debug, Serialize)]
struct Detail {
    text: String,
    failed: bool,
}

/// A name and a value.
#[derive(Debug, Serialize)]
struct Fact {
    name: &'static str,
    value: String,
    code: bool,
}

/// A table; on a phone each row is a card.
#[derive(Debug, Default, Serialize)]
struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: &'static str,
    text: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    cells: Vec<String>,
    /// Stands below the first cell.
    detail: String,
    failed: bool,
}

impl Verdict {
    /// `passed` and `failed` where something was asked for or wrong, else `measured`.
    fn new(verdict: Option<&'static str>, sentence: String) -> Self {
        let (kind, word) = match verdict {
            Some("passed") => ("passed", "Passed"),
            Some(_) => ("failed", "Failed"),
            None => ("measured", "Measured"),
        };
        Self { kind, word, sentence, details: Vec::new() }
    }

    fn detail(&mut self, text: impl Into<String>) {
        self.details.push(Detail { text: text.into(), failed: false });
    }

    fn failure(&mut self, text: impl Into<String>) {
        self.details.push(Detail { text: text.into(), failed: true });
    }
}

impl Fact {
    fn new(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), code: false }
    }

    fn code(name: &'static str, value: impl Into<String>) -> Self {
        Self { code: true, ..Self::new(name, value) }
    }
}

impl Table {
    /// Columns of text begin with `<`.
    fn new(columns: &[&'static str]) -> Self {
        let column = |name: &&'static str| match name.strip_prefix('<') {
            Some(name) => Column { name, text: true },
            None => Column { name, text: false },
        };
        Self { columns: columns.iter().map(column).collect(), rows: Vec::new() }
    }

    fn row(&mut self, cells: Vec<String>, detail: String, failed: bool) {
        self.rows.push(Row { cells, detail, failed });
    }
}

impl Provenance {
    fn facts(&self) -> Vec<Fact> {
        let release = |release: &super::JudgedRelease| {
            [
                Fact::new("Package", format!("{} {}", release.package, release.version)),
                Fact::code(
                    if release.placed { "Release digest, as the folder says" } else { "Release digest (sha256)" },
                    release.digest.to_string(),
                ),
            ]
        };
        self.releases.iter().flat_map(release).chain([Fact::new("mlreg", self.mlreg)]).collect()
    }
}

/// Thresholds that are set, as `name limit`; a sentence where none is.
fn thresholds<'t>(limits: impl IntoIterator<Item = (&'t str, Option<f64>)>) -> Fact {
    let set: Vec<String> = limits.into_iter().filter_map(|(name, limit)| Some(format!("{name} {}", limit?))).collect();
    Fact::new(
        "Thresholds",
        if set.is_empty() { "none: numbers are measured, not judged".to_owned() } else { set.join(", ") },
    )
}

/// A number of any size in few digits; decibels and the like have two after the point.
fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        _ if value.is_infinite() => if value > 0.0 { "∞" } else { "-∞" }.to_owned(),
        0.0 => "0".to_owned(),
        _ if (1e-3..1e5).contains(&value.abs()) => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Renders a page and writes it.
fn write(path: &Path, template: &str, head: &Head, body: impl Serialize) -> Result<(), EvaluationError> {
    let page = render(template, head, body)
        .map_err(|source| EvaluationError::Page { path: path.to_owned(), source: Box::new(source) })?;
    let error = |source| EvaluationError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(error)?;
    }
    AtomicFile::write(path, page.as_bytes()).map_err(error)
}

fn render(template: &str, head: &Head, body: impl Serialize) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).build()?);
    // Names that end in `.html` are escaped.
    for (name, text) in TEMPLATES {
        environment.add_template(name, text)?;
    }
    let page = environment
        .get_template(template)?
        .render(context! { style => STYLE, head => Serde(head), ..Value::from(Serde(body)) })?;
    Ok(page + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let hostile = "<img src=x onerror='y'>\"&";
        let mut verdict = Verdict::new(None, hostile.to_owned());
        verdict.failure(hostile);
        let head = Head {
            title: hostile.to_owned(),
            subject: hostile.to_owned(),
            verdict,
            facts: vec![Fact::code("mlreg", hostile)],
        };
        let mut table = Table::new(&["<Model", "Number"]);
        table.row(vec![hostile.to_owned(); 2], hostile.to_owned(), true);
        let spans = vec![words::Span { text: hostile.to_owned(), mark: words::Mark::Extra }];
        let line = context! { number => 1, chrf => "1", signs => [hostile], texts => [context! { name => hostile, spans => Serde(&spans) }] };
        let part = context! { title => hostile, about => hostile, lines => [line], more => hostile };
        let empty = Serde(Table::default());
        let body = context! { scores => Serde(&table), signatures => [hostile], charts => Vec::<Value>::new(), signs => empty, parts => [part] };
        let page = render("texts.html", &head, body).unwrap();
        assert!(!page.contains("<img") && page.matches("&lt;img").count() >= 12, "{page}");
    }

    #[test]
    fn numbers_are_short() {
        let expected = [
            (0.0, "0"),
            (1.5, "1.5000"),
            (1e-7, "1.00e-7"),
            (123_456.0, "1.23e5"),
            (f64::INFINITY, "∞"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in expected {
            assert_eq!(number(value), text);
        }
    }
}
