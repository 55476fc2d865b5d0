//! Texts against references: translations that a package makes, or that are there already, with BLEU, chrF and signs of
//! a broken model.
//!
//! Lines are read and scored as sacrebleu's command line does; line N of every file belongs to line N of the others.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{EvaluationError, Provenance, page};
use crate::{
    eval::Mode,
    scores::{self, Bleu, BleuOptions, Chrf, ChrfOptions, Quality, QualityOptions, ScoreError, Tokenizer},
    text::Strategy,
    workflow::{
        Context, Error,
        bundles::BundleSubject,
        run::text::{TextOptions, TextReport, translate_each},
    },
};

/// What to score, against what.
#[derive(Debug, Clone)]
pub struct TextEvalOptions {
    /// Packages that translate.
    pub subjects: Vec<BundleSubject>,
    /// Globs over their variants; none for all.
    pub variants: Vec<String>,
    /// The file of texts to translate; of translations that are there, what they were made of, where it is known.
    pub source: Option<PathBuf>,
    /// Files of translations that are there.
    pub hypotheses: Vec<PathBuf>,
    /// Files of references: one or more for every line.
    pub references: Vec<PathBuf>,
    /// A tokenizer of the model that is not in the package.
    pub model_tokenizer: Option<PathBuf>,
    /// The languages of source and target, where the model's tokenizer has tokens for them.
    pub languages: Option<(String, String)>,
    /// How tokens are chosen.
    pub strategy: Strategy,
    /// The most tokens of a translation.
    pub most_tokens: usize,
    /// How numbers are kept between operations.
    pub mode: Mode,
    /// How BLEU cuts lines into tokens.
    pub tokenizer: Tokenizer,
    /// Whether scores are blind to capital letters.
    pub lowercase: bool,
    /// What is allowed.
    pub thresholds: TextThresholds,
    /// A file for a page that shows everything.
    pub report: Option<PathBuf>,
}

/// The lowest scores that pass.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct TextThresholds {
    /// Of BLEU.
    pub min_bleu: Option<f64>,
    /// Of chrF.
    pub min_chrf: Option<f64>,
}

/// What was scored, and how good it is.
#[derive(Debug, Clone, Serialize)]
pub struct TextEvalReport {
    /// What was judged, and with which mlreg.
    pub provenance: Provenance,
    /// The file of texts, where there is one.
    pub source: Option<PathBuf>,
    /// The files of references.
    pub references: Vec<PathBuf>,
    /// How many lines were scored.
    pub lines: usize,
    /// What is allowed.
    pub thresholds: TextThresholds,
    /// Each way in which the package's decoders were made, and each file, the most precise first.
    pub systems: Vec<System>,
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Whether all scores are as high as is asked for.
    pub passed: bool,
}

/// Somebody who translates: bundles of one precision, or a file.
#[derive(Debug, Clone, Serialize)]
pub struct System {
    /// Package and precision, or the file.
    pub name: String,
    /// The bundles that were run.
    pub bundles: Vec<String>,
    /// BLEU.
    pub bleu: Bleu,
    /// chrF.
    pub chrf: Chrf,
    /// chrF++.
    pub chrf_plus_plus: Chrf,
    /// How it is to the first system of the same package; nothing for that one.
    pub against_first: Option<Difference>,
    /// Signs of a broken model, where the sources are known.
    pub quality: Option<Quality>,
    /// Numbers of the lines, from 1, that are longer than the longest encoder takes and were cut.
    pub cut: Vec<usize>,
    /// Numbers of the lines, from 1, whose translations reached the limit of tokens.
    pub unended: Vec<usize>,
    /// How long it took to translate.
    pub seconds: Option<f64>,
    /// Tokens generated per second.
    pub tokens_per_second: Option<f64>,
    /// Scores that are too low, as sentences.
    pub failures: Vec<String>,
    /// Every line.
    pub translations: Vec<Translation>,
}

/// How far scores are from those of the most precise bundles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Of BLEU.
    pub bleu: f64,
    /// Of chrF.
    pub chrf: f64,
    /// The share of lines with the same translation.
    pub same_lines: f64,
}

/// A line and what it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Translation {
    /// The line, where it is known.
    pub source: Option<String>,
    /// Its translation.
    pub output: String,
    /// What it should be.
    pub references: Vec<String>,
}

impl TextEvalReport {
    /// `passed`, `failed`, or nothing where nothing was asked for.
    pub fn verdict(&self, passed: bool) -> Option<&'static str> {
        (self.thresholds != TextThresholds::default()).then_some(if passed { "passed" } else { "failed" })
    }
}

/// What a system gave, before it is scored.
struct Outputs {
    name: String,
    /// Whether it is the first system of its package.
    first: bool,
    lines: Vec<String>,
    run: Option<TextReport>,
}

/// Translates and scores. Scores that are too low are no error: [`TextEvalReport::passed`] says it.
///
/// # Errors
/// When a file cannot be read or has another number of lines, or a package cannot be run on text.
pub fn eval_texts(context: &Context, options: &TextEvalOptions) -> Result<TextEvalReport, Error> {
    let lines = |path: &PathBuf| read(context.directory(), path);
    let references = options.references.iter().map(lines).collect::<Result<Vec<_>, _>>()?;
    let references = scores::by_line(references).map_err(EvaluationError::from)?;
    let sources = options.source.as_ref().map(lines).transpose()?;
    if let Some(sources) = &sources {
        same_length("references", sources.len(), references.len())?;
    }
    let mut outputs = Vec::new();
    for path in &options.hypotheses {
        let lines = lines(path)?;
        same_length("references", lines.len(), references.len())?;
        outputs.push(Outputs { name: path.display().to_string(), first: true, lines, run: None });
    }
    for subject in &options.subjects {
        outputs.extend(translated(context, options, subject, sources.as_deref().unwrap_or_default())?);
    }
    let scoring = Scoring { options, sources: sources.as_deref(), references: &references };
    let systems = scoring.systems(outputs)?;
    let passed = systems.iter().all(|system| system.failures.is_empty());
    let (source, thresholds) = (options.source.clone(), options.thresholds);
    let references_of = options.references.clone();
    let provenance = Provenance::of(context, &options.subjects);
    let mut report = TextEvalReport {
        provenance,
        source,
        references: references_of,
        lines: references.len(),
        thresholds,
        systems,
        written: Vec::new(),
        passed,
    };
    if let Some(path) = &options.report {
        let path = context.directory().join(path);
        page::write_texts(&path, &report)?;
        report.written.push(path);
    }
    Ok(report)
}

fn read(directory: &Path, path: &Path) -> Result<Vec<String>, EvaluationError> {
    let text = fs::read_to_string(directory.join(path))
        .map_err(|source| EvaluationError::Read { path: path.to_owned(), source })?;
    Ok(scores::lines(&text))
}

fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), EvaluationError> {
    if expected == found { Ok(()) } else { Err(ScoreError::Lines { what, expected, found }.into()) }
}

/// The translations of a package, of each precision.
fn translated(
    context: &Context,
    options: &TextEvalOptions,
    subject: &BundleSubject,
    sources: &[String],
) -> Result<Vec<Outputs>, Error> {
    let options = TextOptions {
        subject: subject.clone(),
        variants: options.variants.clone(),
        texts: sources.to_vec(),
        file: None,
        tokenizer: options.model_tokenizer.clone(),
        languages: options.languages.clone(),
        chat: None,
        streams: false,
        strategy: options.strategy,
        most_tokens: options.most_tokens,
        mode: options.mode,
    };
    let systems = translate_each(context, &options)?.into_iter().enumerate();
    let outputs = |(index, (making, run)): (usize, (String, TextReport))| {
        let name = if making.is_empty() { subject.to_string() } else { format!("{subject} {making}") };
        // As a file of lines would be read.
        let line = |text: &Option<String>| {
            scores::lines(&text.as_deref().unwrap_or_default().replace('\n', " ")).pop().unwrap_or_default()
        };
        Outputs {
            name,
            first: index == 0,
            lines: run.texts.iter().map(|text| line(&text.output)).collect(),
            run: Some(run),
        }
    };
    Ok(systems.map(outputs).collect())
}

struct Scoring<'a> {
    options: &'a TextEvalOptions,
    sources: Option<&'a [String]>,
    references: &'a [Vec<String>],
}

impl Scoring<'_> {
    fn systems(&self, outputs: Vec<Outputs>) -> Result<Vec<System>, EvaluationError> {
        let mut systems: Vec<System> = Vec::new();
        let mut first = 0;
        for output in outputs {
            let mut system = self.system(&output)?;
            if output.first {
                first = systems.len();
            } else {
                system.against_first = Some(difference(&system, &systems[first]));
            }
            systems.push(system);
        }
        Ok(systems)
    }

    fn system(&self, outputs: &Outputs) -> Result<System, EvaluationError> {
        let TextEvalOptions { tokenizer, lowercase, .. } = *self.options;
        let lines = &outputs.lines;
        let bleu =
            scores::bleu(lines, self.references, &BleuOptions { tokenizer, lowercase, ..BleuOptions::default() })?;
        let chrf = |options: ChrfOptions| scores::chrf(lines, self.references, &ChrfOptions { lowercase, ..options });
        let (plain, plus_plus) = (chrf(ChrfOptions::default())?, chrf(ChrfOptions::plus_plus())?);
        let expected: Vec<String> = self.references.iter().flatten().cloned().collect();
        let quality = self
            .sources
            .map(|sources| scores::quality(sources, lines, &expected, &QualityOptions::default()))
            .transpose()?;
        let texts = || outputs.run.iter().flat_map(|run| &run.texts).zip(1..);
        Ok(System {
            name: outputs.name.clone(),
            bundles: outputs.run.as_ref().map(|run| run.bundles.clone()).unwrap_or_default(),
            failures: self.failures(&bleu, &plain),
            bleu,
            chrf: plain,
            chrf_plus_plus: plus_plus,
            against_first: None,
            quality,
            cut: texts().filter(|(text, _)| text.cut > 0).map(|(_, line)| line).collect(),
            unended: texts().filter(|(text, _)| text.ended == Some(false)).map(|(_, line)| line).collect(),
            seconds: outputs.run.as_ref().map(|run| run.seconds),
            tokens_per_second: outputs.run.as_ref().and_then(|run| run.tokens_per_second),
            translations: self.translations(lines),
        })
    }

    fn failures(&self, bleu: &Bleu, chrf: &Chrf) -> Vec<String> {
        let TextThresholds { min_bleu, min_chrf } = self.options.thresholds;
        let low = |name: &str, found: f64, least: Option<f64>| {
            let least = least.filter(|least| found < *least)?;
            Some(format!("{name} is {found:.2}, at least {least} is asked for"))
        };
        [low("BLEU", bleu.score, min_bleu), low("chrF", chrf.score, min_chrf)].into_iter().flatten().collect()
    }

    fn translations(&self, lines: &[String]) -> Vec<Translation> {
        let source = |index: usize| self.sources.map(|sources| sources[index].clone());
        let pairs = lines.iter().zip(self.references).enumerate();
        pairs
            .map(|(i, (output, references))| Translation {
                source: source(i),
                output: output.clone(),
                references: references.clone(),
            })
            .collect()
    }
}

fn difference(system: &System, first: &System) -> Difference {
    let same = system.translations.iter().zip(&first.translations).filter(|(a, b)| a.output == b.output).count();
    Difference {
        bleu: system.bleu.score - first.bleu.score,
        chrf: system.chrf.score - first.chrf.score,
        same_lines: same as f64 / system.translations.len().max(1) as f64,
    }
}
