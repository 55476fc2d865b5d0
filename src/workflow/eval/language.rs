//! Language models on a text: perplexity, and how far each way in which a package was made is from the most precise one.
//!
//! The text is cut into windows that do not overlap; in each, every token but the first is scored, given those before it. KL is the mean over rows of
//! the divergence of a model's next-token probabilities from the first model's; agreement, how often both name the same token.

use std::{fs, path::PathBuf, time::Instant};

use rayon::prelude::*;
use serde::Serialize;

use super::EvaluationError;
use crate::{
    eval::Mode,
    workflow::{
        Amount, Context, Error,
        bundles::BundleSubject,
        run::text::{LanguageBundles, TextChoice, language_models},
    },
};

/// The longest window where nothing is said.
const WINDOW: usize = 512;

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
    /// The file of text.
    pub text: PathBuf,
    /// What is allowed.
    pub thresholds: LanguageThresholds,
    /// Each way in which a package was made, the most precise first.
    pub models: Vec<LanguageResult>,
    /// Whether all numbers are as good as is asked for.
    pub passed: bool,
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
    /// Numbers that are too bad, as sentences.
    pub failures: Vec<String>,
}

/// How far a model is from the first one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LanguageDifference {
    /// Mean KL divergence, in nats.
    pub kl: f64,
    /// The share of rows whose best token is the same.
    pub agreement: f64,
}

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    surprise: f64,
    scored: usize,
    kl: f64,
    same: usize,
    rows: usize,
}

impl Sums {
    fn and(self, other: Self) -> Self {
        Self {
            surprise: self.surprise + other.surprise,
            scored: self.scored + other.scored,
            kl: self.kl + other.kl,
            same: self.same + other.same,
            rows: self.rows + other.rows,
        }
    }
}

/// Judges language models on a text. Numbers that are too bad are no error: [`LanguageEvalReport::passed`] says it.
///
/// # Errors
/// When the file cannot be read, has too few tokens, or a package has no language model that can be run.
pub fn eval_language(context: &Context, options: &LanguageEvalOptions) -> Result<LanguageEvalReport, Error> {
    let path = context.directory().join(&options.text);
    let text = fs::read_to_string(path).map_err(|source| EvaluationError::Read { path: options.text.clone(), source })?;
    let mut models = Vec::new();
    for subject in &options.subjects {
        models.extend(judge(context, options, subject, &text)?);
    }
    let passed = models.iter().all(|model: &LanguageResult| model.failures.is_empty());
    Ok(LanguageEvalReport { text: options.text.clone(), thresholds: options.thresholds, models, passed })
}

fn judge(context: &Context, options: &LanguageEvalOptions, subject: &BundleSubject, text: &str) -> Result<Vec<LanguageResult>, Error> {
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
    let (mut sums, mut seconds) = (vec![Sums::default(); makings.len()], vec![0.0; makings.len()]);
    let models: Vec<_> = makings.iter().map(|(_, bundles)| bundles.model(options.mode)).collect();
    for tokens in &windows {
        let mut first: Option<Vec<Vec<f32>>> = None;
        for (index, model) in models.iter().enumerate() {
            let start = Instant::now();
            let rows = model.read(&mut Default::default(), tokens)?;
            seconds[index] += start.elapsed().as_secs_f64();
            sums[index] = sums[index].and(compare(&rows, tokens, first.as_deref()));
            first.get_or_insert(rows);
            task.advance(1);
        }
    }
    task.finish("read the text");
    let read: usize = windows.iter().map(|tokens| tokens.len()).sum();
    let result = |(index, (making, bundles)): (usize, &(String, LanguageBundles))| {
        let Sums { surprise, scored, kl, same, rows } = sums[index];
        let per = |sum: f64| sum / rows.max(1) as f64;
        let mut result = LanguageResult {
            name: if making.is_empty() { subject.to_string() } else { format!("{subject} {making}") },
            bundles: bundles.names(),
            window,
            tokens: scored,
            perplexity: (surprise / scored.max(1) as f64).exp(),
            against_first: (index > 0).then(|| LanguageDifference { kl: per(kl), agreement: per(same as f64) }),
            tokens_per_second: read as f64 / seconds[index].max(1e-9),
            failures: Vec::new(),
        };
        result.failures = failures(&result, options.thresholds);
        result
    };
    Ok(makings.iter().enumerate().map(result).collect())
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

/// Sums over the rows of a window: row `i` scores token `i + 1`.
fn compare(rows: &[Vec<f32>], tokens: &[u32], first: Option<&[Vec<f32>]>) -> Sums {
    let one = |(index, row): (usize, &Vec<f32>)| {
        let total = log_sum(row);
        let mut sums = Sums { rows: 1, ..Sums::default() };
        if let Some(score) = tokens.get(index + 1).and_then(|&token| row.get(token as usize)) {
            (sums.surprise, sums.scored) = (total - f64::from(*score), 1);
        }
        if let Some(expected) = first.and_then(|first| first.get(index)) {
            let whole = log_sum(expected);
            let part = |(a, b): (&f32, &f32)| {
                let (a, b) = (f64::from(*a) - whole, f64::from(*b) - total);
                a.exp() * (a - b)
            };
            sums.kl = expected.iter().zip(row).map(part).sum();
            sums.same = usize::from(best(expected) == best(row));
        }
        sums
    };
    rows.par_iter().enumerate().map(one).collect::<Vec<_>>().into_iter().fold(Sums::default(), Sums::and)
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
        let sums = compare(&rows, &[0, 1], None);
        assert_eq!((sums.scored, sums.rows), (1, 2), "nothing stands behind the last token");
        assert!((sums.surprise - (4.0f64 / 3.0).ln()).abs() < 1e-6);
        let sums = compare(&rows, &[0, 1], Some(&other));
        let divergence = 0.75 * 3f64.ln() - 0.25 * 3f64.ln();
        assert!((sums.kl - divergence).abs() < 1e-6 && sums.same == 1);
        assert!(compare(&rows, &[0, 1], Some(&rows)).kl.abs() < 1e-12);
    }
}
