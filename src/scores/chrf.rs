//! chrF (Popović, 2015) and chrF++ (2017): F-score of character n-grams, and with `++` of words and pairs of words.
//!
//! With several references, each line is scored against the one that gives the best score. Options, defaults and names
//! are sacrebleu's.

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;

use super::{ScoreError, case_field, check, counts::Counts, is_space, signature, words, yes_no};

/// Precision and recall of an order without n-grams on one side, with [`ChrfOptions::eps_smoothing`].
const EPSILON: f64 = 1e-16;

/// Options of chrF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChrfOptions {
    /// Length of the longest character n-grams, 6 by default.
    pub char_order: u8,
    /// Length of the longest word n-grams: 0 by default, 2 for chrF++.
    pub word_order: u8,
    /// Beta: recall weighs this many times as much as precision, 2 by default.
    pub beta: u8,
    /// Whether texts are lowercased first.
    pub lowercase: bool,
    /// Whether character n-grams include white space.
    pub whitespace: bool,
    /// Whether orders without n-grams on one side count too, with a tiny epsilon, as in chrF++.py, Moses and NLTK.
    pub eps_smoothing: bool,
}

impl Default for ChrfOptions {
    fn default() -> Self {
        Self { char_order: 6, word_order: 0, beta: 2, lowercase: false, whitespace: false, eps_smoothing: false }
    }
}

impl ChrfOptions {
    /// The options of chrF++, which adds words and pairs of words.
    pub fn plus_plus() -> Self {
        Self { word_order: 2, ..Self::default() }
    }

    fn check(&self) -> Result<(), ScoreError> {
        if self.char_order == 0 && self.word_order == 0 { Err(ScoreError::NoOrder) } else { Ok(()) }
    }
}

/// A chrF score. Its text is the line that sacrebleu prints, without the signature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chrf {
    /// Name with beta and one `+` per word order: `chrF2`, `chrF2++`.
    pub name: String,
    /// The score, 0 to 100.
    pub score: f64,
    /// sacrebleu's signature: the options that the score was computed with.
    pub signature: String,
}

impl fmt::Display for Chrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:.2}", self.name, self.score)
    }
}

/// chrF of a corpus: `references[n]` holds all references of `hypotheses[n]`.
///
/// # Errors
/// No lines, a line without references, sides of different lengths, orders that are both 0.
pub fn chrf(hypotheses: &[String], references: &[Vec<String>], options: &ChrfOptions) -> Result<Chrf, ScoreError> {
    check(hypotheses, references)?;
    options.check()?;
    let lines = hypotheses.par_iter().zip(references);
    let tally = lines.map(|(hypothesis, references)| best(hypothesis, references, options)).reduce(Vec::new, sum);
    Ok(result(&tally, references, options))
}

/// chrF of each line.
///
/// # Errors
/// As [`chrf`].
pub fn sentence_chrf(
    hypotheses: &[String],
    references: &[Vec<String>],
    options: &ChrfOptions,
) -> Result<Vec<Chrf>, ScoreError> {
    check(hypotheses, references)?;
    options.check()?;
    let lines = hypotheses.par_iter().zip(references);
    let score = |(hypothesis, references): (&String, &Vec<String>)| {
        let tally = best(hypothesis, references, options);
        result(&tally, std::slice::from_ref(references), options)
    };
    Ok(lines.map(score).collect())
}

fn result(tally: &[Tally], references: &[Vec<String>], options: &ChrfOptions) -> Chrf {
    let ChrfOptions { char_order, word_order, beta, lowercase, whitespace, eps_smoothing } = options;
    let fields = [
        case_field(*lowercase),
        ("eff", yes_no(!eps_smoothing)),
        ("nc", char_order.to_string()),
        ("nw", word_order.to_string()),
        ("space", yes_no(*whitespace)),
    ];
    Chrf {
        name: format!("chrF{beta}{}", "+".repeat(usize::from(*word_order))),
        score: f_score(tally, options),
        signature: signature(references, &fields),
    }
}

/// N-grams of one order.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    hypothesis: u64,
    reference: u64,
    matches: u64,
}

/// Adds two tallies order by order; either may be empty.
fn sum(mut left: Vec<Tally>, right: Vec<Tally>) -> Vec<Tally> {
    if left.is_empty() {
        return right;
    }
    for (left, right) in left.iter_mut().zip(right) {
        left.hypothesis += right.hypothesis;
        left.reference += right.reference;
        left.matches += right.matches;
    }
    left
}

/// The tally against the first reference with the best score.
fn best(hypothesis: &str, references: &[String], options: &ChrfOptions) -> Vec<Tally> {
    let hypothesis = Segment::new(hypothesis, options);
    let own = hypothesis.ngrams(options);
    let tallies = references.iter().map(|reference| {
        let reference = Segment::new(reference, options);
        let tallies: Vec<Tally> =
            own.iter().zip(&reference.ngrams(options)).map(|(own, reference)| compare(own, reference)).collect();
        (f_score(&tallies, options), tallies)
    });
    let best = tallies.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, tallies)| tallies).unwrap_or_default()
}

/// Does not count n-grams of the hypothesis of an order that the reference has none of.
fn compare<K: std::hash::Hash + Eq>(hypothesis: &Counts<K>, reference: &Counts<K>) -> Tally {
    let total = reference.total();
    let own = if total == 0 { 0 } else { hypothesis.total() };
    Tally { hypothesis: own, reference: total, matches: hypothesis.shared(reference) }
}

fn f_score(tallies: &[Tally], options: &ChrfOptions) -> f64 {
    let factor = f64::from(options.beta).powi(2);
    let f = |precision: f64, recall: f64| (1.0 + factor) * precision * recall / (factor * precision + recall);
    let rate = |matches: u64, total: u64| if total == 0 { EPSILON } else { matches as f64 / total as f64 };
    let rates = |tally: &Tally| (rate(tally.matches, tally.hypothesis), rate(tally.matches, tally.reference));
    if options.eps_smoothing {
        let scores = tallies.iter().map(rates).map(|(precision, recall)| match f(precision, recall) {
            score if score.is_nan() => EPSILON,
            score => score,
        });
        return 100.0 * scores.sum::<f64>() / tallies.len() as f64;
    }
    let counted: Vec<_> =
        tallies.iter().filter(|tally| tally.hypothesis > 0 && tally.reference > 0).map(rates).collect();
    let mean = |side: fn(&(f64, f64)) -> f64| counted.iter().map(side).sum::<f64>() / counted.len() as f64;
    let (precision, recall) = (mean(|rates| rates.0), mean(|rates| rates.1));
    if precision + recall > 0.0 { 100.0 * f(precision, recall) } else { 0.0 }
}

/// A text from which n-grams are taken.
struct Segment {
    /// The text of the character n-grams, and the byte offset of each character and of the end.
    text: String,
    starts: Vec<usize>,
    /// Words, with punctuation split off.
    words: Vec<String>,
}

impl Segment {
    fn new(text: &str, options: &ChrfOptions) -> Self {
        let text = if options.lowercase { text.to_lowercase() } else { text.to_owned() };
        let words = if options.word_order == 0 {
            Vec::new()
        } else {
            words(&text).flat_map(punctuation_apart).map(str::to_owned).collect()
        };
        let text = if options.whitespace { text } else { text.replace(is_space, "") };
        let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]).collect();
        Self { text, starts, words }
    }

    /// Counts by order: of characters, then of words.
    fn ngrams(&self, options: &ChrfOptions) -> Vec<Counts<Ngram<'_>>> {
        let characters = (1..=usize::from(options.char_order)).map(|n| {
            let spans = self.starts.windows(n + 1).map(|starts| &self.text[starts[0]..starts[n]]);
            spans.map(Ngram::Characters).collect()
        });
        let words = (1..=usize::from(options.word_order)).map(|n| self.words.windows(n).map(Ngram::Words).collect());
        characters.chain(words).collect()
    }
}

/// A run of characters or words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ngram<'a> {
    Characters(&'a str),
    Words(&'a [String]),
}

/// A word without the ASCII punctuation mark at its end, or else at its start, and that mark: `(hi)` is `(hi` and `)`.
fn punctuation_apart(word: &str) -> impl Iterator<Item = &str> {
    let mark = |c: char| c.is_ascii_punctuation();
    let at = match (word.chars().next(), word.chars().next_back()) {
        _ if word.chars().nth(1).is_none() => word.len(),
        (_, Some(last)) if mark(last) => word.len() - 1,
        (Some(first), _) if mark(first) => 1,
        _ => word.len(),
    };
    let (left, right) = word.split_at(at);
    [left, right].into_iter().filter(|part| !part.is_empty())
}
