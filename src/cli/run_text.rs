//! `mlreg run --text`.

use std::path::PathBuf;

use clap::Args;

use super::{CommandError, Exit, Session, printer::Printer};
use crate::{
    eval::Mode,
    text::{Sampling, Strategy},
    workflow::{
        bundles::BundleSubject,
        run::text::{TextOptions, TextReport, run_text},
    },
};

/// What is asked of text.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
pub(super) struct TextArguments {
    /// Run the package on TEXT
    ///
    /// A translator generates text with its encoder and decoder, a sentence encoder says how alike two sentences are (repeat the option). The
    /// tokenizer is one of the package's plain files.
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// Run the package on every line of FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "input", "output", "function"])]
    text_file: Option<PathBuf>,
    #[command(flatten)]
    generation: GenerationArguments,
    /// Choose tokens by chance
    ///
    /// Above 1 more evenly, below 1 more certainly, 0 not at all.
    #[arg(long, value_name = "T", value_parser = temperature, conflicts_with = "beams")]
    temperature: Option<f32>,
    /// Choose by chance among the N best tokens
    #[arg(long, value_name = "N", conflicts_with = "beams")]
    top_k: Option<usize>,
    /// Choose by chance among the likeliest tokens up to P
    ///
    /// As few as have the probability P together.
    #[arg(long, value_name = "P", value_parser = probability, conflicts_with = "beams")]
    top_p: Option<f32>,
    /// Where chance begins
    ///
    /// The same seed chooses the same tokens.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// How text is generated, by whatever command.
#[derive(Debug, Args)]
pub(super) struct GenerationArguments {
    /// Take the tokenizer from FILE
    ///
    /// A `tokenizer.json`, or a sentencepiece model. Default: the one among the package's plain files.
    #[arg(long, value_name = "FILE")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Language of the texts, where the tokenizer marks it, e.g. en
    #[arg(long, value_name = "LANGUAGE", requires = "target_language")]
    source_language: Option<String>,
    /// Language to translate to, e.g. de
    #[arg(long, value_name = "LANGUAGE", requires = "source_language")]
    target_language: Option<String>,
    /// Generate at most N tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) max_tokens: usize,
    /// Follow the N best beginnings at once
    #[arg(long, value_name = "N")]
    pub(super) beams: Option<usize>,
}

impl GenerationArguments {
    pub(super) fn languages(&self) -> Option<(String, String)> {
        self.source_language.clone().zip(self.target_language.clone())
    }

    /// Beams where they are asked for.
    pub(super) fn strategy(&self) -> Option<Strategy> {
        self.beams.map(|beams| if beams > 1 { Strategy::Beam(beams) } else { Strategy::Greedy })
    }
}

/// A number that is out of its range.
#[derive(Debug, thiserror::Error)]
#[error("expected a number {0}")]
struct NumberError(&'static str);

fn temperature(text: &str) -> Result<f32, NumberError> {
    text.parse().ok().filter(|t: &f32| t.is_finite() && *t >= 0.0).ok_or(NumberError("of at least 0"))
}

fn probability(text: &str) -> Result<f32, NumberError> {
    text.parse().ok().filter(|p: &f32| *p > 0.0 && *p <= 1.0).ok_or(NumberError("above 0, at most 1"))
}

impl TextArguments {
    pub(super) fn is_asked_for(&self) -> bool {
        !self.text.is_empty() || self.text_file.is_some()
    }

    fn strategy(&self) -> Strategy {
        let by_chance = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some();
        let temperature = self.temperature.unwrap_or(1.0);
        if let Some(beams) = self.generation.strategy() {
            return beams;
        }
        if !by_chance || temperature == 0.0 {
            return Strategy::Greedy;
        }
        Strategy::Sample(Sampling { temperature, top_k: self.top_k, top_p: self.top_p, seed: self.seed })
    }
}

pub(super) fn run(
    arguments: &TextArguments,
    subject: BundleSubject,
    variant: Option<String>,
    mode: Mode,
    session: &Session,
) -> Result<Exit, CommandError> {
    let options = TextOptions {
        subject,
        variants: variant.into_iter().collect(),
        texts: arguments.text.clone(),
        file: arguments.text_file.clone(),
        tokenizer: arguments.generation.tokenizer.clone(),
        languages: arguments.generation.languages(),
        strategy: arguments.strategy(),
        most_tokens: arguments.generation.max_tokens,
        mode,
    };
    // On a terminal a single text appears as it is made.
    let streams = session.printer.is_watched() && options.file.is_none() && options.texts.len() == 1;
    let mut failure = None;
    let mut show = |_: usize, piece: &str| {
        if streams {
            failure = session.printer.data(piece).err().or(failure.take());
        }
    };
    let report = run_text(&session.context, &options, &mut show)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    session.printer.report("run", &report, |printer| print(&report, streams, printer))?;
    Ok(Exit::Ok)
}

fn print(report: &TextReport, streamed: bool, printer: &Printer) -> Result<(), CommandError> {
    for text in report.texts.iter().filter(|text| text.output.is_some()) {
        let output = text.output.as_deref().filter(|_| !streamed).unwrap_or_default();
        // One line per text, so that lines of a file and of the result go together.
        printer.data(&format!("{}\n", output.replace('\n', " ")))?;
    }
    match report.similarities.as_deref() {
        None | Some([]) => {}
        Some([_]) => {
            let numbers = report.texts[0].embedding.iter().flatten().map(f32::to_string);
            printer.data(&format!("{}\n", numbers.collect::<Vec<_>>().join(" ")))?;
        }
        Some([first, _]) => printer.data(&format!("{:.4}\n", first[1]))?,
        Some(rows) => {
            let line = |row: &Vec<f64>| row.iter().map(|cosine| format!("{cosine:.4}")).collect::<Vec<_>>().join("\t") + "\n";
            printer.data(&rows.iter().map(line).collect::<String>())?;
        }
    }
    let cut: usize = report.texts.iter().filter(|text| text.cut > 0).count();
    if cut > 0 {
        printer.warning(format_args!("{cut} of {} texts are longer than the longest encoder takes and were cut", report.texts.len()));
    }
    let speed = report.tokens_per_second.map_or(String::new(), |speed| format!(", {speed:.1} tokens/s"));
    printer.summary(format_args!("ran {} in {:.1} s{speed}", report.bundles.join(", "), report.seconds));
    Ok(())
}
