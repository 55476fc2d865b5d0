//! Swift identifiers for arbitrary names, each unique in its scope.
//!
//! Only ASCII letters and digits are kept. `_` separates adjacent numbers, so that `4.0-1.2b` and `40-12b` get
//! different names.

use std::collections::BTreeSet;

/// Keywords: identifiers only between backticks.
const KEYWORDS: &str = "\
    actor any as associatedtype async await borrowing break case catch class consuming continue default defer deinit do else enum \
    extension fallthrough false fileprivate for func get guard if import in infix inout internal is let nil nonisolated open operator \
    postfix precedencegroup prefix private protocol public repeat rethrows return sending set some static struct subscript switch throw \
    throws true try typealias var where while";
/// Words that keep their meaning even between backticks.
const RESERVED: &str = "init self super";
/// Types that the templates or the language use. No generated type may shadow them.
const TYPES: &str = "\
    Any AnyObject AnyHashable Array ArraySlice AsyncThrowingStream Bool CVPixelBuffer Call CancellationError CoreML CoreVideo Dictionary \
    Double Error Failure Feature FileManager Float Form Foundation Function Generator Hashable Inputs Int Int32 Key LoadedModel \
    MLComputeUnits MLDictionaryFeatureProvider MLFeatureProvider MLFeatureValue MLModel MLModelConfiguration MLMultiArray \
    MLMultiArrayDataType MLPredictionOptions MLShapedArray MLState Memory ModelBundle Models NSLock NSNumber Never Notification \
    NotificationCenter ObjectIdentifier Optional Outputs Part Protocol Random RandomNumberGenerator Ready Result Sampling Self Sendable \
    Set Source States Step String Swift Task Type UInt16 UInt32 UInt64 UInt8 UIApplication UIKit URL URLResourceKey Void";
/// Types that apps use often. The enum of a package lies in the app's module and may not shadow them.
const APP_TYPES: &str = "\
    Animation Binding Bundle Button Calendar Character Clock Codable Collection CodingKey Color Comparable Data Date Decodable Decoder \
    Duration Encodable Encoder Environment Equatable Font Formatter Gradient Group Hasher Host Identifiable Image Iterator Label Layout \
    List Locale Mirror NSObject Observable Observation Operation Path Port Process Progress Published Range Regex Scanner Scene Section \
    Sequence Shape Slice Slider Spacer State Stepper Stream StringProtocol Substring Table Text Thread Timer Toggle Transaction UUID Unit \
    View Vision Window";

/// Names that are taken in one scope.
#[derive(Debug, Default)]
pub(super) struct Scope {
    taken: BTreeSet<String>,
}

impl Scope {
    /// A scope in which these names are taken.
    pub(super) fn with(names: &[&str]) -> Self {
        Self { taken: names.iter().map(|&name| name.to_owned()).collect() }
    }

    /// Scope of the types inside the enum of a package.
    pub(super) fn of_types(package: &str) -> Self {
        Self { taken: TYPES.split_whitespace().chain([package]).map(str::to_owned).collect() }
    }

    /// Scope of the enum itself: an app's module.
    pub(super) fn of_module() -> Self {
        Self { taken: TYPES.split_whitespace().chain(APP_TYPES.split_whitespace()).map(str::to_owned).collect() }
    }

    /// A type's name, e.g. `Flux1Tae`.
    pub(super) fn type_name(&mut self, text: &str) -> String {
        let name = words(text).iter().fold(String::new(), |name, word| joined(name, &capitalized(word)));
        let name =
            if name.starts_with(|first: char| first.is_ascii_alphabetic()) { name } else { format!("Model{name}") };
        self.unique(name)
    }

    /// A value's name, e.g. `inputIds`; between backticks where it is a keyword.
    pub(super) fn value_name(&mut self, text: &str) -> String {
        let words = words(text);
        let first = words.first().map(|word| lowered(word)).unwrap_or_default();
        let name = words.iter().skip(1).fold(first, |name, word| joined(name, &capitalized(word)));
        let name =
            if name.starts_with(|first: char| first.is_ascii_alphabetic()) { name } else { format!("value{name}") };
        let name = self.unique(name);
        if KEYWORDS.split_whitespace().any(|word| word == name) { format!("`{name}`") } else { name }
    }

    /// `name` with a suffix where it is taken: `_2`, `_3` and so on.
    pub(super) fn unique(&mut self, name: String) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let is_free =
            |name: &String| !self.taken.contains(name) && RESERVED.split_whitespace().all(|word| word != name);
        let free = std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name);
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

/// Lower-cases the start of a word: `CLIP` becomes `clip`, `lastState` stays.
fn lowered(word: &str) -> String {
    if word.chars().all(|c| !c.is_ascii_lowercase()) {
        word.to_ascii_lowercase()
    } else {
        word[..1].to_ascii_lowercase() + &word[1..]
    }
}

/// A Swift string literal with the value `text`.
pub(super) fn literal(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if is_invisible(c) => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// `text` in one line of a comment. Characters that would end the line or hide text become blanks.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if is_invisible(c) { ' ' } else { c }).collect()
}

/// Control characters, line separators and marks that change the direction of text.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

/// Whether a chosen name is a valid name for a type.
pub(super) fn is_type_name(text: &str) -> bool {
    let is_identifier = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_identifier
        && KEYWORDS
            .split_whitespace()
            .chain(TYPES.split_whitespace())
            .chain(RESERVED.split_whitespace())
            .all(|word| word != text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        let types = |text: &str| Scope::of_module().type_name(text);
        assert_eq!(types("flux-1-tae"), "Flux1Tae");
        assert_eq!(types("exaone-4.0-1.2b"), "Exaone4_0_1_2b");
        assert_eq!(types("4x-upscaler"), "Model4xUpscaler");
        assert_eq!(types("string"), "String_2", "Swift's own type stays visible");
        assert_eq!(types("data"), "Data_2", "so do types that an app needs");
        assert_eq!(Scope::of_types("Tae").type_name("tae"), "Tae_2", "the package's own enum");
        let values = |text: &str| Scope::default().value_name(text);
        assert_eq!(values("encoder_hidden_states"), "encoderHiddenStates");
        assert_eq!(values("CLIP input.1"), "clipInput1");
        assert_eq!(values("in"), "`in`");
        assert_eq!(
            ["self", "init", "super"].map(values),
            ["self_2", "init_2", "super_2"],
            "backticks do not free these"
        );
        assert_eq!(values("3"), "value3");
        assert_eq!(values("é"), "value");
    }

    #[test]
    fn names_are_given_once() {
        let mut scope = Scope::with(&["options"]);
        assert_eq!(
            ["a-b", "a_b", "options", "a.b"].map(|text| scope.value_name(text)),
            ["aB", "aB_2", "options_2", "aB_3"]
        );
    }

    #[test]
    fn literals_mean_what_they_say() {
        assert_eq!(literal("a\"\\(b)\n\u{e9}\u{202e}"), "\"a\\\"\\\\(b)\\u{a}\u{e9}\\u{202e}\"");
        assert_eq!(comment("a`\r\nimport B\u{2028}c\0"), "a`  import B c ");
    }

    #[test]
    fn names_that_people_choose_are_checked() {
        assert!(is_type_name("TinyModel") && is_type_name("A_2"));
        assert!(["", "2A", "A-B", "class", "Task", "self", "Ä"].iter().all(|name| !is_type_name(name)));
    }
}
