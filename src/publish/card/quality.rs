//! What `mlreg eval --json` found of a release, as tables of its model card.

use std::{fmt::Write, path::PathBuf};

use serde_json::Value;

use super::section::{cell, code};
use crate::base::Digest;

/// The schema of the documents.
const SCHEMA: &str = "mlreg/cli/eval/1";

/// Numbers of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quality {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    about: String,
}

/// Why a document has no numbers for a card.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// No document of `mlreg eval`.
    #[error("`{}` is not what `mlreg eval --json` writes: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Numbers of something else.
    #[error("`{}` is not about this release: expected sha256:{expected}, found {found}", path.display())]
    OtherRelease {
        /// The file.
        path: PathBuf,
        /// sha256 of the release manifest.
        expected: Digest,
        /// What was judged.
        found: String,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl QualityError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            _ => Some("evaluate the release that is published: mlreg eval PACKAGE ... --json > eval.json".to_owned()),
        }
    }
}

impl Quality {
    /// Reads a document about a release.
    ///
    /// # Errors
    /// When it is none of `mlreg eval`, or judges another release.
    pub fn parse(path: PathBuf, text: &str, release: Digest) -> Result<Self, QualityError> {
        let form = |why: String| QualityError::Form { path: path.clone(), why };
        let document: Value = serde_json::from_str(text).map_err(|error| form(error.to_string()))?;
        if document["schema"] != SCHEMA {
            return Err(form(format!("expected the schema `{SCHEMA}`, found {}", document["schema"])));
        }
        // What a placed folder says of itself proves nothing about its files.
        let proven = items(&document["provenance"]["releases"]).iter().filter(|release| release["placed"] != true);
        let judged: Vec<String> = proven.map(|release| word(&release["digest"])).collect();
        if !judged.contains(&release.to_string()) {
            let found = if judged.is_empty() { "bundles of no release".to_owned() } else { judged.join(", ") };
            return Err(QualityError::OtherRelease { path, expected: release, found });
        }
        let (columns, rows, on) = if document["models"].is_array() {
            let columns = vec!["model", "perplexity", "KL", "same next token"];
            (columns, items(&document["models"]).iter().map(model).collect(), word(&document["text"]))
        } else if document["systems"].is_array() {
            let columns = vec!["system", "BLEU", "chrF", "same lines"];
            let references = items(&document["references"]).iter().map(word).collect::<Vec<_>>().join(", ");
            (columns, items(&document["systems"]).iter().map(system).collect(), references)
        } else {
            let columns = vec!["bundle", "output", "PSNR", "largest error"];
            (
                columns,
                items(&document["bundles"]).iter().flat_map(outputs).collect::<Vec<_>>(),
                word(&document["reference"]),
            )
        };
        if rows.is_empty() {
            return Err(form("it has no numbers".to_owned()));
        }
        Ok(Self { columns, rows, about: format!("mlreg {} on {}", word(&document["provenance"]["mlreg"]), code(&on)) })
    }

    /// As a table of Markdown.
    pub(super) fn write(&self, text: &mut String) {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let head: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let rule: Vec<String> = self.columns.iter().map(|_| "---".to_owned()).collect();
        let rows = self.rows.iter().map(|row| line(row)).collect::<Vec<_>>().join("\n");
        let _ = writeln!(text, "{}\n{}\n{rows}\n\nMeasured by {}.\n", line(&head), line(&rule), self.about);
    }
}

fn model(model: &Value) -> Vec<String> {
    let difference = &model["against_first"];
    vec![
        cell(&word(&model["name"])),
        number(&model["perplexity"], |value| format!("{value:.3}")),
        number(&difference["kl"], |value| format!("{value:.2e}")),
        number(&difference["agreement"], |value| format!("{:.2} %", value * 100.0)),
    ]
}

fn system(system: &Value) -> Vec<String> {
    let score = |score: &Value| number(&score["score"], |value| format!("{value:.2}"));
    let same = number(&system["against_first"]["same_lines"], |value| format!("{:.1} %", value * 100.0));
    vec![cell(&word(&system["name"])), score(&system["bleu"]), score(&system["chrf"]), same]
}

fn outputs(bundle: &Value) -> Vec<Vec<String>> {
    let row = |output: &Value| {
        let psnr = number(&output["psnr"], |value| format!("{value:.2} dB"));
        let largest = number(&output["max_abs"], |value| format!("{value:.2e}"));
        vec![code(&word(&bundle["bundle"])), code(&word(&output["name"])), psnr, largest]
    };
    items(&bundle["cases"]).iter().flat_map(|case| items(&case["outputs"])).map(row).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A number; the words that stand for those that are not finite; `-` where there is none.
fn number(value: &Value, told: impl Fn(f64) -> String) -> String {
    match (value.as_f64(), value.as_str()) {
        (Some(value), _) => told(value),
        (None, Some("inf")) => "∞".to_owned(),
        (None, Some(text)) => cell(text),
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(document: &Value) -> Result<Quality, QualityError> {
        Quality::parse("eval.json".into(), &document.to_string(), Digest::of(b"release"))
    }

    fn document(rest: Value) -> Value {
        let mut document = json!({
            "schema": SCHEMA,
            "provenance": { "mlreg": "0.1.0", "releases": [{ "package": "lm", "version": "1.0.0", "digest": Digest::of(b"release") }] },
        });
        document.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        document
    }

    fn table(rest: Value) -> String {
        let mut text = String::new();
        parse(&document(rest)).unwrap().write(&mut text);
        text
    }

    #[test]
    fn every_kind_of_evaluation_is_a_table() {
        let first = json!({ "name": "lm float32", "perplexity": 12.3456, "against_first": null });
        let second = json!({ "name": "lm float16", "perplexity": 12.35, "against_first": { "kl": 0.00012, "agreement": 0.991 } });
        let text = table(json!({ "models": [first, second], "text": "wiki.txt" }));
        assert!(
            text.contains("| lm float32 | 12.346 | - | - |\n| lm float16 | 12.350 | 1.20e-4 | 99.10 % |\n"),
            "{text}"
        );
        assert!(text.ends_with("\nMeasured by mlreg 0.1.0 on `wiki.txt`.\n\n"), "{text}");
        let system = json!({ "name": "t5", "bleu": { "score": 30.0 }, "chrf": { "score": 55.5 } });
        assert!(table(json!({ "systems": [system], "references": ["a.de"] })).contains("| t5 | 30.00 | 55.50 | - |\n"));
        let output = json!({ "name": "image", "psnr": "inf", "max_abs": 0.0 });
        let bundle = json!({ "bundle": "decoder", "cases": [{ "outputs": [output] }] });
        assert!(
            table(json!({ "bundles": [bundle], "reference": "x" })).contains("| `decoder` | `image` | ∞ | 0.00e0 |\n")
        );
    }

    #[test]
    fn numbers_of_other_releases_are_refused() {
        let mut other = document(json!({ "models": [{ "name": "a", "perplexity": 1.0 }], "text": "t" }));
        other["provenance"]["releases"][0]["digest"] = json!(Digest::of(b"other"));
        assert!(matches!(parse(&other), Err(QualityError::OtherRelease { .. })));
        other["provenance"]["releases"][0] = json!({ "digest": Digest::of(b"release"), "placed": true });
        assert!(matches!(parse(&other), Err(QualityError::OtherRelease { .. })), "a folder's word");
        other["provenance"]["releases"] = json!([]);
        assert!(parse(&other).unwrap_err().to_string().ends_with("found bundles of no release"));
        assert!(matches!(parse(&json!({ "schema": "mlreg/cli/list/1" })), Err(QualityError::Form { .. })));
        assert!(matches!(parse(&document(json!({ "models": [] }))), Err(QualityError::Form { .. })));
    }
}
