//! Collisions of file names, and names that no file may have: the strictest rules of APFS, HFS+, NTFS and FAT.
//!
//! APFS and HFS+ compare names after canonical decomposition and full case folding, and HFS+ skips characters without a
//! shape. NTFS and FAT ignore case, reserve names of devices, and drop blanks and dots at the end. What passes here is
//! the same set of names everywhere. Pure.

use std::{borrow::Cow, collections::HashMap, fmt};

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Longest name of a file, in bytes of UTF-8 (ext4, APFS) and in UTF-16 units after decomposition (HFS+, NTFS).
const LONGEST_NAME: usize = 255;

/// The key by which names are compared: names with equal keys are the same file on some file system.
pub fn name_key(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let folded = unicase::UniCase::unicode(decomposed(name)).to_folded_case();
    decomposed(&folded).chars().filter(|c| !is_skipped(*c)).collect()
}

fn decomposed(text: &str) -> Cow<'_, str> {
    const NFD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();
    NFD.normalize(text)
}

/// Whether HFS+ ignores the character in comparisons.
fn is_skipped(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// The reason why a text cannot be the name of a file or folder, if there is one.
pub fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("a component is empty");
    }
    if matches!(name, "." | "..") {
        return Some("`.` and `..` are not allowed");
    }
    if name.len() > LONGEST_NAME || decomposed(name).encode_utf16().count() > LONGEST_NAME {
        return Some("a component is longer than 255 bytes, or than 255 UTF-16 units when it is decomposed");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Some("a component has a control character");
    }
    if name.contains(['<', '>', ':', '"', '|', '?', '*', '\\', '/']) {
        return Some("a component has one of `< > : \" | ? * \\`, which Windows does not allow in names");
    }
    if name.ends_with(['.', ' ']) {
        return Some("a component ends with a dot or a blank, which Windows drops");
    }
    if is_device(name) {
        return Some("a component is a reserved device name");
    }
    if name_key(name).is_empty() {
        return Some("a component has no visible character");
    }
    None
}

/// Whether Windows reserves the name for a device, with any extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_uppercase();
    let is_numbered = |prefix: &str| {
        let mut rest = stem.strip_prefix(prefix).unwrap_or_default().chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || is_numbered("COM")
        || is_numbered("LPT")
}

/// The name with characters beyond ASCII escaped, so that it differs visibly from names that look alike.
pub fn escaped_name(name: &str) -> String {
    name.chars()
        .flat_map(|c| if c.is_ascii_graphic() || c == ' ' { vec![c] } else { c.escape_unicode().collect() })
        .collect()
}

/// Two paths that cannot both exist in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathClash {
    /// The path that was there first, up to the component that clashes.
    pub first: String,
    /// The other one, likewise.
    pub second: String,
    /// How they clash.
    pub why: ClashKind,
}

/// How two paths clash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClashKind {
    /// Only the case of letters tells them apart.
    Case,
    /// Only case or Unicode normalization tells them apart.
    Normalization,
    /// One is a file, the other a folder.
    FileAndFolder,
    /// They are the same.
    Same,
}

impl fmt::Display for ClashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Case => "they differ in case alone",
            Self::Normalization => "they are one name where case and Unicode normalization do not count, as on a Mac",
            Self::FileAndFolder => "one is a file, the other a folder",
            Self::Same => "they are the same",
        })
    }
}

impl PathClash {
    /// The clash of two names or paths with one key.
    pub fn of(first: &str, second: &str) -> Self {
        let why = match () {
            () if first == second => ClashKind::Same,
            () if first.to_lowercase() == second.to_lowercase() => ClashKind::Case,
            () => ClashKind::Normalization,
        };
        Self::told(first, second, why)
    }

    fn told(first: &str, second: &str, why: ClashKind) -> Self {
        let shown = |text: &str| if why == ClashKind::Normalization { escaped_name(text) } else { text.to_owned() };
        Self { first: shown(first), second: shown(second), why }
    }
}

impl fmt::Display for PathClash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` and `{}`: {}", self.first, self.second, self.why)
    }
}

/// The paths of one folder. No two of them may be one on any file system, and no file may be the folder of another.
///
/// Memory grows with the length of the paths, however deep they are.
#[derive(Debug, Default)]
pub struct PathTree<'p> {
    nodes: HashMap<(usize, String), Node<'p>>,
}

#[derive(Debug)]
struct Node<'p> {
    number: usize,
    path: &'p str,
    is_file: bool,
}

impl<'p> PathTree<'p> {
    /// Adds a path with `/` between components, and the folders that it lies in. A folder may be added again.
    ///
    /// # Errors
    /// The path that it clashes with.
    pub fn add(&mut self, path: &'p str, is_file: bool) -> Result<(), PathClash> {
        let (mut parent, mut start) = (0, 0);
        loop {
            let end = path[start..].find('/').map_or(path.len(), |at| start + at);
            let (name, prefix) = (&path[start..end], &path[..end]);
            let is_file = is_file && end == path.len();
            let number = self.nodes.len() + 1;
            let node = self.nodes.entry((parent, name_key(name))).or_insert(Node { number, path: prefix, is_file });
            if node.number != number {
                match node.path == prefix {
                    false => return Err(PathClash::of(node.path, prefix)),
                    true if node.is_file && is_file => return Err(PathClash::told(prefix, prefix, ClashKind::Same)),
                    true if node.is_file || is_file => {
                        return Err(PathClash::told(prefix, prefix, ClashKind::FileAndFolder));
                    }
                    true => {}
                }
            }
            if end == path.len() {
                return Ok(());
            }
            (parent, start) = (node.number, end + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_on_some_file_system() {
        for (one, two) in [
            ("a", "A"),
            ("\u{e9}", "e\u{301}"),
            ("\u{c9}", "e\u{301}"),
            ("s", "\u{17f}"),
            ("\u{1e9e}", "\u{df}"),
            ("strasse", "STRA\u{df}E"),
            ("k", "\u{212a}"),
            ("\u{e5}", "\u{212b}"),
            ("\u{3c3}", "\u{3c2}"),
            ("\u{3a3}", "\u{3c2}"),
            ("\u{130}", "i\u{307}"),
            ("\u{fb03}", "ffi"),
            ("\u{1fb3}", "\u{3b1}\u{3b9}"),
            ("\u{345}", "\u{3b9}"),
            ("\u{13a0}", "\u{ab70}"),
            ("\u{10400}", "\u{10428}"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
            ("a\u{323}\u{307}", "a\u{307}\u{323}"),
            ("we\u{200d}ights", "weights"),
            ("\u{feff}x", "x"),
        ] {
            assert_eq!(name_key(one), name_key(two), "{} {}", escaped_name(one), escaped_name(two));
        }
        for (one, two) in [
            ("a", "b"),
            ("i", "\u{131}"),
            ("e", "\u{e9}"),
            ("\u{b2}", "2"),
            ("\u{ff41}", "a"),
            ("a b", "ab"),
            ("x1", "x\u{2081}"),
        ] {
            assert_ne!(name_key(one), name_key(two), "{} {}", escaped_name(one), escaped_name(two));
        }
    }

    #[test]
    fn names_that_some_file_system_does_not_hold() {
        let long = "\u{390}".repeat(100);
        for good in [
            "a",
            ".a",
            "..a",
            "a.b",
            "com.apple.CoreML",
            "console.txt",
            "COM10",
            "COM",
            "null",
            "aux_1",
            "a b",
            " a",
            "\u{e9}",
            "日本語",
            "🙂",
            &"a".repeat(255),
        ] {
            assert_eq!(name_problem(good), None, "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "C:x",
            "a\0",
            "a\n",
            "a\u{7f}",
            "a\u{85}",
            "a\u{2028}",
            "a<",
            "a>",
            "a\"",
            "a|",
            "a?",
            "a*",
            "a.",
            "a ",
            "a. .",
            "nul",
            "CON",
            "con.txt",
            "con .txt",
            "aux.tar.gz",
            "Prn",
            "com1",
            "COM9.x",
            "lpt0",
            "LPT1",
            "COM\u{b9}",
            "lpt\u{b2}.txt",
            "com\u{b3}",
            "CONIN$",
            "conout$",
            "\u{200d}",
            &"a".repeat(256),
            &"\u{e9}".repeat(128),
            &long,
        ] {
            assert!(name_problem(bad).is_some(), "{bad:?}");
        }
    }

    fn clash(paths: &[(&'static str, bool)]) -> Option<(String, String, ClashKind)> {
        let mut tree = PathTree::default();
        let clash = paths.iter().find_map(|(path, is_file)| tree.add(path, *is_file).err())?;
        Some((clash.first, clash.second, clash.why))
    }

    #[test]
    fn paths_that_cannot_both_exist() {
        let found = |first: &str, second: &str, why| Some((first.to_owned(), second.to_owned(), why));
        assert_eq!(clash(&[("a/x", true), ("a/y", true), ("a", false), ("b", true), ("c/d", false)]), None);
        assert_eq!(clash(&[("A", true), ("a", true)]), found("A", "a", ClashKind::Case));
        assert_eq!(clash(&[("A/x", true), ("a/y", true)]), found("A", "a", ClashKind::Case));
        assert_eq!(
            clash(&[("d/e\u{301}/x", true), ("d/\u{e9}/y", true)]),
            found("d/e\\u{301}", "d/\\u{e9}", ClashKind::Normalization)
        );
        assert_eq!(clash(&[("a", true), ("a/x", true)]), found("a", "a", ClashKind::FileAndFolder));
        assert_eq!(clash(&[("a/x", true), ("a", true)]), found("a", "a", ClashKind::FileAndFolder));
        assert_eq!(clash(&[("a", true), ("a", false)]), found("a", "a", ClashKind::FileAndFolder));
        assert_eq!(clash(&[("a", true), ("a", true)]), found("a", "a", ClashKind::Same));
    }
}
