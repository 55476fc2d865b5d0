//! Patterns of imports: which paths match, and which values of axes they contain.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};

use crate::{base::meant, manifest::axes::Axis};

/// Pattern of the paths that an import takes.
#[derive(Debug, Clone)]
pub struct ImportPattern {
    text: String,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Glob(Box<GlobMatcher>),
    Placeholders(Vec<Token>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Many,
    Axis(Axis),
}

impl ImportPattern {
    /// Reads a pattern; the error is the reason in words.
    pub(in crate::manifest) fn parse(text: &str) -> Result<Self, String> {
        // Comparing `./out/x` with `out/x` would miss.
        let text = text.trim_start_matches("./").trim_end_matches('/');
        if text.is_empty() || text.len() > 1024 || text.contains('\\') {
            return Err("expected 1 to 1024 bytes, with `/` between folders".to_owned());
        }
        let matcher = match placeholders(text)? {
            Some(tokens) => Matcher::Placeholders(tokens),
            None => {
                let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(|e| e.kind().to_string())?;
                Matcher::Glob(Box::new(glob.compile_matcher()))
            }
        };
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The axes of its placeholders.
    pub fn placeholders(&self) -> BTreeSet<Axis> {
        let axis = |token: &Token| if let Token::Axis(axis) = token { Some(*axis) } else { None };
        match &self.matcher {
            Matcher::Glob(_) => BTreeSet::new(),
            Matcher::Placeholders(tokens) => tokens.iter().filter_map(axis).collect(),
        }
    }

    /// The folder to search: the path's components before the first one with special characters. Empty for the
    /// manifest's own folder; a pattern of plain text gives its parent.
    pub fn root(&self) -> &str {
        let special = self.text.find(['*', '?', '[', '{']).unwrap_or(self.text.len());
        match self.text[..special].rfind('/') {
            None => "",
            Some(0) => "/",
            Some(slash) => &self.text[..slash],
        }
    }

    /// The values of the placeholders; `None` if `path` does not match, also if the text at a placeholder is no value
    /// of its axis.
    pub fn matches(&self, path: &str) -> Option<BTreeMap<Axis, String>> {
        match &self.matcher {
            Matcher::Glob(glob) => glob.is_match(path).then(BTreeMap::new),
            Matcher::Placeholders(tokens) => {
                let path: Vec<char> = path.chars().collect();
                let mut captured = BTreeMap::new();
                walk(tokens, &path, &mut captured).then_some(captured)
            }
        }
    }
}

/// The tokens of a pattern; `None` if it has no placeholders.
fn placeholders(text: &str) -> Result<Option<Vec<Token>>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        tokens.push(match first {
            '{' => match rest.split_once('}') {
                Some((name, after)) if !name.contains(',') => {
                    rest = after;
                    Token::Axis(placeholder(name)?)
                }
                _ => Token::Literal('{'),
            },
            '*' => Token::Many,
            '?' => Token::One,
            literal => Token::Literal(literal),
        });
    }
    if !tokens.iter().any(|token| matches!(token, Token::Axis(_))) {
        return Ok(None);
    }
    let crossing = tokens.windows(2).any(|pair| pair == [Token::Many, Token::Many]);
    if crossing || tokens.iter().any(|token| matches!(token, Token::Literal('[' | ']' | '{' | '}'))) {
        return Err("`**`, `[...]` and `{a,b}` cannot stand beside placeholders".to_owned());
    }
    Ok(Some(tokens))
}

fn placeholder(name: &str) -> Result<Axis, String> {
    let allowed = || Axis::ALL.iter().filter(|axis| **axis != Axis::Format).map(|axis| axis.name());
    Axis::from_name(name).filter(|axis| *axis != Axis::Format).ok_or_else(|| match meant(name, allowed()) {
        Some(near) => format!("`{{{name}}}` is no axis: did you mean `{{{near}}}`?"),
        None => format!(
            "`{{{name}}}` is no axis: expected one of {}",
            allowed().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Matches all of `path`, trying short values of placeholders first. Exponential in the worst case; patterns are short
/// and trusted.
fn walk(tokens: &[Token], path: &[char], captured: &mut BTreeMap<Axis, String>) -> bool {
    let Some((token, tokens)) = tokens.split_first() else { return path.is_empty() };
    let reach = path.iter().position(|c| *c == '/').unwrap_or(path.len());
    match token {
        Token::Literal(literal) => path.first() == Some(literal) && walk(tokens, &path[1..], captured),
        Token::One => reach > 0 && walk(tokens, &path[1..], captured),
        Token::Many => (0..=reach).any(|end| walk(tokens, &path[end..], captured)),
        Token::Axis(axis) => (1..=reach).any(|end| {
            let Some(value) = captured_value(*axis, &path[..end]) else { return false };
            let before = captured.get(axis).cloned();
            if before.as_ref().is_some_and(|before| *before != value) {
                return false;
            }
            captured.insert(*axis, value);
            let matched = walk(tokens, &path[end..], captured);
            if !matched && before.is_none() {
                captured.remove(axis);
            }
            matched
        }),
    }
}

/// Value of an axis in a path, as manifests spell it. `format` has none: the extension decides it.
fn captured_value(axis: Axis, text: &[char]) -> Option<String> {
    if axis == Axis::Format { None } else { axis.read_file_name(&text.iter().collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_starts_where_the_plain_text_ends() {
        for (pattern, root) in [
            ("out/ios18_{size}/x.mlmodelc", "out"),
            ("../out/a/*.onnx", "../out/a"),
            ("*.onnx", ""),
            ("x.onnx", ""),
            ("a/b.onnx", "a"),
            ("/abs/{size}/x", "/abs"),
            ("/*", "/"),
        ] {
            assert_eq!(ImportPattern::parse(pattern).unwrap().root(), root, "{pattern}");
        }
    }

    #[test]
    fn a_placeholder_that_stands_twice_has_one_value() {
        let pattern = ImportPattern::parse("{size}/m{size}*.onnx").unwrap();
        assert!(pattern.matches("76/m768.onnx").is_some());
        assert!(pattern.matches("768/m768.onnx").is_some());
        assert!(pattern.matches("768/m512.onnx").is_none());
    }
}
