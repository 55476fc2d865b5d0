//! Names of Swift: identifiers made of names that are none, each once in its scope.
//!
//! Only ASCII is kept. Where two numbers would meet they are parted by `_`, so that `4.0-1.2b` and `40-12b` stay apart.

use std::collections::BTreeSet;

/// Words that are identifiers only between backticks.
const KEYWORDS: &str = "\
    actor any as associatedtype async await borrowing break case catch class consuming continue default defer deinit do else enum \
    extension fallthrough false fileprivate for func get guard if import in init inout internal is let nil open operator private \
    protocol public repeat rethrows return self set some static struct subscript super switch throw throws true try typealias var \
    where while";
/// Types that the templates name, or that mean something to the language: no generated type may hide them.
const TYPES: &str = "\
    Any AnyObject Array AsyncThrowingStream Bool Call CoreML CVPixelBuffer CancellationError Dictionary Double Error Failure Feature \
    FileManager Float Form Foundation Function Generator Int Int32 MLFeatureValue MLModel MLMultiArray MLState ModelBundle Models \
    Never Notification NotificationCenter Optional Outputs Protocol Random RandomNumberGenerator Result Sampling Self Sendable Set \
    Step String Swift Task Type UInt32 UInt64 UIKit URL Void";

/// Names that were given in one scope.
#[derive(Debug, Default)]
pub(super) struct Scope {
    taken: BTreeSet<String>,
}

impl Scope {
    /// A scope where these names mean something already.
    pub(super) fn with(names: &[&str]) -> Self {
        Self { taken: names.iter().map(|&name| name.to_owned()).collect() }
    }

    /// A scope of types.
    pub(super) fn of_types() -> Self {
        Self { taken: TYPES.split(' ').map(str::to_owned).collect() }
    }

    /// A type's name, e.g. `Flux1Tae`.
    pub(super) fn type_name(&mut self, text: &str) -> String {
        let name = words(text).iter().fold(String::new(), |name, word| joined(name, &capitalized(word)));
        let name = if name.starts_with(|first: char| first.is_ascii_alphabetic()) { name } else { format!("Model{name}") };
        self.unique(name)
    }

    /// A value's name, e.g. `inputIds`; between backticks where it is a keyword.
    pub(super) fn value_name(&mut self, text: &str) -> String {
        let words = words(text);
        let first = words.first().map(|word| lowered(word)).unwrap_or_default();
        let name = words.iter().skip(1).fold(first, |name, word| joined(name, &capitalized(word)));
        let name = if name.starts_with(|first: char| first.is_ascii_alphabetic()) { name } else { format!("value{name}") };
        let name = self.unique(name);
        if KEYWORDS.split(' ').any(|word| word == name) { format!("`{name}`") } else { name }
    }

    fn unique(&mut self, name: String) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !self.taken.contains(name)).unwrap_or(name);
        self.taken.insert(free.clone());
        free
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

fn joined(mut name: String, word: &str) -> String {
    if name.ends_with(|c: char| c.is_ascii_digit()) && word.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    name + word
}

fn capitalized(word: &str) -> String {
    word[..1].to_ascii_uppercase() + &word[1..]
}

/// `CLIP` is `clip`, `lastState` stays.
fn lowered(word: &str) -> String {
    if word.chars().all(|c| !c.is_ascii_lowercase()) { word.to_ascii_lowercase() } else { word[..1].to_ascii_lowercase() + &word[1..] }
}

/// A string literal that means `text`.
pub(super) fn literal(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        let types = |text: &str| Scope::of_types().type_name(text);
        assert_eq!(types("flux-1-tae"), "Flux1Tae");
        assert_eq!(types("exaone-4.0-1.2b"), "Exaone4_0_1_2b");
        assert_eq!(types("4x-upscaler"), "Model4xUpscaler");
        assert_eq!(types("string"), "String_2", "Swift's own type stays visible");
        let values = |text: &str| Scope::default().value_name(text);
        assert_eq!(values("encoder_hidden_states"), "encoderHiddenStates");
        assert_eq!(values("CLIP input.1"), "clipInput1");
        assert_eq!(values("in"), "`in`");
        assert_eq!(values("3"), "value3");
        assert_eq!(values("é"), "value");
    }

    #[test]
    fn names_are_given_once() {
        let mut scope = Scope::with(&["options"]);
        assert_eq!(["a-b", "a_b", "options", "a.b"].map(|text| scope.value_name(text)), ["aB", "aB_2", "options_2", "aB_3"]);
    }

    #[test]
    fn literals_mean_what_they_say() {
        assert_eq!(literal("a\"\\(b)\n\u{e9}"), "\"a\\\"\\\\(b)\\u{a}\u{e9}\"");
    }
}
