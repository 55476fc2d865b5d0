//! BLEU (Papineni et al., 2002): precisions of 1- to 4-grams against references, and a penalty for brevity.
//!
//! A corpus score is computed from counts that are summed over all lines; it is not the mean of the line scores. The
//! smoothing methods are those that Chen and Cherry (2014) compare; names and defaults are sacrebleu's.

use std::{fmt, ops::Add, str::FromStr};

use rayon::prelude::*;
use serde::Serialize;

use super::{ScoreError, Tokenizer, case_field, check, counts::Counts, signature, words, yes_no};

/// The longest n-grams that are counted.
pub const MAX_ORDER: usize = 4;
/// Replaces the logarithm of a precision of 0: low enough that the score becomes 0.
const LOG_OF_ZERO: f64 = -9_999_999_999.0;

/// Smoothing: the precision of an n-gram order without a match.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Smoothing {
    /// No smoothing: precision and score are 0.
    None,
    /// Counts this many matches instead of 0, [0.1](Self::FLOOR) by default.
    Floor(f64),
    /// Adds this to the matches and totals of all orders but the first, [1](Self::ADD_K) by default.
    AddK(f64),
    /// Counts half a match for the first such order, a quarter for the second, and so on.
    #[default]
    Exponential,
}

impl Smoothing {
    /// The default value of [`Smoothing::Floor`].
    pub const FLOOR: f64 = 0.1;
    /// The default value of [`Smoothing::AddK`].
    pub const ADD_K: f64 = 1.0;
    const ALL: [Self; 4] = [Self::Exponential, Self::Floor(Self::FLOOR), Self::AddK(Self::ADD_K), Self::None];

    /// The name of the method in sacrebleu.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Floor(_) => "floor",
            Self::AddK(_) => "add-k",
            Self::Exponential => "exp",
        }
    }

    fn value(self) -> Option<f64> {
        match self {
            Self::Floor(value) | Self::AddK(value) => Some(value),
            Self::None | Self::Exponential => None,
        }
    }

    fn check(self) -> Result<(), ScoreError> {
        match self.value() {
            Some(found) if !found.is_finite() || found < 0.0 => Err(ScoreError::SmoothingValue { found }),
            _ => Ok(()),
        }
    }
}

/// Formats the method as in signatures: `exp`, `floor[0.10]`.
impl fmt::Display for Smoothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.value().map_or(Ok(()), |value| write!(f, "[{value:.2}]"))
    }
}

/// Parses the name of a method; its parameter gets the default value.
impl FromStr for Smoothing {
    type Err = ScoreError;

    fn from_str(name: &str) -> Result<Self, ScoreError> {
        let known = Self::ALL.into_iter().find(|method| method.name() == name);
        known.ok_or_else(|| ScoreError::Name {
            what: "smoothing",
            found: name.into(),
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Options of BLEU. The defaults are those of published scores.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BleuOptions {
    /// Splits lines into tokens.
    pub tokenizer: Tokenizer,
    /// Whether texts are lowercased first.
    pub lowercase: bool,
    /// The smoothing method.
    pub smoothing: Smoothing,
    /// Whether n-gram orders longer than the text are skipped instead of making the score 0. For scores of single
    /// sentences.
    pub effective_order: bool,
}

/// A BLEU score. Its text is the line that sacrebleu prints, without the signature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bleu {
    /// The score, 0 to 100.
    pub score: f64,
    /// Precision of 1- to 4-grams in percent, smoothed unless no n-gram of any order matches.
    pub precisions: [f64; MAX_ORDER],
    /// Brevity penalty, 0 to 1: the factor for hypotheses that are shorter than their references.
    pub brevity_penalty: f64,
    /// Length of the hypotheses divided by that of the references; 0 where the references are empty.
    pub ratio: f64,
    /// Number of tokens in the hypotheses.
    pub hypothesis_length: u64,
    /// Number of tokens in the references; each line counts the reference whose length is closest to the hypothesis.
    pub reference_length: u64,
    /// Number of matching n-grams per order, before smoothing.
    pub matches: [u64; MAX_ORDER],
    /// Number of n-grams in the hypotheses per order, before smoothing.
    pub totals: [u64; MAX_ORDER],
    /// sacrebleu's signature: the options that the score was computed with.
    pub signature: String,
}

impl fmt::Display for Bleu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precisions = self.precisions.map(|precision| format!("{precision:.1}")).join("/");
        let Self { score, brevity_penalty, ratio, hypothesis_length, reference_length, .. } = self;
        write!(f, "BLEU = {score:.2} {precisions} (BP = {brevity_penalty:.3} ratio = {ratio:.3} ")?;
        write!(f, "hyp_len = {hypothesis_length} ref_len = {reference_length})")
    }
}

/// BLEU of a corpus: `references[n]` holds all references of `hypotheses[n]`.
///
/// # Errors
/// No lines, a line without references, sides of different lengths, a smoothing value that is negative or not finite.
pub fn bleu(hypotheses: &[String], references: &[Vec<String>], options: &BleuOptions) -> Result<Bleu, ScoreError> {
    check(hypotheses, references)?;
    options.smoothing.check()?;
    let lines = hypotheses.par_iter().zip(references);
    let tally = lines
        .map(|(hypothesis, references)| Tally::of(hypothesis, references, options))
        .reduce(Tally::default, Add::add);
    Ok(tally.score(options, bleu_signature(references, options)))
}

/// BLEU of each line. Without [`BleuOptions::effective_order`], lines of fewer than four tokens score 0.
///
/// # Errors
/// As [`bleu`].
pub fn sentence_bleu(
    hypotheses: &[String],
    references: &[Vec<String>],
    options: &BleuOptions,
) -> Result<Vec<Bleu>, ScoreError> {
    check(hypotheses, references)?;
    options.smoothing.check()?;
    let lines = hypotheses.par_iter().zip(references);
    let score = |hypothesis: &String, references: &Vec<String>| {
        let signature = bleu_signature(std::slice::from_ref(references), options);
        Tally::of(hypothesis, references, options).score(options, signature)
    };
    Ok(lines.map(|(hypothesis, references)| score(hypothesis, references)).collect())
}

fn bleu_signature(references: &[Vec<String>], options: &BleuOptions) -> String {
    let BleuOptions { tokenizer, lowercase, smoothing, effective_order } = options;
    let fields = [
        case_field(*lowercase),
        ("eff", yes_no(*effective_order)),
        ("tok", tokenizer.to_string()),
        ("smooth", smoothing.to_string()),
    ];
    signature(references, &fields)
}

/// The counts that a score is computed from. The sum over all lines is the tally of the corpus.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    hypothesis_length: u64,
    reference_length: u64,
    matches: [u64; MAX_ORDER],
    totals: [u64; MAX_ORDER],
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            hypothesis_length: self.hypothesis_length + other.hypothesis_length,
            reference_length: self.reference_length + other.reference_length,
            matches: std::array::from_fn(|n| self.matches[n] + other.matches[n]),
            totals: std::array::from_fn(|n| self.totals[n] + other.totals[n]),
        }
    }
}

impl Tally {
    fn of(hypothesis: &str, references: &[String], options: &BleuOptions) -> Self {
        let hypothesis = tokenized(hypothesis, options);
        let tokens: Vec<&str> = words(&hypothesis).collect();
        let references: Vec<String> = references.iter().map(|reference| tokenized(reference, options)).collect();
        let references: Vec<Vec<&str>> = references.iter().map(|reference| words(reference).collect()).collect();
        let counts = |n: usize| {
            let mut most = Counts::default();
            references.iter().for_each(|reference| most.raise_to(ngrams(reference, n)));
            let own = ngrams(&tokens, n);
            (own.shared(&most), own.total())
        };
        let counts: [(u64, u64); MAX_ORDER] = std::array::from_fn(|index| counts(index + 1));
        let nearest = references.iter().map(Vec::len).min_by_key(|&length| (length.abs_diff(tokens.len()), length));
        Self {
            hypothesis_length: tokens.len() as u64,
            reference_length: nearest.unwrap_or(0) as u64,
            matches: counts.map(|(matches, _)| matches),
            totals: counts.map(|(_, total)| total),
        }
    }

    fn score(self, options: &BleuOptions, signature: String) -> Bleu {
        let Self { hypothesis_length, reference_length, matches, totals } = self;
        let brevity_penalty = self.brevity_penalty();
        let (precisions, order) = self.precisions(options.smoothing);
        let order = if options.effective_order { order } else { MAX_ORDER };
        let logarithm = |&precision: &f64| if precision == 0.0 { LOG_OF_ZERO } else { precision.ln() };
        let mean = precisions[..order].iter().map(logarithm).sum::<f64>() / order as f64;
        let score = if self.nothing_matches() { 0.0 } else { brevity_penalty * mean.exp() };
        let ratio = if reference_length == 0 { 0.0 } else { hypothesis_length as f64 / reference_length as f64 };
        Bleu {
            score,
            precisions,
            brevity_penalty,
            ratio,
            hypothesis_length,
            reference_length,
            matches,
            totals,
            signature,
        }
    }

    fn nothing_matches(&self) -> bool {
        self.matches == [0; MAX_ORDER]
    }

    fn brevity_penalty(&self) -> f64 {
        match (self.hypothesis_length, self.reference_length) {
            (hypothesis, reference) if hypothesis >= reference => 1.0,
            (0, _) => 0.0,
            (hypothesis, reference) => (1.0 - reference as f64 / hypothesis as f64).exp(),
        }
    }

    /// Precisions in percent after smoothing, and the longest order of which the hypotheses have n-grams.
    fn precisions(&self, smoothing: Smoothing) -> ([f64; MAX_ORDER], usize) {
        let mut precisions = [0.0; MAX_ORDER];
        if self.nothing_matches() {
            return (precisions, MAX_ORDER);
        }
        let mut halvings = 1.0;
        for n in 0..MAX_ORDER {
            let added = if let (Smoothing::AddK(value), 1..) = (smoothing, n) { value } else { 0.0 };
            let (matches, total) = (self.matches[n] as f64 + added, self.totals[n] as f64 + added);
            if total == 0.0 {
                return (precisions, n);
            }
            precisions[n] = match smoothing {
                _ if matches > 0.0 => 100.0 * matches / total,
                Smoothing::Floor(value) => 100.0 * value / total,
                Smoothing::Exponential => {
                    halvings *= 2.0;
                    100.0 / (halvings * total)
                }
                Smoothing::None | Smoothing::AddK(_) => 0.0,
            };
        }
        (precisions, MAX_ORDER)
    }
}

fn tokenized(line: &str, options: &BleuOptions) -> String {
    let small = options.lowercase.then(|| line.to_lowercase());
    let line = small.as_deref().unwrap_or(line);
    options.tokenizer.separate(line.trim_end_matches(super::is_space)).into_owned()
}

fn ngrams<'a, 't>(tokens: &'a [&'t str], n: usize) -> Counts<&'a [&'t str]> {
    tokens.windows(n).collect()
}
