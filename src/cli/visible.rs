//! Escapes text for a terminal: characters that move the cursor, change the terminal's state or reorder letters.
//!
//! Descriptions, licences, file names and messages of servers are printed, and are not checked for control characters
//! when they are read. So every text is escaped here before it is printed, and styles are added afterwards. `--json`
//! documents use JSON's own escapes for the same characters, so their meaning does not change.

/// Escapes a text to a single line: control characters (C0, DEL, C1), line and paragraph separators and bidirectional
/// overrides are escaped.
pub fn line(text: &str) -> String {
    escaped(text, is_unsafe)
}

/// Like [`line`], but keeps line feeds and tabs, for messages of several lines.
pub fn lines(text: &str) -> String {
    escaped(text, |character| is_unsafe(character) && !matches!(character, '\n' | '\t'))
}

/// A JSON document whose texts have these characters escaped. JSON itself escapes C0 alone; outside of texts none of
/// them but line feeds stands.
pub fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for character in document.chars() {
        match character {
            '\n' => out.push(character),
            _ if is_unsafe(character) => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out
}

fn is_unsafe(character: char) -> bool {
    // Cc is C0, DEL and C1; the ranges are embeddings, overrides and isolates, and the two separators.
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, unsafe_here: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if unsafe_here(character) { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_comes_through() {
        let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}\u{202e}x\u{2066}y\u{2028}z\r\n\ta";
        assert_eq!(line(evil), r"\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}\u{202e}x\u{2066}y\u{2028}z\r\n\ta");
        assert!(lines(evil).ends_with("\\r\n\ta"));
        for character in (0..=0x10_ffff).filter_map(char::from_u32).filter(|character| character.is_control()) {
            assert!(!line(&character.to_string()).contains(character), "{character:?}");
        }
    }

    #[test]
    fn documents_mean_what_they_meant() {
        let value = serde_json::json!({ "a\u{9b}": "\u{7f}\u{202e}\u{1b}\n größer" });
        let shown = json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert_eq!(shown, "{\n  \"a\\u009b\": \"\\u007f\\u202e\\u001b\\n größer\"\n}");
    }

    #[test]
    fn letters_of_every_language_stay() {
        for text in ["größer", "日本語", "שלום", "👩‍👩‍👧", "a\\u{1b}b"] {
            assert_eq!(line(text), text);
        }
    }
}
