//! Signs of a broken text model that need no reference: outputs that do not depend on the input, outputs that repeat
//! themselves endlessly, letters of a script in which the expected language is not written.
//!
//! Each sign is the share of lines that show it, and their numbers. No sign is a proof: `Thanks.` and `Thank you.` may
//! have the same translation.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    ScoreError, is_space,
    scripts::{Script, count_letters, script_shares},
    words,
};

/// Length of the longest repeated unit that is found, in words or characters.
const LONGEST_UNIT: usize = 64;
/// Fewest characters of a loop within words: shorter ones are `hahaha`, `...` and `2000000`.
const SHORTEST_RUN: usize = 12;
/// A script with a smaller share in the expected texts is not expected: it comes from names and quotes.
const RARE: f64 = 0.01;

/// Thresholds of the signs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualityOptions {
    /// Fewest repetitions in a row that make a loop. 4 by default; values below 2 are taken as 2.
    pub repeats: usize,
    /// Largest share of a line's letters that may belong to scripts that are not expected. 0.3 by default.
    pub foreign: f64,
}

impl Default for QualityOptions {
    fn default() -> Self {
        Self { repeats: 4, foreign: 0.3 }
    }
}

/// The lines that show a sign.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Indicator {
    /// Their share of all lines, 0 to 1.
    pub share: f64,
    /// Line numbers, from 1.
    pub lines: Vec<usize>,
}

/// An output that repeats itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loop {
    /// The line, from 1.
    pub line: usize,
    /// The repeated text.
    pub unit: String,
    /// Number of repetitions in a row.
    pub repeats: usize,
}

/// The scripts of the outputs and of the expected texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScriptReport {
    /// The share of each script in the letters of all outputs.
    pub found: BTreeMap<Script, f64>,
    /// The share of each script in the letters of the expected texts.
    pub expected: BTreeMap<Script, f64>,
    /// The share of letters that would have to change for the shares to be equal, 0 to 1.
    pub distance: f64,
    /// Outputs with too many letters of scripts that are rare in the expected texts.
    pub foreign: Indicator,
}

/// Signs that a text model is broken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// Number of outputs.
    pub lines: usize,
    /// Empty outputs of sources that are not empty.
    pub empty: Indicator,
    /// Outputs that equal their source, where that has letters.
    pub copied: Indicator,
    /// Outputs that a different source has too: different sources should give different outputs.
    pub same_output: Indicator,
    /// Outputs with more repetitions in a row than their source has of anything.
    pub looping: Indicator,
    /// The loops in those outputs.
    pub loops: Vec<Loop>,
    /// The scripts, where expected texts are given.
    pub scripts: Option<ScriptReport>,
}

/// Finds the signs in `outputs[n]`, which a model made of `sources[n]`. `expected` holds any texts in the language of
/// the outputs, such as the references; without it, scripts are not judged.
///
/// # Errors
/// No lines, sides of different lengths.
pub fn quality(
    sources: &[String],
    outputs: &[String],
    expected: &[String],
    options: &QualityOptions,
) -> Result<Quality, ScoreError> {
    if outputs.is_empty() {
        return Err(ScoreError::Empty);
    }
    if sources.len() != outputs.len() {
        return Err(ScoreError::Lines { what: "sources", expected: outputs.len(), found: sources.len() });
    }
    let pairs: Vec<(&str, &str)> =
        sources.iter().zip(outputs).map(|(source, output)| (trimmed(source), trimmed(output))).collect();
    let loops = loops(&pairs, options.repeats.max(2));
    Ok(Quality {
        lines: pairs.len(),
        empty: indicator(&pairs, |(source, output)| output.is_empty() && !source.is_empty()),
        copied: indicator(&pairs, |(source, output)| source == output && source.chars().any(char::is_alphabetic)),
        same_output: same_output(&pairs),
        looping: Indicator {
            share: loops.len() as f64 / pairs.len() as f64,
            lines: loops.iter().map(|found| found.line).collect(),
        },
        loops,
        scripts: (!expected.is_empty()).then(|| script_report(&pairs, expected, options.foreign)),
    })
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn indicator(pairs: &[(&str, &str)], shows: impl Fn((&str, &str)) -> bool) -> Indicator {
    let lines: Vec<usize> = (1..).zip(pairs).filter(|(_, pair)| shows(**pair)).map(|(line, _)| line).collect();
    Indicator { share: lines.len() as f64 / pairs.len() as f64, lines }
}

fn same_output(pairs: &[(&str, &str)]) -> Indicator {
    let mut sources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (source, output) in pairs {
        sources.entry(output).or_default().insert(source);
    }
    indicator(pairs, |(_, output)| !output.is_empty() && sources[output].len() > 1)
}

fn loops(pairs: &[(&str, &str)], repeats: usize) -> Vec<Loop> {
    let found = |(line, (source, output)): (usize, &(&str, &str))| {
        let (unit, repeats) = longest_loop(output, repeats)?;
        let in_source = longest_loop(source, repeats).is_some();
        (!in_source).then_some(Loop { line, unit, repeats })
    };
    (1..).zip(pairs).filter_map(found).collect()
}

/// The unit that stands at least `repeats` times in a row, and the number of repetitions: of words, else of characters.
fn longest_loop(text: &str, repeats: usize) -> Option<(String, usize)> {
    let words: Vec<&str> = words(text).collect();
    if let Some(run) = longest_run(&words, repeats, repeats) {
        return Some((words[run.start..run.start + run.period].join(" "), run.length / run.period));
    }
    let characters: Vec<char> = text.chars().collect();
    let run = longest_run(&characters, repeats, SHORTEST_RUN)?;
    Some((characters[run.start..run.start + run.period].iter().collect(), run.length / run.period))
}

/// A stretch in which every item equals the one `period` before it.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: usize,
    length: usize,
    period: usize,
}

/// The longest stretch of at least `repeats` periods and `shortest` items. Ties go to the shortest period, then to the
/// first stretch.
fn longest_run<T: PartialEq>(items: &[T], repeats: usize, shortest: usize) -> Option<Run> {
    let mut longest: Option<Run> = None;
    for period in 1..=(items.len() / repeats).min(LONGEST_UNIT) {
        let mut start = 0;
        for end in period..=items.len() {
            if end < items.len() && items[end] == items[end - period] {
                continue;
            }
            let length = end - start;
            let long = length >= shortest && length / period >= repeats;
            if long && longest.is_none_or(|longest| length > longest.length) {
                longest = Some(Run { start, length, period });
            }
            start = end + 1 - period;
        }
    }
    longest
}

fn script_report(pairs: &[(&str, &str)], expected: &[String], allowed: f64) -> ScriptReport {
    let found = script_shares(pairs.iter().map(|(_, output)| *output));
    let expected = script_shares(expected.iter().map(String::as_str));
    let share = |shares: &BTreeMap<Script, f64>, script| shares.get(&script).copied().unwrap_or(0.0);
    let scripts: BTreeSet<Script> = found.keys().chain(expected.keys()).copied().collect();
    let distance =
        scripts.iter().map(|&script| (share(&found, script) - share(&expected, script)).abs()).sum::<f64>() / 2.0;
    let foreign = indicator(pairs, |(_, output)| {
        let letters = count_letters(output);
        let strange: u64 =
            letters.iter().filter(|(script, _)| share(&expected, **script) < RARE).map(|(_, count)| count).sum();
        strange as f64 > allowed * letters.values().sum::<u64>() as f64
    });
    ScriptReport { found, expected, distance, foreign }
}
