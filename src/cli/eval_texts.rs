//! `mlreg eval --source --reference`, `mlreg eval --hypothesis --reference`.

use std::path::PathBuf;

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Printer, Table, count},
    run_text::GenerationArguments,
    table::Columns,
};
use crate::{
    eval::Mode,
    scores::{ScoreError, Tokenizer},
    text::Strategy,
    workflow::{
        bundles::BundleSubject,
        eval::{System, TextEvalOptions, TextEvalReport, TextThresholds, eval_texts},
    },
};

pub(super) const SCORES: Columns = Columns {
    headings: &["SYSTEM", ">BLEU", ">CHRF", ">CHRF++", ">LENGTH", ">BLEU DIFF", ">SAME LINES", ">TOKENS/S", "RESULT"],
    wrapped: &[],
    left_out: &["LENGTH", "TOKENS/S", "CHRF++", "SAME LINES"],
};

pub(super) const SIGNS: Columns = Columns {
    headings: &["SYSTEM", ">EMPTY", ">COPIED", ">SAME OUTPUT", ">LOOPS", ">OTHER SCRIPT", ">UNENDED", ">CUT"],
    wrapped: &[],
    left_out: &[],
};

/// Arguments for translations.
#[derive(Debug, Args)]
#[command(next_help_heading = "Texts")]
pub(super) struct TextEvalArguments {
    /// Translate every line of FILE and score the translations
    ///
    /// With the package's encoder and decoder, once for every precision and compression that it has.
    #[arg(long, value_name = "FILE", requires = "text_reference")]
    source: Option<PathBuf>,
    /// What lines should be translated to; may be repeated
    #[arg(long = "reference", id = "text_reference", value_name = "FILE", requires = "texts")]
    reference: Vec<PathBuf>,
    /// Score existing translations, line by line
    #[arg(long, value_name = "FILE", requires = "text_reference", conflicts_with = "subject")]
    hypothesis: Vec<PathBuf>,
    /// Words of BLEU: 13a, intl, char, zh, none [default: 13a]
    ///
    /// The names are sacrebleu's.
    #[arg(long, value_name = "NAME", default_value = "13a", hide_default_value = true, value_parser = tokenizer)]
    tokenize: Tokenizer,
    /// Score without regard to capital letters
    #[arg(long, requires = "text_reference")]
    lowercase: bool,
    /// Lowest BLEU that passes
    #[arg(long, value_name = "SCORE", requires = "text_reference", value_parser = super::numbers::finite)]
    min_bleu: Option<f64>,
    /// Lowest chrF that passes
    #[arg(long, value_name = "SCORE", requires = "text_reference", value_parser = super::numbers::finite)]
    min_chrf: Option<f64>,
    #[command(flatten)]
    generation: GenerationArguments,
}

fn tokenizer(name: &str) -> Result<Tokenizer, ScoreError> {
    name.parse()
}

/// Arguments that language models and translations share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) subjects: Vec<BundleSubject>,
    pub(super) variants: Vec<String>,
    pub(super) mode: Mode,
    pub(super) report: Option<PathBuf>,
}

impl TextEvalArguments {
    pub(super) fn tokenizer(&self) -> Option<PathBuf> {
        self.generation.tokenizer.clone()
    }

    pub(super) fn is_asked_for(&self) -> bool {
        !self.reference.is_empty()
    }
}

pub(super) fn run(arguments: &TextEvalArguments, common: Common, session: &Session) -> Result<Exit, CommandError> {
    let options = TextEvalOptions {
        subjects: common.subjects,
        variants: common.variants,
        source: arguments.source.clone(),
        hypotheses: arguments.hypothesis.clone(),
        references: arguments.reference.clone(),
        model_tokenizer: arguments.generation.tokenizer.clone(),
        languages: arguments.generation.languages(),
        strategy: arguments.generation.strategy().unwrap_or(Strategy::Greedy),
        most_tokens: arguments.generation.max_tokens,
        mode: common.mode,
        tokenizer: arguments.tokenize,
        lowercase: arguments.lowercase,
        thresholds: TextThresholds { min_bleu: arguments.min_bleu, min_chrf: arguments.min_chrf },
        report: common.report,
    };
    let report = eval_texts(&session.context, &options)?;
    session.printer.report("eval", &report, |printer| print(&report, printer))?;
    say(&report, &session.printer);
    Ok(if report.passed { Exit::Ok } else { Exit::Verification })
}

fn print(report: &TextEvalReport, printer: &Printer) -> Result<(), CommandError> {
    printer.table(&scores(report))?;
    if report.systems.iter().any(|system| system.quality.is_some()) {
        printer.gap()?;
        printer.table(&signs(report))?;
    }
    printer.gap()?;
    for system in &report.systems {
        let head = if report.systems.len() > 1 { format!("{}: ", system.name) } else { String::new() };
        let bleu = signed(&system.bleu.to_string(), "BLEU", &system.bleu.signature);
        printer.data(&format!("{head}{bleu}\n"))?;
        for chrf in [&system.chrf, &system.chrf_plus_plus] {
            printer.data(&format!("{head}{}\n", signed(&chrf.to_string(), &chrf.name, &chrf.signature)))?;
        }
    }
    Ok(())
}

/// A score with its signature, as sacrebleu prints it: `BLEU|nrefs:1|... = 12.34 ...`.
fn signed(score: &str, name: &str, signature: &str) -> String {
    score.replacen(name, &format!("{name}|{signature}"), 1)
}

fn scores(report: &TextEvalReport) -> Table {
    let mut table = Table::of(&SCORES);
    let dash = || "-".to_owned();
    for system in &report.systems {
        let [bleu, same] = match system.against_first {
            Some(difference) => [format!("{:+.2}", difference.bleu), format!("{:.1} %", difference.same_lines * 100.0)],
            None => [dash(), dash()],
        };
        let scores = [system.bleu.score, system.chrf.score, system.chrf_plus_plus.score];
        let [plain_bleu, chrf, plus_plus] = scores.map(|score| format!("{score:.2}"));
        table.row([
            system.name.clone(),
            plain_bleu,
            chrf,
            plus_plus,
            format!("{:.3}", system.bleu.ratio),
            bleu,
            same,
            system.tokens_per_second.map_or_else(dash, |speed| format!("{speed:.1}")),
            report.verdict(system.failures.is_empty()).unwrap_or("-").to_owned(),
        ]);
    }
    table
}

/// Counts of lines with signs of a broken model.
fn signs(report: &TextEvalReport) -> Table {
    let mut table = Table::of(&SIGNS);
    for system in &report.systems {
        let Some(quality) = &system.quality else { continue };
        let foreign = quality.scripts.as_ref().map_or(0, |scripts| scripts.foreign.lines.len());
        let indicators = [&quality.empty, &quality.copied, &quality.same_output, &quality.looping];
        let [empty, copied, same_output, looping] = indicators.map(|indicator| indicator.lines.len().to_string());
        let (unended, cut) = (system.unended.len().to_string(), system.cut.len().to_string());
        table.row([system.name.clone(), empty, copied, same_output, looping, foreign.to_string(), unended, cut]);
    }
    table
}

fn say(report: &TextEvalReport, printer: &Printer) {
    for system in &report.systems {
        if !system.cut.is_empty() {
            let cut = count(system.cut.len(), "line");
            printer.warning(format_args!(
                "`{}`: {cut} were cut, being longer than the longest encoder takes",
                system.name
            ));
        }
        system.failures.iter().for_each(|failure| printer.failure(format_args!("`{}`: {failure}", system.name)));
    }
    report.written.iter().for_each(|path| printer.summary(format_args!("wrote `{}`", path.display())));
    let verdict = report.verdict(report.passed).map_or(String::new(), |verdict| format!(": {verdict}"));
    let names: Vec<&str> = report.systems.iter().map(|System { name, .. }| name.as_str()).collect();
    printer.summary(format_args!("scored {} of {}{verdict}", count(report.lines, "line"), names.join(", ")));
}
