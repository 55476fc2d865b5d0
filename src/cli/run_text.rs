//! `mlreg run --text`.

use std::path::PathBuf;

use clap::Args;

use super::{CommandError, Exit, Session, printer::Printer};
use crate::{
    eval::Mode,
    text::{Sampling, Strategy},
    workflow::{
        bundles::BundleSubject,
        run::text::{ChatOptions, TextOptions, TextReport, run_text},
    },
};

/// Arguments for texts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text")]
pub(super) struct TextArguments {
    /// Run the package on TEXT
    ///
    /// A language model continues it, a translator generates text with its encoder and decoder, a sentence encoder
    /// compares two sentences (repeat the option). The tokenizer is one of the package's plain files.
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    /// Run the package on every line of FILE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "input", "output", "function"])]
    text_file: Option<PathBuf>,
    #[command(flatten)]
    generation: GenerationArguments,
    /// Chat with a language model by its chat template
    ///
    /// The text becomes a user message, formatted by the chat template beside the tokenizer (chat_template.jinja or
    /// tokenizer_config.json among the package's plain files). Without --text: a conversation on a terminal, where
    /// Ctrl-D ends it and Ctrl-C stops an answer; elsewhere the message is read from standard input.
    #[arg(long)]
    chat: bool,
    /// System message of --chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Sampling temperature. 0 is greedy; higher is more random
    #[arg(long, value_name = "T", value_parser = temperature, conflicts_with = "beams")]
    temperature: Option<f32>,
    /// Top-k sampling: sample from the N most likely tokens
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "beams")]
    top_k: Option<usize>,
    /// Nucleus sampling with the probability P
    ///
    /// Samples from the smallest set of tokens whose probability reaches P.
    #[arg(long, value_name = "P", value_parser = probability, conflicts_with = "beams")]
    top_p: Option<f32>,
    /// Random seed of sampling
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Arguments of text generation, shared by commands.
#[derive(Debug, Args)]
pub(super) struct GenerationArguments {
    /// Read the tokenizer from PATH
    ///
    /// A `tokenizer.json`, a sentencepiece model (`*.model`), a `vocab.txt`, a `vocab.json` with `merges.txt` beside
    /// it, or a folder with one of these; `tokenizer_config.json` beside it has its settings. Default: the one among
    /// the package's plain files.
    #[arg(long, value_name = "PATH")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Language of the texts, where the tokenizer marks it, e.g. en
    #[arg(long, value_name = "LANGUAGE", requires = "target_language")]
    source_language: Option<String>,
    /// Language to translate to, e.g. de
    #[arg(long, value_name = "LANGUAGE", requires = "source_language")]
    target_language: Option<String>,
    /// Generate at most N tokens
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub(super) max_tokens: usize,
    /// Beam search with N beams
    #[arg(long, value_name = "N", value_parser = positive)]
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

/// A number outside of its range.
#[derive(Debug, thiserror::Error)]
#[error("expected a number {0}")]
struct NumberError(&'static str);

fn positive(text: &str) -> Result<usize, NumberError> {
    text.parse().ok().filter(|count| *count > 0).ok_or(NumberError("of at least 1"))
}

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

    /// Whether somebody wants to talk, and has not said anything yet.
    pub(super) fn is_conversation(&self) -> bool {
        self.chat && !self.is_asked_for()
    }

    /// What a chat template is told.
    pub(super) fn chat_options(&self, session: &Session) -> Result<ChatOptions, CommandError> {
        Ok(ChatOptions { system: self.system.clone(), now: session.settings.now()? })
    }

    /// The options of a run on `texts`.
    pub(super) fn options(
        &self,
        subject: BundleSubject,
        variant: Option<String>,
        mode: Mode,
        texts: Vec<String>,
        session: &Session,
    ) -> Result<TextOptions, CommandError> {
        Ok(TextOptions {
            subject,
            variants: variant.into_iter().collect(),
            // On a terminal a single text appears as it is made.
            streams: session.printer.is_watched() && self.text_file.is_none() && texts.len() == 1,
            texts,
            file: self.text_file.clone(),
            tokenizer: self.generation.tokenizer.clone(),
            languages: self.generation.languages(),
            chat: if self.chat { Some(self.chat_options(session)?) } else { None },
            strategy: self.strategy(),
            most_tokens: self.generation.max_tokens,
            mode,
        })
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
    let options = arguments.options(subject, variant, mode, arguments.text.clone(), session)?;
    show(&options, session)
}

/// Runs a package on texts and prints the results.
pub(super) fn show(options: &TextOptions, session: &Session) -> Result<Exit, CommandError> {
    let streams = options.streams;
    let mut failure = None;
    let mut piece = |_: usize, piece: &str| {
        if streams {
            failure = session.printer.data(piece).err().or(failure.take());
        }
    };
    let report = run_text(&session.context, options, &mut piece)?;
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
            let line =
                |row: &Vec<f64>| row.iter().map(|cosine| format!("{cosine:.4}")).collect::<Vec<_>>().join("\t") + "\n";
            printer.data(&rows.iter().map(line).collect::<String>())?;
        }
    }
    let cut: usize = report.texts.iter().filter(|text| text.cut > 0).count();
    if cut > 0 {
        printer.warning(format_args!(
            "{cut} of {} texts are longer than the longest encoder takes and were cut",
            report.texts.len()
        ));
    }
    if let Some(picked) = &report.picked {
        let others = picked.others.join(" and ");
        let others = format_args!("there is {others}, too: --variant '*-{}-*'", picked.others[0]);
        printer.summary(format_args!("picked {}; {others}", picked.making));
    }
    let speed = report.tokens_per_second.map_or(String::new(), |speed| format!(", {speed:.1} tokens/s"));
    printer.summary(format_args!("ran {} in {:.1} s{speed}", report.bundles.join(", "), report.seconds));
    Ok(())
}
