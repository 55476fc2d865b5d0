//! How good texts are: [`bleu()`] and [`chrf()`] against references, [`quality()`] where there may be none.
//!
//! BLEU and chrF follow sacrebleu [2.6.0](SACREBLEU): the same tokenizers, options, defaults, signatures and, to 1e-9, numbers. Tokenizers that
//! need a model or a dictionary (`spm`, `flores200`, `ja-mecab`, `ko-mecab`), significance tests and TER are left out. Character classes are
//! those of Unicode 16, lower case is that of Rust's standard library; Python's depend on what is installed there, and differ in characters that
//! one of both does not know yet.
//! `references[n]` are all references of `hypotheses[n]`, one or more; [`by_line`] makes them of a file for each.

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

/// The lines of a file as sacrebleu's command line reads them: ended by `\n` alone, without white space at their ends.
pub fn lines(text: &str) -> Vec<String> {
    text.split_terminator('\n').map(|line| line.trim_end_matches(is_space).to_owned()).collect()
}

/// Turns files of references (one list of lines each) into the references of every line.
///
/// # Errors
/// Files of different lengths.
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

/// What Python takes for white space: Unicode's, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The words of a text as Python's `split` finds them.
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

/// How many references there are for each line, then `fields`, then the version.
fn signature(references: &[Vec<String>], fields: &[(&str, String)]) -> String {
    let count = references.first().map_or(0, Vec::len);
    let same = references.iter().all(|references| references.len() == count);
    let mut text = format!("nrefs:{}", if same { count.to_string() } else { "var".into() });
    for (name, value) in fields {
        text.push_str(&format!("|{name}:{value}"));
    }
    text + "|version:" + SACREBLEU
}

/// How a signature says whether letters were made small.
fn case_field(lowercase: bool) -> (&'static str, String) {
    ("case", if lowercase { "lc" } else { "mixed" }.into())
}

/// How a signature says yes or no.
fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}
