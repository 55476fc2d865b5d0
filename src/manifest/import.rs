//! `import`: bundles made elsewhere, found by a pattern. This file says which paths match and what they become; the walk over the file
//! system is the caller's.
//!
//! A pattern either has `{axis}` placeholders (beside `*` and `?`), and its bundles get ids as conversions do, or it is a glob
//! (`*`, `?`, `**`, `[abc]`, `{a,b}`), and ids come from the file names. Neither `*` nor a placeholder crosses a `/`.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    axes::{Axes, Axis, Cache, LENGTH_LIMIT, Layout, Linear, Logits, Precision, Size},
    compression::Compression,
    error::{ManifestError, Problem},
    nearest::nearest,
    reader::Place,
    release::BundleKind,
    variants::{Content, VariantPlan},
};
use crate::base::Target;

/// A component made from bundles that exist.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where they are.
    pub pattern: ImportPattern,
    /// Their deployment target, where the manifest says it.
    pub target: Option<Target>,
    /// Axes that the manifest says all of them have.
    pub stated: BTreeMap<Axis, String>,
    pub(super) component: String,
    pub(super) file: String,
    pub(super) place: Place,
}

/// A bundle that matches an import's pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBundle {
    /// Its path in the form of the pattern: relative to the manifest, or absolute; `/` between components.
    pub path: String,
    /// The lowest target that loads it, as the bundle itself says, where it does.
    pub needs: Option<Target>,
}

/// Which paths an import means.
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
    /// Reads a pattern; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
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

    /// The axes that stand in the pattern.
    pub fn placeholders(&self) -> BTreeSet<Axis> {
        let axis = |token: &Token| if let Token::Axis(axis) = token { Some(*axis) } else { None };
        match &self.matcher {
            Matcher::Glob(_) => BTreeSet::new(),
            Matcher::Placeholders(tokens) => tokens.iter().filter_map(axis).collect(),
        }
    }

    /// The folder to walk: the components before the first one that is not plain text. Empty for the manifest's own folder; a pattern of
    /// plain text has its parent.
    pub fn root(&self) -> &str {
        let special = self.text.find(['*', '?', '[', '{']).unwrap_or(self.text.len());
        match self.text[..special].rfind('/') {
            None => "",
            Some(0) => "/",
            Some(slash) => &self.text[..slash],
        }
    }

    /// The values of the placeholders where `path` matches; a path whose text at a placeholder is no value of that axis does not.
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

/// The tokens of a pattern with placeholders; `None` where it has none.
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
    Axis::from_name(name).filter(|axis| *axis != Axis::Format).ok_or_else(|| match nearest(name, allowed(), 1).first() {
        Some(near) => format!("`{{{name}}}` is no axis: did you mean `{{{near}}}`?"),
        None => format!("`{{{name}}}` is no axis: expected one of {}", allowed().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")),
    })
}

/// Matches all of `path`, with every placeholder's shortest value first. Patterns are short and the user's own.
fn walk(tokens: &[Token], path: &[char], captured: &mut BTreeMap<Axis, String>) -> bool {
    let Some((token, tokens)) = tokens.split_first() else { return path.is_empty() };
    let reach = path.iter().position(|c| *c == '/').unwrap_or(path.len());
    match token {
        Token::Literal(literal) => path.first() == Some(literal) && walk(tokens, &path[1..], captured),
        Token::One => reach > 0 && walk(tokens, &path[1..], captured),
        Token::Many => (0..=reach).any(|end| walk(tokens, &path[end..], captured)),
        Token::Axis(axis) => (1..=reach).any(|end| {
            let Some(value) = captured_value(*axis, &path[..end].iter().collect::<String>()) else { return false };
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

/// What stands in a path, as manifests spell it.
fn captured_value(axis: Axis, text: &str) -> Option<String> {
    let word = |known: Option<&'static str>| known.map(str::to_owned);
    match axis {
        Axis::Size => {
            let (width, height) = text.split_once('x').unwrap_or((text, text));
            Size::new(number(width)?, number(height)?).map(|size| size.to_string())
        }
        Axis::Sequence | Axis::EncoderSequence | Axis::Context => number(text).filter(|n| (1..=LENGTH_LIMIT).contains(n)).map(|n| n.to_string()),
        Axis::Layout => word(Layout::from_name(text).map(Layout::name)),
        Axis::Linear => word(Linear::from_name(text).map(Linear::name)),
        Axis::Cache => word(Cache::from_name(text).map(Cache::name)),
        Axis::Logits => word(Logits::from_name(text).map(Logits::name)),
        Axis::IoPrecision | Axis::Precision => word(Precision::from_name(text).map(Precision::name)),
        Axis::Compress => text.parse().ok().or_else(|| Compression::from_id(text)).map(|compression: Compression| compression.to_string()),
        Axis::Target => text.parse::<Target>().ok().map(|target| target.to_string()),
        Axis::Format => None,
    }
}

/// Digits alone: no sign, no leading zero, so that equal values have equal texts.
fn number(text: &str) -> Option<u32> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

impl Import {
    /// The variants that the bundles become, in the order of `found`; bundles that do not match the pattern are passed over. The target
    /// is the manifest's or the path's, else what the bundle itself says.
    ///
    /// # Errors
    /// When nothing matches, when a bundle needs a later OS than the manifest says, and for two bundles of one id.
    pub fn variants(&self, found: &[FoundBundle]) -> Result<Vec<VariantPlan>, ManifestError> {
        let mut plans: Vec<VariantPlan> = Vec::new();
        for bundle in found {
            let Some(captured) = self.pattern.matches(&bundle.path) else { continue };
            let plan = self.variant(bundle, captured)?;
            if let Some(other) = plans.iter().find(|other| other.id == plan.id) {
                let problem = Problem::SameId { id: plan.id.clone(), first: other.describe(), second: plan.describe() };
                return Err(self.error(problem));
            }
            plans.push(plan);
        }
        if plans.is_empty() {
            let problem = Problem::ImportsNothing { component: self.component.clone(), pattern: self.pattern.text.clone() };
            return Err(self.error(problem));
        }
        Ok(plans)
    }

    fn error(&self, problem: Problem) -> ManifestError {
        self.place.error(&self.file, problem)
    }

    fn variant(&self, bundle: &FoundBundle, captured: BTreeMap<Axis, String>) -> Result<VariantPlan, ManifestError> {
        let file_name = bundle.path.rsplit('/').next().unwrap_or(&bundle.path);
        let kind = BundleKind::of_file_name(file_name);
        let target = self.target_of(bundle, &captured)?;
        let parts = if captured.is_empty() { vec![self.stem(file_name, kind)] } else { self.parts(&captured, target) };
        let axes = captured.into_iter().chain(self.stated.clone()).collect();
        let plan = VariantPlan::named(&self.component, parts, target, kind, Content::Imported { path: bundle.path.clone(), axes });
        let problem = || Problem::Id { component: self.component.clone(), id: plan.id.chars().take(300).collect() };
        if plan.is_file_name() { Ok(plan) } else { Err(self.error(problem())) }
    }

    fn target_of(&self, bundle: &FoundBundle, captured: &BTreeMap<Axis, String>) -> Result<Option<Target>, ManifestError> {
        let stated = self.target.or_else(|| captured.get(&Axis::Target)?.parse().ok());
        match (stated, bundle.needs) {
            (Some(stated), Some(needs)) if stated < needs => {
                Err(self.error(Problem::ImportTarget { component: self.component.clone(), path: bundle.path.clone(), stated, needs }))
            }
            (stated, needs) => Ok(stated.or(needs)),
        }
    }

    /// The file's stem as an id: lower case, every other character `-`.
    fn stem(&self, file_name: &str, kind: BundleKind) -> String {
        let stem = file_name.strip_suffix(kind.extension()).unwrap_or(file_name).to_lowercase();
        let stem: String = stem.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
        let stem = stem.trim_matches('-');
        if stem.is_empty() { self.component.clone() } else { stem.to_owned() }
    }

    /// The parts of an id that pattern and manifest name, in the order of all ids.
    fn parts(&self, captured: &BTreeMap<Axis, String>, target: Option<Target>) -> Vec<String> {
        let value = |axis: Axis| captured.get(&axis).or_else(|| self.stated.get(&axis));
        let unless = |axis: Axis, default: &str| value(axis).filter(|value| *value != default).cloned();
        let encoder = value(Axis::EncoderSequence).filter(|length| Some(*length) != value(Axis::Sequence));
        let precision = value(Axis::Precision).and_then(|name| Precision::from_name(name));
        let usual = precision.map(|precision| Axes::default_io(precision, target)).map_or("", Precision::name);
        let parts = [
            Some(self.component.clone()),
            value(Axis::Size).cloned(),
            value(Axis::Sequence).map(|length| format!("s{length}")),
            encoder.map(|length| format!("e{length}")),
            value(Axis::Context).map(|length| format!("c{length}")),
            unless(Axis::Layout, Layout::default().name()),
            unless(Axis::Linear, Linear::default().name()),
            unless(Axis::Cache, Cache::default().name()),
            unless(Axis::Logits, Logits::default().name()),
            unless(Axis::IoPrecision, usual).map(|precision| format!("io{precision}")),
            value(Axis::Precision).cloned(),
            value(Axis::Compress).and_then(|text| text.parse::<Compression>().ok()?.id()),
        ];
        parts.into_iter().flatten().collect()
    }
}
