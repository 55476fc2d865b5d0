//! `mlreg eval --text-file`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    CommandError, Exit, Session,
    eval_texts::Common,
    printer::{Printer, Table, count},
    table::Columns,
};
use crate::workflow::eval::{LanguageEvalOptions, LanguageEvalReport, LanguageThresholds, eval_language};

pub(super) const MODELS: Columns = Columns {
    headings: &["MODEL", ">TOKENS", ">WINDOW", ">PERPLEXITY", ">KL", ">ARGMAX", ">TOKENS/S"],
    wrapped: &[],
    left_out: &["WINDOW", "TOKENS", "TOKENS/S"],
};

/// Arguments for language models.
#[derive(Debug, Args)]
#[command(next_help_heading = "Language models")]
pub(super) struct LanguageEvalArguments {
    /// Judge language models on the text in FILE
    ///
    /// Perplexity, and for every precision and compression the KL divergence and agreement of the next token with the
    /// most precise one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["numbers", "texts", "input", "pictures"])]
    text_file: Option<PathBuf>,
    /// Cut the text into windows of N tokens [default: 512]
    ///
    /// No window is longer than the shortest context of the models.
    #[arg(long, value_name = "N", requires = "text_file", value_parser = clap::value_parser!(u32).range(2..))]
    window: Option<u32>,
    /// Highest perplexity that passes
    #[arg(long, value_name = "NUMBER", requires = "text_file", value_parser = super::numbers::finite)]
    max_perplexity: Option<f64>,
    /// Highest KL divergence that passes, in nats
    ///
    /// From the most precise model of the package.
    #[arg(long, value_name = "NUMBER", requires = "text_file", value_parser = super::numbers::finite)]
    max_kl: Option<f64>,
}

impl LanguageEvalArguments {
    pub(super) fn text(&self) -> Option<&Path> {
        self.text_file.as_deref()
    }
}

pub(super) fn run(
    arguments: &LanguageEvalArguments,
    text: &Path,
    tokenizer: Option<PathBuf>,
    common: Common,
    session: &Session,
) -> Result<Exit, CommandError> {
    let options = LanguageEvalOptions {
        subjects: common.subjects,
        variants: common.variants,
        text: text.to_owned(),
        tokenizer,
        window: arguments.window.map(|window| window as usize),
        mode: common.mode,
        thresholds: LanguageThresholds { max_perplexity: arguments.max_perplexity, max_kl: arguments.max_kl },
        report: common.report,
    };
    let report = eval_language(&session.context, &options)?;
    session.printer.report("eval", &report, |printer| printer.table(&table(&report)))?;
    say(&report, &session.printer);
    Ok(if report.passed { Exit::Ok } else { Exit::Verification })
}

fn say(report: &LanguageEvalReport, printer: &Printer) {
    for model in &report.models {
        model.failures.iter().for_each(|failure| printer.failure(format_args!("`{}`: {failure}", model.name)));
    }
    report.written.iter().for_each(|path| printer.summary(format_args!("wrote `{}`", path.display())));
    let verdict = report.verdict(report.passed).map_or(String::new(), |verdict| format!(": {verdict}"));
    printer.summary(format_args!(
        "judged {} by `{}`{verdict}",
        count(report.models.len(), "model"),
        report.text.display()
    ));
}

fn table(report: &LanguageEvalReport) -> Table {
    let mut table = Table::of(&MODELS);
    for model in &report.models {
        let [kl, agreement] = match &model.against_first {
            Some(difference) => [format!("{:.2e}", difference.kl), format!("{:.2} %", difference.agreement * 100.0)],
            None => ["-".to_owned(), "-".to_owned()],
        };
        let (tokens, window) = (model.tokens.to_string(), model.window.to_string());
        table.row([
            model.name.clone(),
            tokens,
            window,
            format!("{:.4}", model.perplexity),
            kl,
            agreement,
            format!("{:.1}", model.tokens_per_second),
        ]);
    }
    table
}
