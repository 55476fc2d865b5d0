//! Splits lines into tokens for BLEU: sacrebleu's rule-based tokenizers.
//!
//! `13a` follows mteval-v13a.pl, `intl` mteval-v14.pl with international tokenization. Rules are substitutions in a
//! fixed order that put spaces around tokens; the order and that matches do not overlap are part of the result.

use std::{borrow::Cow, fmt, str::FromStr, sync::LazyLock};

use regex::Regex;
use serde::Serialize;

use super::{ScoreError, is_space};

/// A tokenizer of BLEU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Tokenizer {
    /// `13a`: western punctuation, entities decoded. What published scores use, for languages that write spaces.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// `intl`: punctuation and symbols of every script.
    #[serde(rename = "intl")]
    International,
    /// `char`: every character.
    #[serde(rename = "char")]
    Characters,
    /// `zh`: every Chinese character, the rest as `13a` does without decoding entities.
    #[serde(rename = "zh")]
    Chinese,
    /// `none`: splits at white space only.
    #[serde(rename = "none")]
    None,
}

impl Tokenizer {
    /// Every tokenizer.
    pub const ALL: [Self; 5] = [Self::V13a, Self::International, Self::Characters, Self::Chinese, Self::None];

    /// The name in sacrebleu.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::Characters => "char",
            Self::Chinese => "zh",
            Self::None => "none",
        }
    }

    /// The line with white space between its tokens.
    pub(super) fn separate(self, line: &str) -> Cow<'_, str> {
        match self {
            Self::V13a => western(&format!(" {} ", decoded(line))).into(),
            Self::International => substitute(&INTERNATIONAL, line).into(),
            Self::Characters => line.chars().flat_map(|c| [c, ' ']).collect::<String>().into(),
            Self::Chinese => western(&chinese_apart(line.trim_matches(is_space))).into(),
            Self::None => line.into(),
        }
    }
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Tokenizer {
    type Err = ScoreError;

    fn from_str(name: &str) -> Result<Self, ScoreError> {
        let known = Self::ALL.into_iter().find(|tokenizer| tokenizer.name() == name);
        known.ok_or_else(|| ScoreError::Name {
            what: "tokenizer",
            found: name.into(),
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// A pattern and its replacement.
type Rules<const N: usize> = LazyLock<[(Regex, &'static str); N]>;

fn rule(pattern: &str, replacement: &'static str) -> (Regex, &'static str) {
    (Regex::new(pattern).expect("the pattern is a constant that tests compile"), replacement)
}

fn substitute<const N: usize>(rules: &Rules<N>, line: &str) -> String {
    rules
        .iter()
        .fold(line.to_owned(), |line, (pattern, replacement)| pattern.replace_all(&line, *replacement).into_owned())
}

/// ASCII punctuation but full stop, comma, dash and apostrophe; those where no digit stands before, or after; the dash
/// after a digit.
static WESTERN: Rules<4> = LazyLock::new(|| {
    [
        rule(r"([ -&(-+/:-@\[-`{-~])", " $1 "),
        rule(r"([^0-9])([.,])", "$1 $2 "),
        rule(r"([.,])([^0-9])", " $1 $2"),
        rule(r"([0-9])(-)", "$1 $2 "),
    ]
});

/// Punctuation where no number stands before, or after; symbols. Without white space at the ends, so that a number
/// keeps the last full stop.
static INTERNATIONAL: Rules<3> =
    LazyLock::new(|| [rule(r"(\P{N})(\p{P})", "$1 $2 "), rule(r"(\p{P})(\P{N})", " $1 $2"), rule(r"(\p{S})", " $1 ")]);

fn western(line: &str) -> String {
    substitute(&WESTERN, line)
}

/// Without markers of skipped text and line ends, entities decoded: one after another, so that `&amp;lt;` becomes `<`.
fn decoded(line: &str) -> String {
    const STEPS: [(&str, &str); 7] =
        [("<skipped>", ""), ("-\n", ""), ("\n", " "), ("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")];
    STEPS
        .iter()
        .fold(line.to_owned(), |line, (from, to)| if line.contains(from) { line.replace(from, to) } else { line })
}

fn chinese_apart(line: &str) -> String {
    let mut apart = String::with_capacity(line.len() * 2);
    for c in line.chars() {
        if is_chinese(c) {
            apart.extend([' ', c, ' ']);
        } else {
            apart.push(c);
        }
    }
    apart
}

/// What sacrebleu takes for Chinese. Its ranges beyond the basic plane are written with four digits, so that they name
/// U+2000 followed by `0` and so on: what compares between those is U+2001 to U+2A6D, which covers general punctuation,
/// arrows and symbols, and no ideograph.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{2001}'..='\u{2a6d}' | '\u{2e80}'..='\u{2fdf}' | '\u{2ff0}'..='\u{303f}' | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}'
        | '\u{31c0}'..='\u{31ef}' | '\u{3200}'..='\u{33ff}' | '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}' | '\u{f900}'..='\u{fa2d}'
        | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}' | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ffef}')
}
