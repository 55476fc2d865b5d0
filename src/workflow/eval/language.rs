//! Language models on a text: perplexity, and how far each way in which a package was made is from the most precise
//! one.
//!
//! The text is cut into windows that do not overlap; in each, every token but the first is scored, given those before
//! it. KL is the mean over rows of the divergence of a model's next-token probabilities from the first model's;
//! agreement, how often both name the same token.

use std::{fs, path::PathBuf, time::Instant};

use rayon::prelude::*;
use serde::Serialize;

use super::{EvaluationError, Provenance, page};
use crate::{
    eval::Mode,
    text::Tokenizer,
    workflow::{
        Amount, Context, Error,
        bundles::BundleSubject,
        run::text::{LanguageBundles, TextChoice, language_models},
    },
};

/// The longest window where nothing is said.
const WINDOW: usize = 512;
/// How many positions of each model a report has.
const WORST: usize = 12;
/// How many tokens before a position are shown.
const BEFORE: usize = 24;

/// What to judge, on which text.
#[derive(Debug, Clone)]
pub struct LanguageEvalOptions {
    /// Packages with a language model.
    pub subjects: Vec<BundleSubject>,
    /// Globs over their variants; none for all.
    pub variants: Vec<String>,
    /// The file of text.
    pub text: PathBuf,
    /// A tokenizer that is not in the package.
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a window; none: 512, or the shortest context.
    pub window: Option<usize>,
    /// How numbers are kept between operations.
    pub mode: Mode,
    /// What is allowed.
    pub thresholds: LanguageThresholds,
    /// A file for a page that shows everything.
    pub report: Option<PathBuf>,
}

/// The worst numbers that pass.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LanguageThresholds {
    /// Highest perplexity.
    pub max_perplexity: Option<f64>,
    /// Highest mean KL divergence from the most precise model, in nats.
    pub max_kl: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct LanguageEvalReport {
    /// What was judged, and with which mlreg.
    pub provenance: Provenance,
    /// `declared`: every result rounded to its declared type; `float32`: everything in float32.
    pub mode: &'static str,
    /// The file of text.
    pub text: PathBuf,
    /// What is allowed.
    pub thresholds: LanguageThresholds,
    /// Each way in which a package was made, the most precise first.
    pub models: Vec<LanguageResult>,
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// Whether all numbers are as good as is asked for.
    pub passed: bool,
}

impl LanguageEvalReport {
    /// `passed`, `failed`, or nothing where nothing was asked for.
    pub fn verdict(&self, passed: bool) -> Option<&'static str> {
        (self.thresholds != LanguageThresholds::default()).then_some(if passed { "passed" } else { "failed" })
    }
}

/// A model's numbers.
#[derive(Debug, Clone, Serialize)]
pub struct LanguageResult {
    /// Package and making.
    pub name: String,
    /// The bundles that were run.
    pub bundles: Vec<String>,
    /// Tokens of a window.
    pub window: usize,
    /// Tokens that were scored.
    pub tokens: usize,
    /// exp of the mean negative log likelihood of a token.
    pub perplexity: f64,
    /// How it is to the first model of the same package; nothing for that one.
    pub against_first: Option<LanguageDifference>,
    /// Tokens read per second.
    pub tokens_per_second: f64,
    /// Perplexity of each window.
    pub windows: Vec<f64>,
    /// Positions where the model is farthest from the first one (for the first: where it is most surprised), the worst
    /// first.
    pub worst: Vec<Position>,
    /// Numbers that are too bad, as sentences.
    pub failures: Vec<String>,
}

/// A token of the text, and what a model thought of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Position {
    /// The token's place in the text, from 1.
    pub number: usize,
    /// The text before it.
    pub before: String,
    /// The token.
    pub token: String,
    /// Its negative log likelihood, in nats.
    pub surprise: f64,
    /// KL divergence from the first model, in nats; nothing for that one.
    pub kl: Option<f64>,
    /// What the model thinks is the most likely token.
    pub best: String,
    /// What the first model thinks; nothing for that one.
    pub first_best: Option<String>,
}

/// How far a model is from the first one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LanguageDifference {
    /// Mean KL divergence, in nats.
    pub kl: f64,
    /// The share of rows whose best token is the same.
    pub agreement: f64,
}

/// What a model gives for one row of a window.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Negative log likelihood of the token behind it; nothing behind the last.
    surprise: Option<f64>,
    kl: f64,
    best: Option<usize>,
    first_best: Option<usize>,
}

/// All rows of a model, window by window.
#[derive(Debug, Clone, Default)]
struct Judged {
    rows: Vec<Row>,
    windows: Vec<f64>,
}

impl Judged {
    fn add(&mut self, rows: Vec<Row>) {
        self.windows.push(perplexity(&rows));
        self.rows.extend(rows);
    }

    fn difference(&self) -> LanguageDifference {
        let count = self.rows.len().max(1) as f64;
        let same = self.rows.iter().filter(|row| row.best == row.first_best).count();
        LanguageDifference {
            kl: self.rows.iter().map(|row| row.kl).sum::<f64>() / count,
            agreement: same as f64 / count,
        }
    }

    /// Indices of rows with a token behind them, those with the highest numbers first.
    fn worst(&self, by: impl Fn(&Row) -> f64) -> Vec<usize> {
        let mut indices: Vec<usize> =
            (0..self.rows.len()).filter(|&index| self.rows[index].surprise.is_some()).collect();
        indices.sort_by(|&a, &b| by(&self.rows[b]).total_cmp(&by(&self.rows[a])).then(a.cmp(&b)));
        indices.truncate(WORST);
        indices
    }
}

fn perplexity(rows: &[Row]) -> f64 {
    let surprises: Vec<f64> = rows.iter().filter_map(|row| row.surprise).collect();
    (surprises.iter().sum::<f64>() / surprises.len().max(1) as f64).exp()
}

/// Judges language models on a text. Numbers that are too bad are no error: [`LanguageEvalReport::passed`] says it.
///
/// # Errors
/// When the file cannot be read, has too few tokens, or a package has no language model that can be run.
pub fn eval_language(context: &Context, options: &LanguageEvalOptions) -> Result<LanguageEvalReport, Error> {
    let path = context.directory().join(&options.text);
    let text =
        fs::read_to_string(path).map_err(|source| EvaluationError::Read { path: options.text.clone(), source })?;
    let mut models = Vec::new();
    for subject in &options.subjects {
        models.extend(judge(context, options, subject, &text)?);
    }
    let mut report = LanguageEvalReport {
        provenance: Provenance::of(context, &options.subjects),
        mode: options.mode.name(),
        text: options.text.clone(),
        thresholds: options.thresholds,
        passed: models.iter().all(|model: &LanguageResult| model.failures.is_empty()),
        models,
        written: Vec::new(),
    };
    if let Some(path) = &options.report {
        let path = context.directory().join(path);
        page::write_language(&path, &report)?;
        report.written.push(path);
    }
    Ok(report)
}

fn judge(
    context: &Context,
    options: &LanguageEvalOptions,
    subject: &BundleSubject,
    text: &str,
) -> Result<Vec<LanguageResult>, Error> {
    let choice = TextChoice { subject, variants: &options.variants, tokenizer: options.tokenizer.as_deref() };
    let (tokenizer, makings) = language_models(context, &choice)?;
    let ids = tokenizer.encode(text, true).map_err(EvaluationError::from)?;
    let context_of = |(_, bundles): &(String, LanguageBundles)| bundles.context();
    let longest = makings.iter().map(context_of).min().unwrap_or(0);
    let window = options.window.unwrap_or(WINDOW).min(longest);
    if ids.len() < 2 || window < 2 {
        return Err(EvaluationError::ShortText { path: options.text.clone(), tokens: ids.len().min(window) }.into());
    }
    let windows: Vec<&[u32]> = ids.chunks(window).filter(|window| window.len() > 1).collect();
    let task = context.progress().begin("reading the text", Amount::Items((windows.len() * makings.len()) as u64));
    let (mut judged, mut seconds) = (vec![Judged::default(); makings.len()], vec![0.0; makings.len()]);
    let models: Vec<_> = makings.iter().map(|(_, bundles)| bundles.model(options.mode)).collect();
    for tokens in &windows {
        let mut first: Option<Vec<Vec<f32>>> = None;
        for (index, model) in models.iter().enumerate() {
            let start = Instant::now();
            let rows = model.read(&mut Default::default(), tokens)?;
            seconds[index] += start.elapsed().as_secs_f64();
            judged[index].add(compare(&rows, tokens, first.as_deref()));
            first.get_or_insert(rows);
            task.advance(1);
        }
    }
    task.finish("read the text");
    let read: usize = windows.iter().map(|tokens| tokens.len()).sum();
    let result = |(index, (making, bundles)): (usize, &(String, LanguageBundles))| {
        let judged = &judged[index];
        let worst =
            if index > 0 { judged.worst(|row| row.kl) } else { judged.worst(|row| row.surprise.unwrap_or(0.0)) };
        let position = |row: usize| position(&tokenizer, &ids, row, &judged.rows[row], index > 0);
        let mut result = LanguageResult {
            name: if making.is_empty() { subject.to_string() } else { format!("{subject} {making}") },
            bundles: bundles.names(),
            window,
            tokens: judged.rows.iter().filter(|row| row.surprise.is_some()).count(),
            perplexity: perplexity(&judged.rows),
            against_first: (index > 0).then(|| judged.difference()),
            tokens_per_second: read as f64 / seconds[index].max(1e-9),
            windows: judged.windows.clone(),
            worst: worst.into_iter().map(position).collect(),
            failures: Vec::new(),
        };
        result.failures = failures(&result, options.thresholds);
        result
    };
    Ok(makings.iter().enumerate().map(result).collect())
}

/// The token behind a row. Windows do not overlap, so that rows are numbered as the text's tokens are.
fn position(tokenizer: &Tokenizer, ids: &[u32], index: usize, row: &Row, is_follower: bool) -> Position {
    let text = |ids: &[u32]| tokenizer.decode(ids).unwrap_or_default();
    let before_ids = ids.get((index + 1).saturating_sub(BEFORE)..=index).unwrap_or_default();
    let before = text(before_ids);
    // A token alone may lose the blank that it begins with.
    let next = |id: u32| {
        let whole = text(&[before_ids, &[id]].concat());
        whole.strip_prefix(&before).map_or_else(|| text(&[id]), str::to_owned)
    };
    let named = |best: Option<usize>| best.and_then(|best| u32::try_from(best).ok()).map(next);
    Position {
        number: index + 2,
        token: ids.get(index + 1).map_or_else(String::new, |&id| next(id)),
        surprise: row.surprise.unwrap_or_default(),
        kl: is_follower.then_some(row.kl),
        best: named(row.best).unwrap_or_default(),
        first_best: if is_follower { named(row.first_best) } else { None },
        before,
    }
}

fn failures(result: &LanguageResult, thresholds: LanguageThresholds) -> Vec<String> {
    let high = |name: &str, found: Option<f64>, most: Option<f64>| {
        let (found, most) = found.zip(most)?;
        // NaN is too much, too.
        let fits = found <= most;
        (!fits).then(|| format!("{name} is {found:.4}, at most {most} is asked for"))
    };
    let kl = result.against_first.map(|difference| difference.kl);
    [high("perplexity", Some(result.perplexity), thresholds.max_perplexity), high("KL", kl, thresholds.max_kl)]
        .into_iter()
        .flatten()
        .collect()
}

/// The rows of a window: row `i` scores token `i + 1`.
fn compare(rows: &[Vec<f32>], tokens: &[u32], first: Option<&[Vec<f32>]>) -> Vec<Row> {
    let one = |(index, row): (usize, &Vec<f32>)| {
        let total = log_sum(row);
        let score = tokens.get(index + 1).and_then(|&token| row.get(token as usize));
        let mut result =
            Row { surprise: score.map(|score| total - f64::from(*score)), kl: 0.0, best: best(row), first_best: None };
        if let Some(expected) = first.and_then(|first| first.get(index)) {
            let whole = log_sum(expected);
            let part = |(a, b): (&f32, &f32)| {
                let (a, b) = (f64::from(*a) - whole, f64::from(*b) - total);
                a.exp() * (a - b)
            };
            result.kl = expected.iter().zip(row).map(part).sum();
            result.first_best = best(expected);
        }
        result
    };
    rows.par_iter().enumerate().map(one).collect()
}

/// The logarithm of the sum of exponentials.
fn log_sum(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
    f64::from(most) + sum.ln()
}

fn best(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_their_definitions() {
        // Probabilities 1/4 and 3/4 each way.
        let three = 3f32.ln();
        let (rows, other) = (vec![vec![0.0, three], vec![three, 0.0]], vec![vec![three, 0.0], vec![three, 0.0]]);
        let judged = |first: Option<&[Vec<f32>]>| {
            let mut judged = Judged::default();
            judged.add(compare(&rows, &[0, 1], first));
            judged
        };
        let alone = judged(None);
        assert_eq!(
            alone.rows.iter().map(|row| row.surprise.is_some()).collect::<Vec<_>>(),
            [true, false],
            "nothing is behind the last token"
        );
        assert!((perplexity(&alone.rows) - 4.0 / 3.0).abs() < 1e-6 && alone.windows.len() == 1);
        let difference = judged(Some(&other)).difference();
        let divergence = 0.75 * 3f64.ln() - 0.25 * 3f64.ln();
        assert!((difference.kl - divergence / 2.0).abs() < 1e-6 && difference.agreement == 0.5, "{difference:?}");
        assert!(judged(Some(&rows)).difference().kl.abs() < 1e-12);
        assert_eq!(judged(Some(&other)).worst(|row| row.kl), [0], "only rows with a token behind them");
    }
}
