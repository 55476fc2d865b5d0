//! Scores texts: [`bleu()`] and [`chrf()`] compare them with references, [`quality()`] needs none.
//!
//! BLEU and chrF follow sacrebleu [2.6.0](SACREBLEU): the same tokenizers, options, defaults, signatures and, to 1e-9,
//! numbers. Tokenizers that need a model or a dictionary (`spm`, `flores200`, `ja-mecab`, `ko-mecab`), significance
//! tests and TER are not implemented. Character classes are those of Unicode 16, lower case is that of Rust's standard
//! library. Python uses the Unicode version of its installation, so results may differ for characters that only one of
//! the versions has. `references[n]` holds all references of `hypotheses[n]`, one or more; [`by_line`] builds this from
//! one file per reference.

mod bleu;
mod chrf;
mod counts;
mod error;
mod quality;
mod scripts;
#[cfg(test)]
mod tests;
mod tokenizers;

pub use bleu::{Bleu, BleuOptions, MAX_ORDER, Smoothing, bleu, sentence_bleu};
pub use chrf::{Chrf, ChrfOptions, chrf, sentence_chrf};
pub use error::ScoreError;
pub use quality::{Indicator, Loop, Quality, QualityOptions, ScriptReport, quality};
pub use scripts::{Script, script_shares};
pub use tokenizers::Tokenizer;

/// The version of sacrebleu whose numbers are reproduced, as signatures name it.
pub const SACREBLEU: &str = "2.6.0";

/// Splits a file into lines as sacrebleu's command line does: only `\n` ends a line, and trailing white space is
/// removed.
pub fn lines(text: &str) -> Vec<String> {
    text.split_terminator('\n').map(|line| line.trim_end_matches(is_space).to_owned()).collect()
}

/// Transposes reference files (one list of lines per file) into the references of each line.
///
/// # Errors
/// `ReferenceFile` where the files have different numbers of lines.
pub fn by_line(files: Vec<Vec<String>>) -> Result<Vec<Vec<String>>, ScoreError> {
    let expected = files.first().map_or(0, Vec::len);
    if let Some((index, file)) = files.iter().enumerate().find(|(_, file)| file.len() != expected) {
        return Err(ScoreError::ReferenceFile { file: index + 1, expected, found: file.len() });
    }
    let mut references: Vec<Vec<String>> = vec![Vec::with_capacity(files.len()); expected];
    for file in files {
        references.iter_mut().zip(file).for_each(|(line, reference)| line.push(reference));
    }
    Ok(references)
}

/// Whether Python treats the character as white space: Unicode's white space and four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Splits a text into words as Python's `str.split` does.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Whether every hypothesis has references.
fn check(hypotheses: &[String], references: &[Vec<String>]) -> Result<(), ScoreError> {
    if hypotheses.is_empty() {
        return Err(ScoreError::Empty);
    }
    if references.len() != hypotheses.len() {
        return Err(ScoreError::Lines { what: "references", expected: hypotheses.len(), found: references.len() });
    }
    references.iter().position(Vec::is_empty).map_or(Ok(()), |index| Err(ScoreError::NoReference { line: index + 1 }))
}

/// A sacrebleu signature: the number of references per line, then `fields`, then the version.
fn signature(references: &[Vec<String>], fields: &[(&str, String)]) -> String {
    let count = references.first().map_or(0, Vec::len);
    let same = references.iter().all(|references| references.len() == count);
    let mut text = format!("nrefs:{}", if same { count.to_string() } else { "var".into() });
    for (name, value) in fields {
        text.push_str(&format!("|{name}:{value}"));
    }
    text + "|version:" + SACREBLEU
}

/// The field `case` of a signature: `lc` or `mixed`.
fn case_field(lowercase: bool) -> (&'static str, String) {
    ("case", if lowercase { "lc" } else { "mixed" }.into())
}

/// The signature's value for a boolean.
fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}
