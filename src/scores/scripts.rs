//! Counts the scripts of the letters of a text. Distinguishes Russian from German, but not German from French.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde::Serialize;

macro_rules! scripts {
    ($($script:ident)*) => {
        /// A script in Unicode's sense.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "lowercase")]
        #[expect(missing_docs, reason = "the names are Unicode's")]
        pub enum Script {
            $($script,)*
            /// Letters of any other script, or of several.
            Other,
        }

        static PATTERNS: LazyLock<Vec<(Script, Regex)>> = LazyLock::new(|| {
            let patterns = [$((Script::$script, concat!(r"\p{Script=", stringify!($script), "}+"))),*];
            let compiled = patterns.map(|(script, pattern)| (script, Regex::new(pattern).expect("every name above is \
                 one of Unicode's")));
            compiled.into()
        });
    };
}

scripts! {
    Latin Greek Cyrillic Armenian Georgian Hebrew Arabic Syriac Ethiopic Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam
    Sinhala Thai Lao Tibetan Myanmar Khmer Mongolian Hangul Hiragana Katakana Han
}

/// Number of letters per script; scripts that do not occur are left out.
pub(super) fn count_letters(text: &str) -> BTreeMap<Script, u64> {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count() as u64;
    let mut counts = BTreeMap::new();
    if text.is_ascii() {
        counts.insert(Script::Latin, letters(text));
    } else {
        let of = |pattern: &Regex| pattern.find_iter(text).map(|found| letters(found.as_str())).sum();
        counts.extend(PATTERNS.iter().map(|(script, pattern)| (*script, of(pattern))));
        counts.insert(Script::Other, letters(text) - counts.values().sum::<u64>());
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// The share of each script in the letters of all texts. The shares add up to 1; the map is empty where there are no
/// letters.
pub fn script_shares<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeMap<Script, f64> {
    let mut counts = BTreeMap::new();
    for (script, count) in texts.into_iter().flat_map(count_letters) {
        *counts.entry(script).or_default() += count;
    }
    let total: u64 = counts.values().sum();
    counts.into_iter().map(|(script, count)| (script, count as f64 / total as f64)).collect()
}
